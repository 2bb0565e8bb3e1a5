"""The append-only record on this machine's disk, written before any network is tried.

Durability: an entry is the operating system's when `append` returns, so it survives the death of the process at any
moment. It is on the disk itself at the end of its trial, and otherwise at most 5 s later: a thread of the journal's own
sees to that, so nobody who appends waits for the disk. A power cut costs at most the epochs of running trials, which
are trained again anyway.

A full disk: what was written before is safe, and the entry that did not fit is not there at all. Entries that close a
run, and those that only say why, still fit then: the journal has a ballast file beside it, which it gives up for them.

Time: no entry is older than the one before it, whatever the clock of this machine or of a worker does, also from one
controller to the next. A checkpoint alone has the time of an earlier entry: that of its epoch.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.errors import HomeError
from pipelines.tracking.ballast import Ballast
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunEnded,
    from_line,
    of_the_machine,
    starts_line_of,
    to_line,
)
from pipelines.tracking.syncing import SYNC_AFTER_S, Syncer

BesideEntry = PictureKept | CheckpointKept | CheckpointDropped
"""What the sender delivers beside the rest, as it is large or waits for something large."""
_BESIDE = tuple(starts_line_of(entry.kind) for entry in (PictureKept, CheckpointKept, CheckpointDropped))
_FULL = {errno.ENOSPC, errno.EDQUOT}
_TAIL_BYTES = 64 << 10


def wall_clock_ms() -> int:
    """Milliseconds since 1970, as this machine's clock has them."""
    return time.time_ns() // 1_000_000


class Journal:
    """One file, one writer, any number of readers."""

    def __init__(
        self,
        path: Path,
        *,
        on_append: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = wall_clock_ms,
        sync_after_s: float = SYNC_AFTER_S,
    ) -> None:
        """Opens or creates the file; a torn last line, left by a power cut, is cut off.

        Args:
            path: The file.
            on_append: Called after every entry, for a sender to wake up.
            clock: The time in milliseconds since 1970.
            sync_after_s: How long an entry may wait for the disk itself.
        """
        self.path = path
        self._on_append = on_append
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise HomeError(f"Cannot write the journal {path}: {error.strerror}.") from None
        self._bytes, self.written = _whole_lines(path)
        if self._bytes != os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, self._bytes)
        self._last_ms = _last_time(path, self._bytes)
        self._ballast = Ballast(path.with_suffix(".ballast"))
        self._syncer = Syncer(self._descriptor, sync_after_s)

    @property
    def last_ms(self) -> int:
        """The time of the newest entry; 0 where there is none."""
        return self._last_ms

    def now_ms(self) -> int:
        """The time for an entry that happens now."""
        return max(self._clock(), self._last_ms)

    def append(self, entry: Entry) -> Entry:
        """Adds an entry; it is whole in the file or not there at all. Returns it as it is there, with its time.

        Raises:
            HomeError: The disk is full or gone. What was written before is safe.
        """
        last_words = _closes(entry)
        if self._syncer.problem is not None and not last_words:
            raise self._unwritable(self._syncer.problem) from self._syncer.problem
        if not isinstance(entry, FileKept | CheckpointKept):
            if entry.time_ms < self._last_ms:
                entry = replace(entry, time_ms=self._last_ms)
            self._last_ms = entry.time_ms
        self._write(to_line(entry), last_words=last_words)
        self._syncer.written()
        self._on_append()
        return entry

    def sync_soon(self) -> None:
        """Has everything so far put on the disk itself, without waiting for it."""
        self._syncer.written(at_once=True)

    def sync(self) -> None:
        """Puts everything so far on the disk itself."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Syncs and closes the file."""
        if self._descriptor >= 0:
            self._syncer.close()
            try:
                self.sync()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1
                self._ballast.remove()

    def time_of(self, uid: str, step: int) -> int | None:
        """The time at which the metrics of a run's step were noted, by whatever controller; None if they were not."""
        mark, name = starts_line_of(Logged.kind), b'"%s"' % uid.encode()
        with self.path.open("rb") as handle:
            for line in handle:
                if line.startswith(mark) and name in line:
                    entry = from_line(line)
                    assert isinstance(entry, Logged)
                    its = (entry.uid, entry.step) == (uid, step)
                    if its and entry.metrics and not of_the_machine(entry.metrics):
                        return entry.time_ms
        return None

    def _write(self, line: bytes, *, last_words: bool) -> None:
        while True:
            try:
                done = 0
                while done < len(line):  # a disk that fills up takes a part first, and says so at the next try
                    done += os.write(self._descriptor, line[done:])
                break
            except OSError as error:
                os.ftruncate(self._descriptor, self._bytes)
                if not (last_words and error.errno in _FULL and self._ballast.give(len(line))):
                    raise self._unwritable(error) from error
        self._bytes += len(line)
        self.written += 1

    def _unwritable(self, error: OSError) -> HomeError:
        return HomeError(
            f"Cannot write to the journal {self.path}: {error.strerror}. All {self.written} entries before are "
            f"safe; make room and start the same command again to go on."
        )


