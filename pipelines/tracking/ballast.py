"""Room on the disk that is held for the last words: when it is full, runs must still be closed in the journal."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

BALLAST_BYTES = 256 << 10
_PORTION = 16 << 10
"""What is given up at once. Others wait for room on a full disk, too: what is held back is not theirs."""


class Ballast:
    """A file of no meaning, which shrinks when its room is needed."""

    def __init__(self, path: Path) -> None:
        """Makes the file, or fills it up again; where the disk has no room for it, there is none."""
        self._path = path
        try:
            if not path.exists() or path.stat().st_size != BALLAST_BYTES:
                with path.open("wb", buffering=0) as handle:
                    content = memoryview(os.urandom(BALLAST_BYTES))  # which no file system can make smaller
                    while content:
                        content = content[handle.write(content) :]
        except OSError:
            self.remove()

    def give(self, needed: int) -> bool:
        """Gives up some of the room, at least `needed` bytes; False when there is not so much left."""
        try:
            left = self._path.stat().st_size
            if left == 0:
                return False
            os.truncate(self._path, max(0, left - needed // _PORTION * _PORTION - _PORTION))
        except OSError:
            return False
        return left >= needed

    def remove(self) -> None:
        """Takes the file away."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
