from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.errors import HomeError
from pipelines.home import disk_is_full
from pipelines.tracking.ballast import BALLAST_BYTES
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
    to_line,
)
from pipelines.tracking.journal import Journal, read_all, read_beside, read_lines
from pipelines.tracking.run import Run
from pipelines.tracking.syncing import SYNC_AFTER_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study" / "journal.jsonl"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def entry(number: int) -> Logged:
    return Logged("run", number, number, {"loss": 1.0 / (number + 1)})


def numbers(path: Path) -> list[int]:
    return [found.step for found in read_all(path) if isinstance(found, Logged)]


def test_entries_are_read_back_in_the_order_they_were_written(journal: Journal) -> None:
    for number in range(10):
        journal.append(entry(number))

    assert list(read_all(journal.path)) == [entry(number) for number in range(10)]
    assert journal.written == 10


def test_an_entry_can_be_read_by_others_as_soon_as_append_returns(journal: Journal) -> None:
    journal.append(entry(0))

    assert numbers(journal.path) == [0]


def test_each_append_wakes_whoever_asked_for_it(path: Path) -> None:
    woken: list[int] = []
    journal = Journal(path, on_append=lambda: woken.append(len(numbers(path))))

    for number in range(3):
        journal.append(entry(number))
    journal.close()

    assert woken == [1, 2, 3]


def test_a_journal_goes_on_where_the_last_one_stopped(path: Path) -> None:
    for number in range(3):
        journal = Journal(path)
        journal.append(entry(number))
        assert journal.written == number + 1
        journal.close()

    assert numbers(path) == [0, 1, 2]


@pytest.mark.parametrize("kept", [0, 1, 20, -1], ids=["nothing", "a byte", "a part", "all but the newline"])
def test_a_torn_last_line_is_cut_off_and_the_next_entry_is_whole(path: Path, kept: int) -> None:
    path.parent.mkdir()
    path.write_bytes(to_line(entry(0)) + to_line(entry(1)) + to_line(entry(2))[:kept])

    journal = Journal(path)
    assert journal.written == 2
    journal.append(entry(3))
    journal.close()

    assert numbers(path) == [0, 1, 3]


