from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.errors import HomeError
from pipelines.tracking.entries import Logged, PictureKept, RunEnded, to_line
from pipelines.tracking.journal import Journal, read_all, read_lines, read_pictures
from pipelines.tracking.run import Run


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


def test_pictures_are_read_apart_from_what_lies_between_them(journal: Journal) -> None:
    pictures = [PictureKept("run", number, f"{number}.png", "surface", number) for number in range(5)]
    for number, picture in enumerate(pictures):
        journal.append(Logged("run", number, number, {"loss": 1.0}, {"note": '{"kind":"picture",'}))
        journal.append(picture)
    end = journal.path.stat().st_size

    offset, batches = 0, []
    while offset < end:
        batch, offset = read_pictures(journal.path, offset, end, limit=2)
        batches.append(batch)

    assert batches == [pictures[:2], pictures[2:4], pictures[4:]]
    assert read_pictures(journal.path, end, end, limit=2) == ([], end)


def test_pictures_are_read_up_to_a_place_and_no_further(journal: Journal) -> None:
    for number in range(3):
        journal.append(entry(number))
    here = journal.path.stat().st_size
    journal.append(PictureKept("run", 1, "1.png", "surface", 1))

    assert read_pictures(journal.path, 0, here, limit=10) == ([], here)
    assert read_pictures(journal.path.with_name("none.jsonl"), 0, 0, limit=10) == ([], 0)
