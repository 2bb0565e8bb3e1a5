"""What TensorFlow says on standard error as it is imported, in which what a user's own module says would drown."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_CHATTER = re.compile(
    rb"I\d{4} \S+ +\d+ \S+\.cc:\d+\] |WARNING: All log messages before absl::|To enable the following instructions: "
)
"""Lines of its C++ code, which heeds no setting so early: the oneDNN that is on, the instructions that it could use."""


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keeps that back; all else that is written on standard error meanwhile is there when this is over."""
    with ExitStack() as opened:
        try:
            heard = opened.enter_context(tempfile.TemporaryFile())
            shown = os.dup(2)
        except OSError:  # no room for it, or nobody listens: better a few lines too many
            yield
            return
        _flush()
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(shown, 2)
            os.close(shown)
            heard.seek(0)
            for line in heard:
                if not _CHATTER.match(line):
                    os.write(2, line)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