def test_a_reader_stops_before_a_line_that_is_still_being_written(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(to_line(entry(0)) + to_line(entry(1))[:-1])

    entries, offset = read_lines(path)

    assert entries == [entry(0)]
    assert offset == len(to_line(entry(0)))
    with path.open("ab") as handle:
        handle.write(b"\n")
    assert read_lines(path, offset)[0] == [entry(1)]


@pytest.mark.parametrize("line", [b"\0" * 80, b"[1]", b'{"kind": "not yet"}', b'{"kind": "run_ended"}', b"{", b"7"])
def test_a_line_that_is_no_entry_is_told_with_its_number(journal: Journal, line: bytes) -> None:
    journal.append(entry(0))
    with journal.path.open("ab") as file:
        file.write(line + b"\n")

    with pytest.raises(HomeError, match=r"^Line 2 of the journal .*/journal\.jsonl is no entry that this version"):
        list(read_all(journal.path))


def test_a_reader_takes_slices_and_goes_on_behind_them(journal: Journal) -> None:
    for number in range(7):
        journal.append(entry(number))

    offset, slices = 0, []
    while True:
        entries, offset = read_lines(journal.path, offset, limit=3)
        if not entries:
            break
        slices.append(entries)

    assert [len(found) for found in slices] == [3, 3, 1]
    assert [found for part in slices for found in part] == [entry(number) for number in range(7)]


def test_a_journal_that_does_not_exist_is_empty(path: Path) -> None:
    assert read_lines(path, 0) == ([], 0)


Write = Callable[[int, bytes], int]


def full_disk(room: int) -> Write:
    """`os.write` on a disk with `room` bytes left."""
    really = os.write
    left = [room]

    def write(descriptor: int, data: bytes) -> int:
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = really(descriptor, data[: left[0]])
        left[0] -= done
        return done

    return write


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_full_disk_is_one_sentence_and_leaves_a_whole_file(
    journal: Journal, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(entry(0))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full_disk(room))
        with pytest.raises(HomeError, match="No space left on device") as caught:
            journal.append(entry(1))
    content = journal.path.read_bytes()
    journal.append(entry(2))

    assert content == to_line(entry(0))
    assert str(journal.path) in str(caught.value)
    assert "1 entries before are safe" in str(caught.value)
    assert numbers(journal.path) == [0, 2]
    assert journal.written == 2


def test_writes_that_the_system_cuts_short_still_make_a_whole_line(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: really(descriptor, data[:7]))
        journal.append(entry(0))
    journal.append(entry(1))

    assert numbers(journal.path) == [0, 1]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(HomeError, match="Cannot write the journal"):
        Journal(tmp_path / "file" / "journal.jsonl")


def test_closing_twice_is_fine(path: Path) -> None:
    journal = Journal(path)

    journal.close()
    journal.close()


def test_a_run_keeps_files_by_their_place_below_the_journal(journal: Journal) -> None:
    run = Run(journal, "uid")
    run.begin("study", "trial-000", tags={}, params={})
    run.keep(journal.path.parent / "trials" / "00000-1" / "best.keras", "checkpoint")
    run.keep_picture(journal.path.parent / "trials" / "00000-1" / "pictures" / "00004.png", "decision_surface", 4)
    run.end("FINISHED")

    begun, kept, picture, ended = read_all(journal.path)
    assert kept.path == "trials/00000-1/best.keras"  # type: ignore[union-attr]
    assert isinstance(picture, PictureKept)
    assert picture == PictureKept("uid", picture.time_ms, "trials/00000-1/pictures/00004.png", "decision_surface", 4)
    assert isinstance(ended, RunEnded)
    assert picture.time_ms <= ended.time_ms
    assert {begun.uid, kept.uid, ended.uid} == {"uid"}


def test_a_file_outside_the_journals_folder_cannot_be_kept(journal: Journal, tmp_path: Path) -> None:
    run = Run(journal, "uid")

    with pytest.raises(ValueError, match="not in the subpath"):
        run.keep_picture(tmp_path / "elsewhere.png", "decision_surface", 0)

    assert journal.written == 0


def test_pictures_and_checkpoints_are_read_apart_from_what_lies_between_them(journal: Journal) -> None:
    pictures = [PictureKept("run", number, f"{number}.png", "surface", number) for number in range(5)]
    for number, picture in enumerate(pictures):
        journal.append(Logged("run", number, number, {"loss": 1.0}, {"note": '{"kind":"picture",'}))
        journal.append(picture)
    end = journal.path.stat().st_size

    offset, batches = 0, []
    while offset < end:
        batch, offset = read_beside(journal.path, offset, end, limit=2)
        batches.append(batch)

    assert batches == [pictures[:2], pictures[2:4], pictures[4:]]
    assert read_beside(journal.path, end, end, limit=2) == ([], end)


def test_a_checkpoint_fills_a_batch_sooner_than_pictures_do(journal: Journal) -> None:
    kept = [CheckpointKept("run", 1, f"{number}.keras", "trial", 1, "aa") for number in range(3)]
    dropped = CheckpointDropped("run", 2, "aa", "no room")
    written: list[Entry] = [*kept, dropped]
    for each in written:
        journal.append(each)
    end = journal.path.stat().st_size

    first, offset = read_beside(journal.path, 0, end, limit=8)

    assert first == kept[:2]
    assert read_beside(journal.path, offset, end, limit=8) == ([kept[2], dropped], end)


def test_pictures_are_read_up_to_a_place_and_no_further(journal: Journal) -> None:
    for number in range(3):
        journal.append(entry(number))
    here = journal.path.stat().st_size
    journal.append(PictureKept("run", 3, "1.png", "surface", 1))

    assert read_beside(journal.path, 0, here, limit=10) == ([], here)
    assert read_beside(journal.path.with_name("none.jsonl"), 0, 0, limit=10) == ([], 0)


def test_entries_are_read_up_to_a_place_and_no_further(journal: Journal) -> None:
    journal.append(entry(0))
    here = journal.path.stat().st_size
    journal.append(entry(1))

    assert list(read_all(journal.path, here)) == [entry(0)]
    assert list(read_all(journal.path, here + 5)) == [entry(0)]
    assert list(read_all(journal.path.with_name("none.jsonl"))) == []


# time


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def times(path: Path) -> list[int]:
    return [found.time_ms for found in read_all(path) if not isinstance(found, FileKept)]


def test_time_does_not_go_back_when_the_clock_does(path: Path) -> None:
    clock = Clock(1000)
    journal = Journal(path, clock=clock)
    run = Run(journal, "run")
    run.begin("study", "trial-000", tags={}, params={})
    clock.now = 400
    run.log({"loss": 1.0}, step=0)
    run.keep_picture(path.parent / "0.png", "surface", 0)
    clock.now = 2000
    run.log({"loss": 0.5}, step=1)
    clock.now = 3
    run.end("FINISHED")
    journal.close()

    assert times(path) == [1000, 1000, 1000, 2000, 2000]


def test_time_does_not_go_back_from_one_controller_to_the_next(path: Path) -> None:
    for now in (5000, 100, 6000):
        journal = Journal(path, clock=Clock(now))
        Run(journal, "run").log({"loss": 1.0})
        Run(journal, "run").keep(path.parent / "file.txt")
        journal.close()

    assert times(path) == [5000, 5000, 6000]


@pytest.mark.parametrize("size", [10, 200_000, 2_000_000])
def test_the_last_time_is_found_behind_whatever_has_none(path: Path, size: int) -> None:
    journal = Journal(path)
    journal.append(Logged("run", 7777, 0, {"loss": 1.0}))
    while journal.path.stat().st_size < size:
        journal.append(FileKept("run", "x" * 5000))
    journal.close()

    again = Journal(path, clock=Clock(1))

    assert again.now_ms() == again.last_ms == 7777
    again.close()


def test_a_workers_clock_that_is_behind_does_not_take_time_back(journal: Journal) -> None:
    run = Run(journal, "run")
    run.log({"loss": 1.0}, step=0, time_ms=9_999_999_999_999)
    run.log({"loss": 0.5}, step=1, time_ms=5)

    assert times(journal.path) == [9_999_999_999_999, 9_999_999_999_999]


def test_a_checkpoint_has_the_time_that_its_epoch_has_in_the_journal(journal: Journal) -> None:
    other, run = Run(journal, "other"), Run(journal, "run")
    other.log({"loss": 1.0}, step=3, time_ms=9_999_999_999_000)
    run.log({"loss": 1.0}, step=3, time_ms=100)
    run.log({"system/memory_mb": 5.0}, step=4, time_ms=9_999_999_999_500)
    run.log({"loss": 1.0}, step=4, time_ms=9_999_999_999_900)
    path = journal.path.parent / "best.keras"
    for handle in (run, Run(journal, "run")):  # the second one is a later controller's
        for step in (3, 4):
            handle.keep_checkpoint(path, name="trial", step=step, sha256="aa", metrics={"loss": 1.0}, time_ms=100)
    run.keep_checkpoint(path, name="trial", step=9, sha256="bb", metrics={}, time_ms=77)

    kept = [found for found in read_all(journal.path) if isinstance(found, CheckpointKept)]
    assert [(each.step, each.time_ms) for each in kept] == [
        (3, 9_999_999_999_000),
        (4, 9_999_999_999_900),
        (3, 9_999_999_999_000),
        (4, 9_999_999_999_900),
        (9, 77),
    ]
    assert journal.last_ms == 9_999_999_999_900


# the disk


class Disk:
    """Counts what is put on the disk, and by whom."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        self.synced = threading.Condition()
        self.failure: OSError | None = None
        self._really = os.fsync
        monkeypatch.setattr(os, "fsync", self._sync)

    def _sync(self, descriptor: int) -> None:
        with self.synced:
            self.threads.append(threading.current_thread().name)
            self.synced.notify_all()
            failure = self.failure
        if failure is not None:
            raise failure
        self._really(descriptor)

    def wait_for(self, count: int) -> bool:
        with self.synced:
            return self.synced.wait_for(lambda: len(self.threads) >= count, 20)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_an_entry_is_on_the_disk_some_time_later_and_nobody_who_appends_waits_for_that(path: Path, disk: Disk) -> None:
    journal = Journal(path, sync_after_s=0.01)
    journal.append(entry(0))
    assert disk.wait_for(1)
    journal.append(entry(1))
    assert disk.wait_for(2)
    names = list(disk.threads)
    journal.close()

    assert set(names) == {"journal-syncer"}
    assert SYNC_AFTER_S < 5.0


def test_entries_do_not_go_to_the_disk_one_by_one(path: Path, disk: Disk) -> None:
    journal = Journal(path, sync_after_s=3600)
    for number in range(500):
        journal.append(entry(number))
    before = len(disk.threads)
    journal.close()

    assert before == 0
    assert disk.threads == [threading.current_thread().name]  # who closes waits for it


def test_the_end_of_a_run_is_put_on_the_disk_at_once(path: Path, disk: Disk) -> None:
    journal = Journal(path, sync_after_s=3600)
    run = Run(journal, "run")
    run.log({"loss": 1.0})
    run.end("FINISHED")

    assert disk.wait_for(1)
    assert disk.threads == ["journal-syncer"]
    journal.close()


def test_a_disk_that_fails_later_is_told_to_who_appends_next(path: Path, disk: Disk) -> None:
    disk.failure = OSError(errno.EIO, os.strerror(errno.EIO))
    journal = Journal(path, sync_after_s=0.01)
    journal.append(entry(0))
    assert disk.wait_for(1)
    journal._syncer.close()
    disk.failure = None

    with pytest.raises(HomeError, match="Input/output error"):
        journal.append(entry(1))
    journal.append(RunEnded("run", 9, "KILLED"))  # a run is closed where that can be done at all
    journal.close()
    assert numbers(path) == [0]
    assert journal.written == 2


def last_words(number: int) -> list[Entry]:
    return [
        Logged(f"run-{number}", 9, 0, {"seconds": 1.5}, {"regatta.reason": "No space left on the disk " * 20}),
        RunEnded(f"run-{number}", 9, "KILLED"),
    ]


def full_but_for_the_ballast(journal: Journal) -> Write:
    """`os.write` on a disk that has no more room than what the journal's ballast gives up."""
    ballast = journal.path.with_suffix(".ballast")
    held, used, really = ballast.stat().st_size, [0], os.write

    def write(descriptor: int, data: bytes) -> int:
        if used[0] + len(data) > held - ballast.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        used[0] += len(data)
        return really(descriptor, data)

    return write


def test_on_a_full_disk_runs_can_still_be_closed_and_nothing_else_is_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(entry(0))
    refused: tuple[Entry, ...] = (entry(1), RunBegun("more", "study", "trial", 9), PictureKept("run", 9, "x", "y", 1))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full_but_for_the_ballast(journal))
        for each in refused:
            with pytest.raises(HomeError) as caught:
                journal.append(each)
            assert disk_is_full(caught.value)
        for number in range(64):
            for word in last_words(number):
                journal.append(word)

    closed = [found.uid for found in read_all(journal.path) if isinstance(found, RunEnded)]
    assert closed == [f"run-{number}" for number in range(64)]
    assert numbers(journal.path)[0] == 0
    assert journal.written == 1 + 2 * 64


