"""Runs, files and checkpoints that go many at a time: the same comes of it, and one that cannot costs only itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking import carrying_beside, carrying_runs
from pipelines.tracking.base import CHECKPOINT_TAG, Refused, Unavailable
from pipelines.tracking.courier import Courier
from pipelines.tracking.delivery import Delivery
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
)
from pipelines.tracking.journal import Journal
from pipelines.tracking.memory import MemoryRun, MemoryTracker
from pipelines.tracking.parcels import SMALL_BYTES, CheckpointParcel, FileParcel, RunParcel, portions


class Wholesale(MemoryTracker):
    """Takes many at a time and, like MLflow, looks for a run only when it is told that there may be one.

    Attributes:
        asked: What it was asked, with how many it was asked for.
        refuses: Uids for the sake of which it refuses all that comes with them.
        leaves: Uids that it does not take with others.
        breaks: How often it says after the next of that name that it could not be reached.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []
        self.refuses: set[str] = set()
        self.leaves: set[str] = set()
        self.breaks: dict[str, int] = {}
        self.door = True

    def takes_many(self) -> bool:
        return self.door

    def take_runs(self, parcels: Sequence[RunParcel]) -> list[str | None]:
        self._open("runs", [parcel.uid for parcel in parcels])
        taken: list[str | None] = []
        for parcel in parcels:
            if parcel.uid in self.leaves:
                taken.append(None)
                continue
            run_id = parcel.run_id
            if parcel.begun is not None:
                run_id = self._make(parcel.begun, parcel.experiment_id, parcel.parent_run_id)
            assert run_id is not None
            run = self.runs[run_id]
            run.tags |= parcel.tags
            run.params |= parcel.params
            super().log(run_id, parcel.logged)
            if parcel.ended is not None:
                super().end(run_id, parcel.ended.status, parcel.ended.time_ms)
            taken.append(run_id)
        self._close("runs")
        return taken

    def take_files(self, parcels: Sequence[FileParcel]) -> list[bool]:
        self._open("files", [parcel.entry.uid for parcel in parcels])
        for parcel in parcels:
            match parcel.entry:
                case FileKept() if parcel.entry.uid not in self.leaves:
                    super().keep(parcel.run_id, parcel.path, parcel.entry.folder)
                case PictureKept() if parcel.entry.uid not in self.leaves:
                    super().keep_picture(parcel.run_id, parcel.path, parcel.entry)
        self._close("files")
        return [parcel.entry.uid not in self.leaves for parcel in parcels]

    def take_checkpoints(self, parcels: Sequence[CheckpointParcel]) -> list[bool]:
        self._open("checkpoints", [parcel.entry.uid for parcel in parcels])
        for parcel in parcels:
            if parcel.entry.uid not in self.leaves:
                super().keep_checkpoint(parcel.run_id, parcel.path, parcel.entry, suspect=False)
        self._close("checkpoints")
        return [parcel.entry.uid not in self.leaves for parcel in parcels]

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        self.asked.append(("begin", 1))
        if suspect:
            return super().begin(entry, experiment_id, parent_run_id, suspect=True)
        return self._make(entry, experiment_id, parent_run_id)

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        self.asked.append(("log", 1))
        if any("bad" in entry.metrics for entry in entries):
            raise Refused("no metric may be called bad")
        super().log(run_id, entries)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        self.asked.append(("end", 1))
        super().end(run_id, status, time_ms)

    def keep(self, run_id: str, path: Path, folder: str) -> None:
        self.asked.append(("keep", 1))
        super().keep(run_id, path, folder)

    def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
        self.asked.append(("keep_picture", 1))
        super().keep_picture(run_id, path, entry)

    def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
        self.asked.append(("keep_checkpoint", 1))
        super().keep_checkpoint(run_id, path, entry, suspect=suspect)

    def drop_checkpoint(self, run_id: str, entry: CheckpointDropped) -> None:
        self.asked.append(("drop_checkpoint", 1))
        super().drop_checkpoint(run_id, entry)

    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.asked]

    def of(self, uid: str) -> MemoryRun:
        (run,) = (run for run in self.runs.values() if run.uid == uid)
        return run

    def _make(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None) -> str:
        run_id = f"run-{self._made}"
        self._made += 1
        made = MemoryRun(entry.uid, entry.name, experiment_id, parent_run_id, "RUNNING", dict(entry.tags))
        self.runs[run_id] = made
        made.params |= entry.params
        return run_id

    def _open(self, name: str, uids: list[str]) -> None:
        self.asked.append((name, len(uids)))
        if self.refuses & set(uids):
            raise Refused("one of them is bad")

    def _close(self, name: str) -> None:
        if self.breaks.get(name, 0):
            self.breaks[name] -= 1
            raise Unavailable("the connection broke before the answer came")


