"""Whether a training could be made in lanes, as far as it can be told before any worker is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipelines.datasets import Samples


def obstacle(train: Samples, validation: Samples, data_bytes: int) -> str | None:
    """Why it could not, in a few words; None where only the model itself can tell.

    Args:
        train: What is trained on.
        validation: What is validated with.
        data_bytes: Memory that a trial's data may use.
    """
    if held_bytes(train, validation) > data_bytes:
        return "its data is larger than execution.data_memory_mb, and is read from disk"
    return None


def held_bytes(train: Samples, validation: Samples) -> int:
    """Bytes of a trial's data in memory. Validation counts at four bytes a value, as Keras will hold it."""
    return int(train.x.dtype.itemsize) * _values(train) + 4 * _values(validation)


def _values(samples: Samples) -> int:
    return int(np.prod(samples.x.shape, dtype=np.int64))
