"""The append-only record on this machine's disk, written before any network is tried.

Durability: an entry is in the operating system's hands when `append` returns, so it survives the death of the process
at any moment; `sync` puts it on the disk itself, which the controller does at the end of every trial, so a power cut
costs at most the epochs of running trials, which are trained again anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.errors import HomeError
from pipelines.tracking.entries import Entry, PictureKept, from_line, starts_line_of, to_line


class Journal:
    """One file, one writer, any number of readers."""

    def __init__(self, path: Path, *, on_append: Callable[[], None] = lambda: None) -> None:
        """Opens or creates the file; a torn last line, left by a power cut, is cut off.

        Args:
            path: The file.
            on_append: Called after every entry, for a sender to wake up.
        """
        self.path = path
        self._on_append = on_append
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise HomeError(f"Cannot write the journal {path}: {error.strerror}.") from None
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.ftruncate(self._descriptor, whole)
        self._bytes = whole
        self.written = content.count(b"\n")

    def append(self, entry: Entry) -> None:
        """Adds an entry; it is whole in the file or not there at all.

        Raises:
            HomeError: The disk is full or gone. What was written before is safe.
        """
        line = to_line(entry)
        try:
            done = 0
            while done < len(line):  # a disk that fills up takes a part first, and says so at the next try
                done += os.write(self._descriptor, line[done:])
        except OSError as error:
            os.ftruncate(self._descriptor, self._bytes)
            raise HomeError(
                f"Cannot write to the journal {self.path}: {error.strerror}. All {self.written} entries before are "
                f"safe; make room and start the same command again to go on."
            ) from None
        self._bytes += len(line)
        self.written += 1
        self._on_append()

    def sync(self) -> None:
        """Puts everything so far on the disk itself."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Syncs and closes the file."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1


def read_lines(path: Path, offset: int = 0, limit: int | None = None) -> tuple[list[Entry], int]:
    """Whole entries from `offset` bytes on, at most `limit` of them, and the offset behind the last."""
    entries: list[Entry] = []
    if not path.exists():
        return entries, offset
    with path.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if not line.endswith(b"\n") or (limit is not None and len(entries) >= limit):
                break
            entries.append(from_line(line))
            offset += len(line)
    return entries, offset


def read_pictures(path: Path, offset: int, end: int, limit: int) -> tuple[list[PictureKept], int]:
    """The pictures among the entries from `offset` up to `end` bytes, at most `limit`, and the offset behind them."""
    pictures: list[PictureKept] = []
    if offset >= end:
        return pictures, offset
    mark = starts_line_of(PictureKept.kind)
    with path.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if offset >= end or len(pictures) >= limit:
                break
            if line.startswith(mark):
                entry = from_line(line)
                assert isinstance(entry, PictureKept)
                pictures.append(entry)
            offset += len(line)
    return pictures, offset


def read_all(path: Path) -> Iterator[Entry]:
    """Every whole entry of a journal, in order."""
    yield from read_lines(path)[0]