@pytest.fixture
def tracker() -> Wholesale:
    return Wholesale()


Delivering = Callable[..., Courier]


@pytest.fixture
def delivering(tmp_path: Path, tracker: Wholesale) -> Delivering:
    """Writes entries and begins to deliver them, as a sender does that was there from the beginning."""
    couriers: list[Courier] = []

    def deliver(*entries: Entry, tries: int = 1) -> Courier:
        journal = Journal(tmp_path / "journal.jsonl", clock=lambda: 1)
        for entry in entries:
            journal.append(entry)
        journal.close()
        if not couriers:
            couriers.append(Courier(journal.path, tracker, Delivery(), None))
        more, failures = True, 0
        while more:
            try:
                more = couriers[0].deliver()
            except Unavailable:
                failures += 1
                assert failures < tries
        return couriers[0]

    return deliver


def begun(uid: str, parent: str | None = None) -> RunBegun:
    return RunBegun(uid, "study", uid, 1, parent, {"regatta.uid": uid}, {"lr": "0.1"})


def whole(uid: str, parent: str | None = None) -> list[Entry]:
    epochs = [Logged(uid, 2, epoch, {"loss": 1 / (1 + epoch)}) for epoch in range(3)]
    state = Logged(uid, 3, tags={"regatta.state": "COMPLETE"}, params={"late": "1"})
    return [begun(uid, parent), *epochs, state, RunEnded(uid, 4, "FINISHED")]


def a_file(folder: Path, name: str, content: bytes = b"content") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def kept(folder: Path, uid: str, step: int = 1) -> CheckpointKept:
    path = a_file(folder, f"{uid}-{step}.keras", f"{uid} {step}".encode())
    return CheckpointKept(uid, 2, path.name, "checkpoint", step, hashlib.sha256(path.read_bytes()).hexdigest())


def is_whole(run: MemoryRun) -> bool:
    return (run.status, run.curve("loss"), run.tags["regatta.state"], run.params) == (
        "FINISHED",
        [(0, 1.0), (1, 0.5), (2, 1 / 3)],
        "COMPLETE",
        {"lr": "0.1", "late": "1"},
    )


def test_whole_runs_go_in_one_request_and_their_parent_in_one_before(
    delivering: Delivering, tracker: Wholesale
) -> None:
    courier = delivering(*whole("parent"), *(entry for n in range(5) for entry in whole(f"trial-{n}", "parent")))

    assert tracker.asked == [("runs", 1), ("runs", 5)]
    assert all(is_whole(run) for run in tracker.runs.values())
    parent = courier.state.runs["parent"]
    assert {run.parent_run_id for run in tracker.runs.values()} == {None, parent}
    assert list(courier.state.runs) == ["parent", *(f"trial-{n}" for n in range(5))]
    assert courier.state.processed == 36


def test_what_comes_later_of_known_runs_goes_in_one_request_too(delivering: Delivering, tracker: Wholesale) -> None:
    runs = [whole(f"trial-{n}") for n in range(4)]
    delivering(*(entry for its in runs for entry in its[:3]))
    delivering(*(entry for its in runs for entry in its[3:]))

    assert tracker.asked == [("runs", 4), ("runs", 4)]
    assert all(is_whole(tracker.of(f"trial-{n}")) for n in range(4))