def test_a_ballast_that_is_used_up_leaves_a_whole_journal(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full_but_for_the_ballast(journal))
        with suppress(HomeError):
            while written < 100_000:
                journal.append(RunEnded("run", 9, "KILLED"))
                written += 1

    assert 1000 < written < 100_000
    assert len(list(read_all(journal.path))) == journal.written == written


def test_the_ballast_is_whole_again_at_the_next_start_and_gone_with_the_journal_closed(path: Path) -> None:
    ballast = path.with_suffix(".ballast")
    journal = Journal(path)
    assert ballast.stat().st_size == BALLAST_BYTES
    assert ballast.stat().st_blocks * 512 >= BALLAST_BYTES  # room that is really held
    os.truncate(ballast, 1000)  # this controller dies now, having used most of it

    again = Journal(path)
    assert ballast.stat().st_size == BALLAST_BYTES
    again.close()
    assert not ballast.exists()
    journal.close()


def test_a_disk_without_room_for_the_ballast_still_has_a_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(count: int) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.tracking.ballast.os.urandom", no_room)
        journal = Journal(path)
    assert not path.with_suffix(".ballast").exists()
    journal.append(entry(0))
    journal.close()

    assert numbers(path) == [0]


def test_an_epoch_takes_a_few_hundred_bytes(journal: Journal) -> None:
    names = ("loss", "val_loss", "accuracy", "val_accuracy", "auc", "learning_rate")
    for epoch in range(100):
        Run(journal, "0123456789ab-00042").log(dict.fromkeys(names, 1 / (epoch + 3)), step=epoch)

    assert journal.path.stat().st_size / 100 < 300
