"""Which checkpoints a journal says are dropped by now: they need not be delivered any more."""

from __future__ import annotations

import threading
from pathlib import Path

from pipelines.tracking.entries import CheckpointDropped, CheckpointKept
from pipelines.tracking.journal import read_beside


class Drops:
    """Looks ahead in one journal; several threads may ask at once.

    Attributes:
        never_came: Runs and digests of checkpoints that were dropped before anybody tried to deliver them.
    """

    def __init__(self, journal: Path) -> None:
        """Takes the journal's path."""
        self.never_came: set[tuple[str, str]] = set()
        self._journal = journal
        self._dropped: set[tuple[str, str]] = set()
        self._offset = 0
        self._lock = threading.Lock()

    def is_dropped(self, entry: CheckpointKept) -> bool:
        """Whether the journal says by now that a checkpoint is dropped."""
        with self._lock:
            while True:
                found, offset = read_beside(self._journal, self._offset, self._size(), 1000)
                self._dropped |= {(each.uid, each.sha256) for each in found if isinstance(each, CheckpointDropped)}
                if offset == self._offset:
                    return (entry.uid, entry.sha256) in self._dropped
                self._offset = offset

    def _size(self) -> int:
        """Bytes of the journal up to its last whole line."""
        content_end = self._journal.stat().st_size
        with self._journal.open("rb") as handle:
            handle.seek(max(0, content_end - (1 << 20)))
            tail = handle.read(content_end - handle.tell())
        return content_end - (len(tail) - (tail.rfind(b"\n") + 1))