def test_what_is_logged_after_the_end_goes_along(delivering: Delivering, tracker: Wholesale) -> None:
    delivering(*whole("trial"), Logged("trial", 9, tags={"regatta.rank": "1"}), RunEnded("trial", 9, "FAILED"))

    assert tracker.asked == [("runs", 1)]
    assert (tracker.of("trial").tags["regatta.rank"], tracker.of("trial").status) == ("1", "FAILED")


def test_a_run_that_begins_twice_is_taken_up_again_by_itself(delivering: Delivering, tracker: Wholesale) -> None:
    delivering(*whole("trial"), begun("trial"), Logged("trial", 9, 3, {"loss": 0.25}), *whole("other"))

    assert tracker.asked[0] == ("runs", 1)
    assert len(tracker.runs) == 2
    assert tracker.of("trial").status == "RUNNING"
    assert tracker.of("trial").curve("loss")[-1] == (3, 0.25)


def test_a_known_run_that_begins_again_is_looked_for_by_itself(delivering: Delivering, tracker: Wholesale) -> None:
    delivering(*whole("trial"))
    tracker.asked.clear()

    delivering(begun("trial"), Logged("trial", 9, tags={"a": "b"}), *whole("other"))

    assert tracker.asked[0] == ("runs", 1)
    assert "begin" in tracker.verbs()
    assert [run.uid for run in tracker.runs.values()] == ["trial", "other"]


def test_a_bad_run_costs_only_itself(delivering: Delivering, tracker: Wholesale) -> None:
    tracker.refuses = {"trial-2"}
    bad = [begun("trial-2"), Logged("trial-2", 2, 0, {"bad": 1.0}), RunEnded("trial-2", 3, "FINISHED")]

    courier = delivering(*whole("trial-1"), *bad, *whole("trial-3"))

    assert courier.state.refused == {"trial-2: no metric may be called bad": 1}
    assert is_whole(tracker.of("trial-1"))
    assert is_whole(tracker.of("trial-3"))
    assert tracker.of("trial-2").status == "FINISHED"
    assert courier.state.processed == 15


def test_what_is_left_of_a_request_goes_by_itself(delivering: Delivering, tracker: Wholesale) -> None:
    tracker.leaves = {"trial-1"}

    delivering(*whole("trial-0"), *whole("trial-1"))

    assert tracker.asked[0] == ("runs", 2)
    assert sorted(tracker.verbs()[1:]) == ["begin", "end", "log"]
    assert is_whole(tracker.of("trial-0"))
    assert is_whole(tracker.of("trial-1"))


def test_a_child_whose_parent_was_never_begun_is_refused_and_no_other(
    delivering: Delivering, tracker: Wholesale
) -> None:
    courier = delivering(*whole("trial-0", "nobody"), *whole("trial-1"))

    assert [text for text in courier.state.refused if "trial-0" in text]
    assert [run.uid for run in tracker.runs.values()] == ["trial-1"]


def test_where_an_answer_is_lost_every_run_is_looked_for_by_itself(delivering: Delivering, tracker: Wholesale) -> None:
    tracker.breaks = {"runs": 1}

    delivering(*whole("trial-0"), *whole("trial-1"), tries=2)

    assert tracker.asked[0] == ("runs", 2)
    assert "runs" not in tracker.verbs()[1:]
    assert [run.uid for run in tracker.runs.values()] == ["trial-0", "trial-1"]
    assert all(is_whole(run) for run in tracker.runs.values())
    tracker.asked.clear()
    delivering(*whole("trial-2"))  # of which nothing was tried before
    assert tracker.asked == [("runs", 1)]


