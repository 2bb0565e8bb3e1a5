"""What a worker prints, kept small, and the part of it that belongs to its task."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

_MOST_BYTES = 8 << 20
"""Above this a log is put aside and begun anew, before the next task; of those put aside one is kept."""
_TAIL_BYTES = 64 << 10


class WorkerLog:
    """The file into which the processes of one worker print, one after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def mark(self) -> None:
        """Notes that a task begins here."""
        self.keep_small()
        self._mark = self._size()

    def append(self, printed: bytes) -> None:
        """Adds what a worker has printed that cannot write here itself."""
        with suppress(OSError), self.path.open("ab") as handle:  # a full disk has other worries
            handle.write(printed)

    def tail(self, lines: int = 100) -> str:
        """The last lines since the task began, at most so many; empty where nothing was printed."""
        size = self._size()
        start = max(self._mark if self._mark <= size else 0, size - _TAIL_BYTES)
        try:
            with self.path.open("rb") as handle:
                handle.seek(start)
                content = handle.read(_TAIL_BYTES)
        except OSError:
            return ""
        return "\n".join(content.decode("utf-8", "replace").splitlines()[-lines:])

    def keep_small(self) -> None:
        """Puts a log that has grown large aside. Whoever writes to it appends, and so goes on at its new end."""
        if self._size() > _MOST_BYTES:
            with suppress(OSError):  # a full disk has other worries
                shutil.copyfile(self.path, self.path.with_suffix(".log.1"))
            with suppress(OSError):
                os.truncate(self.path, 0)
            self._mark = 0

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0