def _closes(entry: Entry) -> bool:
    """Whether an entry closes a run, or says why it is going to be closed."""
    return isinstance(entry, RunEnded) or (isinstance(entry, Logged) and set(entry.metrics) <= {"seconds"})


def _whole_lines(path: Path) -> tuple[int, int]:
    """Bytes up to the end of the last whole line, and how many lines that are."""
    whole = lines = at = 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            lines += block.count(b"\n")
            end = block.rfind(b"\n")
            whole = whole if end < 0 else at + end + 1
            at += len(block)
    return whole, lines


def _last_time(path: Path, size: int) -> int:
    """The newest time in the last part of a journal; its times never went back, so no older one is later."""
    with path.open("rb") as handle:
        reach = _TAIL_BYTES
        while True:
            handle.seek(max(0, size - reach))
            tail = handle.read(size - handle.tell())
            lines = tail.splitlines(keepends=True)[0 if reach >= size else 1 :]
            times = [
                entry.time_ms for entry in map(from_line, lines) if not isinstance(entry, FileKept | CheckpointKept)
            ]
            if times or reach >= size:
                return max(times, default=0)
            reach *= 8


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


def read_beside(
    path: Path, offset: int, end: int, limit: int, held: tuple[int, int] | None = None
) -> tuple[list[BesideEntry], int]:
    """Pictures and checkpoints among the entries from `offset` up to `end` bytes, and the offset behind them.

    There are at most `limit` of them, of which a checkpoint counts as four; with `held`, only those before the first
    checkpoint of an epoch between these times, in ms since 1970. The second is now: what is said to come later was made
    before the clock was set back, and would have to wait for as long as that was.
    """
    found: list[BesideEntry] = []
    if offset >= end:
        return found, offset
    with path.open("rb") as handle:
        handle.seek(offset)
        for line in handle:
            if offset >= end or limit <= 0:
                break
            if line.startswith(_BESIDE):
                entry = from_line(line)
                assert isinstance(entry, BesideEntry)
                if held is not None and isinstance(entry, CheckpointKept) and held[0] < entry.time_ms <= held[1]:
                    break
                found.append(entry)
                limit -= 4 if isinstance(entry, CheckpointKept) else 1
            offset += len(line)
    return found, offset


def read_all(path: Path, end: int | None = None) -> Iterator[Entry]:
    """Every whole entry of a journal, in order; with `end`, those within so many bytes.

    Raises:
        HomeError: A line is no entry that this version of Regatta knows.
    """
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            offset += len(line)
            if not line.endswith(b"\n") or (end is not None and offset > end):
                return
            try:
                entry = from_line(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise HomeError(
                    f"Line {number} of the journal {path} is no entry that this version of Regatta knows: "
                    f"{line[:40]!r}. Use the version that wrote it, or bring that file back from a backup."
                ) from None
            yield entry