def test_a_tracker_that_cannot_say_what_it_takes_has_been_tried_with_nothing(
    delivering: Delivering, tracker: Wholesale, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Unavailable("nobody is there yet")]

    def once_away() -> bool:
        for problem in answers:
            answers.clear()
            raise problem
        return True

    monkeypatch.setattr(tracker, "takes_many", once_away)

    delivering(*whole("trial-0"), *whole("trial-1"), tries=2)

    assert answers == []
    assert tracker.asked == [("runs", 2)]


def test_what_an_earlier_sender_may_have_delivered_goes_by_itself(tmp_path: Path, tracker: Wholesale) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for entry in [*whole("trial"), FileKept("trial", "a.txt"), kept(tmp_path, "trial")]:
        journal.append(entry)
    a_file(tmp_path, "a.txt")
    journal.close()
    size = journal.path.stat().st_size
    courier = Courier(journal.path, tracker, Delivery(attempted=size, pictures_attempted=size), None)

    while courier.deliver():
        pass

    assert not {"runs", "files", "checkpoints"} & set(tracker.verbs())
    assert is_whole(tracker.of("trial"))
    assert len(tracker.models) == 1


def test_requests_are_kept_small(delivering: Delivering, tracker: Wholesale, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying_runs, "_MOST_RUNS", 4)
    monkeypatch.setattr(carrying_runs, "_MOST_POINTS", 9)

    delivering(*(entry for n in range(7) for entry in whole(f"trial-{n}")))

    assert tracker.asked == [("runs", 3), ("runs", 3), ("runs", 1)]  # of three points each


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([], []),
        ([1], [[1]]),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([4, 4, 4], [[4, 4], [4]]),
        ([20, 1, 20], [[20], [1], [20]]),
        ([0, 0, 10, 0], [[0, 0, 10], [0]]),
    ],
)
def test_portions_hold_neither_too_many_nor_too_much(weights: list[int], expected: list[list[int]]) -> None:
    assert list(portions(weights, 3, 10, lambda weight: weight)) == expected


