"""Python's collector of garbage, kept out of where there is none.

While TensorFlow is imported it looks again and again through all that the import has made, which is none of it garbage:
a quarter of the time. When the process ends it does so once more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_to_collect(*, for_good: bool = False) -> Iterator[None]:
    """Keeps the collector out of the block.

    Args:
        for_good: What is there afterwards stays as long as the process, so that it need never be looked at.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if collected:
            gc.enable()


def leave() -> None:
    """To be called when the process is about to end."""
    gc.disable()
    gc.freeze()