def test_files_of_a_slice_go_in_one_request_after_their_runs(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    a_file(tmp_path, "curve.svg")
    runs = [[*whole(f"trial-{n}"), FileKept(f"trial-{n}", "curve.svg", "pictures")] for n in range(3)]

    delivering(*(entry for its in runs for entry in its))

    assert tracker.asked == [("runs", 3), ("files", 3)]
    assert [run.files for run in tracker.runs.values()] == [{"pictures/curve.svg": b"content"}] * 3


def test_files_that_cannot_go_with_others_go_by_themselves(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    a_file(tmp_path, "small")
    a_file(tmp_path, "large", b"x" * (SMALL_BYTES + 1))

    courier = delivering(*whole("trial"), *(FileKept("trial", name) for name in ("small", "large", "gone")))

    assert tracker.asked == [("runs", 1), ("files", 1), ("keep", 1), ("keep", 1)]
    assert set(tracker.of("trial").files) == {"small", "large"}
    assert [text.rpartition(" ")[0] for text in courier.state.refused] == [f"trial: {tmp_path / 'gone'} is"]


def test_files_of_a_run_that_goes_by_itself_do_so_too(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    a_file(tmp_path, "small")
    tracker.leaves = {"trial"}

    delivering(*whole("trial"), FileKept("trial", "small"))

    assert "files" not in tracker.verbs()
    assert tracker.of("trial").files == {"small": b"content"}


def test_a_refused_request_of_files_is_told_one_by_one(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    a_file(tmp_path, "small")
    delivering(*whole("trial"), *whole("other"))
    tracker.refuses = {"trial"}

    delivering(FileKept("trial", "small"), FileKept("other", "small"))

    assert tracker.asked[1:] == [("files", 2), ("keep", 1), ("keep", 1)]
    assert tracker.of("other").files == {"small": b"content"}


def test_pictures_and_checkpoints_go_in_one_request_each(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    a_file(tmp_path, "0.png")
    runs = [[*whole(uid), PictureKept(uid, 2, "0.png", "x", 0), kept(tmp_path, uid)] for uid in "abcdefgh"]

    courier = delivering(*(entry for its in runs for entry in its))

    assert tracker.asked == [("runs", 8), ("files", 8), ("checkpoints", 8)]
    assert {model.status for model in tracker.models.values()} == {"READY"}
    assert [len(run.pictures) for run in tracker.runs.values()] == [1] * 8
    assert courier.state.processed == 8 * 8


@pytest.mark.parametrize("name", ["files", "checkpoints"])
def test_where_such_an_answer_is_lost_each_is_looked_for_by_itself(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path, name: str
) -> None:
    a_file(tmp_path, "0.png")
    tracker.breaks = {name: 1}
    runs = [[*whole(uid), PictureKept(uid, 2, "0.png", "x", 0), kept(tmp_path, uid)] for uid in "ab"]

    courier = delivering(*(entry for its in runs for entry in its), tries=2)

    assert tracker.verbs().count(name) == 1
    assert tracker.verbs().count("keep_checkpoint") == 2
    assert len(tracker.models) == 2
    assert courier.state.refused == {}


def test_a_checkpoint_that_was_dropped_before_it_came_is_told_with_others(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    entries: list[Entry] = []
    for uid in "abc":
        first, second = kept(tmp_path, uid, 1), kept(tmp_path, uid, 2)
        (tmp_path / first.path).unlink()
        entries += [*whole(uid), first, second, CheckpointDropped(uid, 3, first.sha256, "a better one came")]

    delivering(*entries)

    assert tracker.asked == [("runs", 3), ("checkpoints", 3), ("runs", 3)]
    assert [model.entry.step for model in tracker.models.values()] == [2, 2, 2]
    assert {run.tags[CHECKPOINT_TAG] for run in tracker.runs.values()} == {"dropped: a better one came"}


def test_the_last_that_is_told_of_a_runs_checkpoints_is_what_came_last(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    came, never = kept(tmp_path, "a", 1), kept(tmp_path, "a", 2)
    delivering(*whole("a"), came)
    (tmp_path / never.path).unlink()
    drops = [CheckpointDropped("a", 3, each.sha256, f"number {each.step}") for each in (never, came)]

    delivering(never, *drops)

    assert tracker.asked[2:] == [("log", 1), ("drop_checkpoint", 1)]
    assert tracker.of("a").tags[CHECKPOINT_TAG] == "dropped: number 1"
    assert tracker.models == {}


def test_a_large_checkpoint_goes_by_itself(delivering: Delivering, tracker: Wholesale, tmp_path: Path) -> None:
    path = a_file(tmp_path, "large.keras", b"x" * (SMALL_BYTES + 1))
    large = CheckpointKept("a", 2, path.name, "checkpoint", 1, hashlib.sha256(path.read_bytes()).hexdigest())

    delivering(*whole("a"), *whole("b"), large, kept(tmp_path, "b"))

    assert tracker.asked[1:] == [("checkpoints", 1), ("keep_checkpoint", 1)]
    assert len(tracker.models) == 2


def test_a_tracker_that_takes_nothing_with_others_is_not_asked(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path
) -> None:
    tracker.door = False
    a_file(tmp_path, "0.png")

    delivering(*whole("a"), FileKept("a", "0.png"), PictureKept("a", 2, "0.png", "x", 0), kept(tmp_path, "a"))

    assert sorted(tracker.verbs()) == ["begin", "end", "keep", "keep_checkpoint", "keep_picture", "log"]
    assert is_whole(tracker.of("a"))


def test_no_threads_are_made_where_nothing_is_left_for_them(
    delivering: Delivering, tracker: Wholesale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> Any:
        raise AssertionError("threads were made")

    for module in (carrying_runs, carrying_beside):
        monkeypatch.setattr(module, "ThreadPoolExecutor", none)
    a_file(tmp_path, "0.png")

    delivering(*whole("a"), FileKept("a", "0.png"), PictureKept("a", 2, "0.png", "x", 0), kept(tmp_path, "a"))

    assert tracker.asked == [("runs", 1), ("files", 1), ("files", 1), ("checkpoints", 1)]
