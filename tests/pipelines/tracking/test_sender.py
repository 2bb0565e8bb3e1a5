"""The sender between a real journal and trackers that misbehave: nothing may be lost, and nothing doubled."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking.base import Refused, Unavailable
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
from pipelines.tracking.sender import Sender, delivery_file, read_delivery

SERVER = "http://tracking.example:5000"
DEADLINE_S = 60.0


class StrictTracker(MemoryTracker):
    """Like MLflow, it looks for a run only when it is told that there may be one. `calls` is what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        self.calls.append(("begin", entry.uid))
        if suspect:
            return super().begin(entry, experiment_id, parent_run_id, suspect=True)
        with self._lock:
            run_id = f"run-{self._made}"
            self._made += 1
            self.runs[run_id] = MemoryRun(entry.uid, entry.name, experiment_id, parent_run_id, tags=dict(entry.tags))
            return run_id

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        self.calls.append(("log", len(entries)))
        super().log(run_id, entries)


class Moody(StrictTracker):
    """Does what it was asked and then, `failures` times, says that it could not be reached."""

    def __init__(self, failures: int, *, at: str = "log") -> None:
        super().__init__()
        self.failures = failures
        self.at = at
        self.asked = threading.Event()

    def _fail(self, verb: str) -> None:
        if verb == self.at and self.failures > 0:
            self.failures -= 1
            self.asked.set()
            raise Unavailable("the connection broke before the answer came")

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        run_id = super().begin(entry, experiment_id, parent_run_id, suspect=suspect)
        self._fail("begin")
        return run_id

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        super().log(run_id, entries)
        self._fail("log")

    def keep(self, run_id: str, path: Path, folder: str) -> None:
        super().keep(run_id, path, folder)
        self._fail("keep")

    def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
        super().keep_picture(run_id, path, entry)
        self._fail("keep_picture")

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        super().end(run_id, status, time_ms)
        self._fail("end")

    def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
        super().keep_checkpoint(run_id, path, entry, suspect=suspect)
        self._fail("keep_checkpoint")

    def drop_checkpoint(self, run_id: str, entry: CheckpointDropped) -> None:
        super().drop_checkpoint(run_id, entry)
        self._fail("drop_checkpoint")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.jsonl")
    yield opened
    opened.close()


Sending = Callable[..., Sender]


@pytest.fixture
def sending(journal: Journal) -> Iterator[Sending]:
    """Starts senders on the journal and closes them after the test."""
    started: list[Sender] = []

    def start(tracker: MemoryTracker, server: str = SERVER) -> Sender:
        sender = Sender(journal.path, tracker, server)
        sender.start()
        started.append(sender)
        return sender

    yield start
    for sender in started:
        sender.close()


def begun(uid: str, parent: str | None = None) -> RunBegun:
    return RunBegun(uid, "study", uid, 1, parent, {"regatta.uid": uid})


def write(journal: Journal, *entries: Entry) -> None:
    for entry in entries:
        journal.append(entry)


def write_trials(journal: Journal, trials: int, epochs: int = 5) -> None:
    """A parent and its trials, whose epochs come in turn."""
    write(journal, begun("parent"), *(begun(f"trial-{number}", "parent") for number in range(trials)))
    for epoch in range(epochs):
        for number in range(trials):
            write(journal, Logged(f"trial-{number}", 100 + epoch, epoch, {"loss": number + 1 / (epoch + 1)}))
            write_picture(journal, f"trial-{number}", epoch)
    for number in range(trials):
        path = journal.path.parent / f"notes-{number}.txt"
        path.write_bytes(b"notes %d" % number)
        write(journal, FileKept(f"trial-{number}", path.name, "notes"))
        write_checkpoint(journal, number)
        write(journal, RunEnded(f"trial-{number}", 200, "FINISHED"))
    write(journal, RunEnded("parent", 300, "FINISHED"))


def write_checkpoint(journal: Journal, number: int) -> Path:
    path = journal.path.parent / f"best-{number}.keras"
    path.write_bytes(b"weights %d" % number)
    metrics = {"loss": number + 1 / 3}
    write(journal, CheckpointKept(f"trial-{number}", 102, path.name, f"trial {number}", 2, f"sha {number}", metrics))
    return path


def write_picture(journal: Journal, uid: str, epoch: int) -> None:
    path = journal.path.parent / f"{uid}-{epoch}.png"
    path.write_bytes(f"{uid} at {epoch}".encode())
    write(journal, PictureKept(uid, 100 + epoch, path.name, "surface", epoch))


def assert_all_is_there_once(tracker: MemoryTracker, trials: int, epochs: int = 5) -> None:
    runs = {run.uid: run for run in tracker.runs.values()}
    assert sorted(run.uid for run in tracker.runs.values()) == ["parent", *(f"trial-{n}" for n in range(trials))]
    parent_id = next(run_id for run_id, run in tracker.runs.items() if run.uid == "parent")
    for number in range(trials):
        run = runs[f"trial-{number}"]
        assert run.curve("loss") == [(epoch, number + 1 / (epoch + 1)) for epoch in range(epochs)]
        assert run.parent_run_id == parent_id
        assert run.status == "FINISHED"
        assert run.files == {f"notes/notes-{number}.txt": b"notes %d" % number}
        assert run.pictures == {
            ("surface", epoch, 100 + epoch): f"trial-{number} at {epoch}".encode() for epoch in range(epochs)
        }

    models = {model.entry.uid: (model.status, model.file) for model in tracker.models.values()}
    assert len(models) == len(tracker.models) == trials
    assert models == {
        f"trial-{number}": ("READY", (f"best-{number}.keras", b"weights %d" % number)) for number in range(trials)
    }


def deliver_all(sender: Sender) -> None:
    while sender.deliver():
        pass


def test_everything_arrives(journal: Journal, sending: Sending) -> None:
    tracker = MemoryTracker()
    sender = sending(tracker)
    write_trials(journal, 4)

    assert sender.flush(journal.written, DEADLINE_S)

    assert_all_is_there_once(tracker, 4)
    assert sender.delivered == journal.written
    assert sender.problem is None
    assert sender.refused == ()
    assert sender.run_id("trial-2") in tracker.runs
    assert sender.experiment_id("study") == tracker.experiment("study")


def test_what_is_written_later_arrives_without_being_asked_for(tmp_path: Path) -> None:
    tracker = MemoryTracker()
    sender = Sender(tmp_path / "journal.jsonl", tracker, SERVER)
    journal = Journal(tmp_path / "journal.jsonl", on_append=sender.wake)
    sender.start()

    for epoch in range(3):
        write(journal, begun("run"), Logged("run", epoch, epoch, {"loss": 1.0}))
        assert sender.flush(journal.written, DEADLINE_S)
    sender.close()
    journal.close()

    assert [step for step, _ in tracker.runs["run-0"].curve("loss")] == [0, 1, 2]


def test_the_entries_of_a_run_are_delivered_in_their_order(journal: Journal) -> None:
    class Ordered(MemoryTracker):
        order: list[str]

        def begin(self, *arguments: Any, **more: Any) -> str:
            self.order.append("begin")
            return super().begin(*arguments, **more)

        def log(self, run_id: str, entries: Sequence[Logged]) -> None:
            self.order += [f"log {entry.step}" for entry in entries]
            super().log(run_id, entries)

        def end(self, run_id: str, status: str, time_ms: int) -> None:
            self.order.append(status)
            super().end(run_id, status, time_ms)

    tracker = Ordered()
    tracker.order = []
    write(journal, begun("r"), Logged("r", 1, 0, {"a": 1}), Logged("r", 2, 1, {"a": 1}), RunEnded("r", 3, "KILLED"))
    write(journal, begun("r"), Logged("r", 4, 2, {"a": 1}), RunEnded("r", 5, "FINISHED"))

    Sender(journal.path, tracker, SERVER).deliver()

    assert tracker.order == ["begin", "log 0", "log 1", "KILLED", "begin", "log 2", "FINISHED"]
    assert [run.status for run in tracker.runs.values()] == ["FINISHED"]


def test_metrics_between_pictures_go_in_one_request_before_any_picture(journal: Journal) -> None:
    class Watched(StrictTracker):
        def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
            self.calls.append(("picture", entry.step))
            super().keep_picture(run_id, path, entry)

    tracker = Watched()
    write(journal, begun("run"))
    for epoch in range(20):
        write(journal, Logged("run", epoch, epoch, {"loss": 1.0}))
        write_picture(journal, "run", epoch)

    deliver_all(Sender(journal.path, tracker, SERVER))

    assert tracker.calls[:2] == [("begin", "run"), ("log", 20)]
    assert sorted(step for _, step in tracker.calls[2:]) == list(range(20))


def test_metrics_do_not_wait_for_a_backlog_of_pictures(journal: Journal) -> None:
    class Mixed(MemoryTracker):
        order: list[str]

        def log(self, run_id: str, entries: Sequence[Logged]) -> None:
            self.order.append("log")
            super().log(run_id, entries)

        def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
            self.order.append("picture")
            super().keep_picture(run_id, path, entry)

    tracker = Mixed()
    tracker.order = []
    write(journal, begun("run"))
    for epoch in range(500):
        write_picture(journal, "run", epoch)
    sender = Sender(journal.path, tracker, SERVER)
    sender.deliver()
    sender.deliver()
    write(journal, Logged("run", 1, 0, {"loss": 1.0}))

    deliver_all(sender)

    assert tracker.order.index("log") == 16  # one batch
    assert len(tracker.runs["run-0"].pictures) == 500
    assert sender.delivered == journal.written


def test_several_pictures_are_under_way_at_once_but_never_many(journal: Journal) -> None:
    class Counting(MemoryTracker):
        def __init__(self) -> None:
            super().__init__()
            self.now = self.most = 0
            self.four = threading.Barrier(4)

        def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.four.wait(DEADLINE_S)
            super().keep_picture(run_id, path, entry)
            with self._lock:
                self.now -= 1

    tracker = Counting()
    write(journal, begun("run"))
    for epoch in range(32):
        write_picture(journal, "run", epoch)

    deliver_all(Sender(journal.path, tracker, SERVER))

    assert tracker.most == 4
    assert len(tracker.runs["run-0"].pictures) == 32


def test_a_store_that_takes_no_files_holds_up_pictures_and_no_metrics(journal: Journal, sending: Sending) -> None:
    tracker = Moody(1_000_000, at="keep_picture")
    sender = sending(tracker)
    write(journal, begun("run"))
    write_picture(journal, "run", 0)
    assert tracker.asked.wait(DEADLINE_S)
    write(journal, Logged("run", 1, 0, {"loss": 1.0}), RunEnded("run", 2, "FINISHED"))

    assert sender.flush(journal.written - 1, DEADLINE_S)
    assert not sender.flush(journal.written, 0.05)
    assert tracker.runs["run-0"].status == "FINISHED"
    tracker.failures = 0
    assert sender.flush(journal.written, DEADLINE_S)

    assert sender.problem is None
    assert sender.delivered == journal.written == 4


def test_progress_that_was_noted_before_there_were_pictures_is_gone_on_with(journal: Journal) -> None:
    tracker = StrictTracker()
    write(journal, begun("run"), Logged("run", 1, 0, {"loss": 1.0}))
    deliver_all(Sender(journal.path, tracker, SERVER))
    file = delivery_file(journal.path, SERVER)
    noted = json.loads(file.read_text(encoding="utf-8"))
    del noted["pictures_offset"]
    file.write_text(json.dumps(noted), encoding="utf-8")
    write_picture(journal, "run", 1)

    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    assert tracker.calls == [("begin", "run"), ("log", 1)]
    assert len(tracker.runs["run-0"].pictures) == 1
    assert sender.delivered == journal.written == 3


def test_a_run_that_is_begun_again_in_a_later_slice_is_the_same_run(journal: Journal) -> None:
    tracker = StrictTracker()
    sender = Sender(journal.path, tracker, SERVER)
    for epoch in range(3):
        write(journal, begun("r"), Logged("r", epoch, epoch, {"a": 1}), RunEnded("r", 3, "KILLED"))
        sender.deliver()

    assert len(tracker.runs) == 1
    assert len(tracker.runs["run-0"].curve("a")) == 3


def test_many_small_entries_make_few_requests(journal: Journal) -> None:
    tracker = StrictTracker()
    write(journal, begun("run"), *(Logged("run", step, step, {"loss": 1.0}) for step in range(500)))

    deliver_all(Sender(journal.path, tracker, SERVER))

    assert tracker.calls == [("begin", "run"), ("log", 500)]


class Told(StrictTracker):
    """Keeps what it was told of a run; `refuses` is a param that it will not take."""

    def __init__(self, refuses: str = "") -> None:
        super().__init__()
        self.refuses = refuses
        self.told: list[tuple[str, Any]] = []

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        self.told.append(("begin", (dict(entry.tags), dict(entry.params))))
        return super().begin(entry, experiment_id, parent_run_id, suspect=suspect)

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        self.told.append(("log", [(dict(entry.params), dict(entry.metrics), dict(entry.tags)) for entry in entries]))
        if any(self.refuses in entry.params for entry in entries):
            raise Refused("a param does not change")
        super().log(run_id, entries)


def a_whole_run(journal: Journal, tag: str = "COMPLETE") -> None:
    path = journal.path.parent / "notes.txt"
    path.write_bytes(b"notes")
    write(
        journal,
        RunBegun("run", "study", "run", 1, None, {"state": "RUNNING", "seed": "7"}, {"epochs": "2"}),
        Logged("run", 2, 0, {"loss": 1.0}),
        FileKept("run", path.name, "notes"),
        Logged("run", 3, 1, {"loss": 0.5}),
        Logged("run", 4, tags={"state": tag}),
        RunEnded("run", 5, "FINISHED"),
    )


def test_a_run_that_is_over_when_it_is_sent_is_made_with_all_its_tags_and_logged_in_one_go(journal: Journal) -> None:
    tracker = Told()
    a_whole_run(journal)

    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    logged: list[Any] = [({"epochs": "2"}, {}, {}), ({}, {"loss": 1.0}, {}), ({}, {"loss": 0.5}, {})]
    assert tracker.told == [("begin", ({"state": "COMPLETE", "seed": "7"}, {})), ("log", logged)]
    (run,) = tracker.runs.values()
    assert (run.params, run.status) == ({"epochs": "2"}, "FINISHED")
    assert run.files == {"notes/notes.txt": b"notes"}
    assert sender.delivered == journal.written


def test_a_long_tag_is_logged_as_mlflow_cuts_it_only_there(journal: Journal) -> None:
    tracker = Told()
    a_whole_run(journal, tag="long " * 1000)

    deliver_all(Sender(journal.path, tracker, SERVER))

    assert tracker.told[0] == ("begin", ({"state": "RUNNING", "seed": "7"}, {}))
    assert tracker.told[1][1][-1] == ({}, {}, {"state": "long " * 1000})


def test_params_that_are_refused_cost_no_metrics(journal: Journal) -> None:
    tracker = Told(refuses="epochs")
    a_whole_run(journal)

    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    (run,) = tracker.runs.values()
    assert run.curve("loss") == [(0, 1.0), (1, 0.5)]
    assert run.status == "FINISHED"
    assert sender.refused == ("run: a param does not change",)
    assert sender.delivered == journal.written - 1


def test_a_server_that_was_not_there_at_first_need_not_be_searched_for_runs(journal: Journal) -> None:
    class Starting(StrictTracker):
        answers = False
        suspects: list[bool]

        def experiment(self, name: str) -> str:
            if not self.answers:
                raise Unavailable("connection refused")
            return super().experiment(name)

        def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
            self.suspects.append(suspect)
            return super().begin(entry, experiment_id, parent_run_id, suspect=suspect)

    tracker = Starting()
    tracker.suspects = []
    sender = Sender(journal.path, tracker, SERVER)
    write_trials(journal, 2)  # after it: what was there before it may have been sent by another
    for _ in range(3):
        with pytest.raises(Unavailable):
            sender.deliver()
    tracker.answers = True

    deliver_all(sender)

    assert tracker.suspects == [False] * 3
    assert_all_is_there_once(tracker, 2)


def test_a_journal_longer_than_a_slice_arrives_whole(journal: Journal) -> None:
    tracker = StrictTracker()
    write(journal, begun("run"), *(Logged("run", step, step, {"loss": 1.0}) for step in range(4500)))
    sender = Sender(journal.path, tracker, SERVER)

    slices = 0
    while sender.deliver():
        slices += 1

    assert slices == 3
    assert len(tracker.runs["run-0"].curve("loss")) == 4500
    assert sender.delivered == journal.written


def test_parents_are_made_before_the_children_that_name_them(journal: Journal) -> None:
    tracker = StrictTracker()
    write(journal, *(begun(f"child-{number}", "parent") for number in range(8)), begun("parent"))

    Sender(journal.path, tracker, SERVER).deliver()

    assert tracker.calls[0] == ("begin", "parent")
    assert {run.parent_run_id for run in tracker.runs.values() if run.uid != "parent"} == {"run-0"}


@pytest.mark.parametrize("verb", ["begin", "log", "keep", "keep_picture", "keep_checkpoint", "end"])
def test_a_tracker_that_is_gone_for_a_while_misses_nothing_and_gets_nothing_twice(
    journal: Journal, sending: Sending, verb: str
) -> None:
    tracker = Moody(2, at=verb)
    sender = sending(tracker)
    write_trials(journal, 3)

    assert sender.flush(journal.written, DEADLINE_S)

    assert tracker.failures == 0
    assert_all_is_there_once(tracker, 3)
    assert sender.delivered == journal.written
    assert sender.problem is None


def test_a_tracker_that_is_late_is_given_time_to_end_what_it_was_asked(journal: Journal) -> None:
    """Its database stood still: what was asked goes on when it moves again, beside whatever is asked then."""

    class Late(StrictTracker):
        """Makes a run only some time after nobody waited for its answer any more."""

        def __init__(self) -> None:
            super().__init__()
            self.answers = False
            self.unfinished: list[tuple[RunBegun, str, str | None]] = []

        def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
            if not self.answers:
                self.unfinished.append((entry, experiment_id, parent_run_id))
                raise Unavailable("Read timed out", late=True)
            return super().begin(entry, experiment_id, parent_run_id, suspect=suspect)

        def settle(self, seconds: float) -> None:
            """What happens while the courier waits."""
            assert seconds >= 1
            for entry, experiment_id, parent in self.unfinished:
                super().begin(entry, experiment_id, parent, suspect=False)
            self.unfinished.clear()

    tracker = Late()
    write_trials(journal, 3)
    courier = Courier(journal.path, tracker, Delivery(), None, sleep=tracker.settle)
    with pytest.raises(Unavailable):
        courier.deliver()
    tracker.answers = True
    while courier.deliver():
        pass

    assert_all_is_there_once(tracker, 3)


def test_while_a_tracker_is_gone_the_sender_says_why(journal: Journal, sending: Sending) -> None:
    tracker = Moody(1_000_000, at="begin")
    sender = sending(tracker)
    write_trials(journal, 1)

    assert not sender.flush(journal.written, 0.05)
    assert tracker.asked.wait(DEADLINE_S)
    assert not sender.flush(journal.written, 0.05)

    assert sender.problem == "the connection broke before the answer came"
    assert sender.delivered == 0
    assert sender.never_reached(0.0)
    assert not sender.never_reached(3600.0)


def test_a_tracker_is_starting_until_it_answers_or_should_have_answered(journal: Journal) -> None:
    tracker, on_its_way = Moody(1_000_000, at="begin"), [True]
    sender = Sender(journal.path, tracker, SERVER, on_its_way=lambda: on_its_way[0])
    seen = [sender.starting]  # it was not asked yet
    sender.start()
    write_trials(journal, 1)
    sender.wake()
    try:
        assert tracker.asked.wait(DEADLINE_S)
        assert not sender.flush(journal.written, 0.05)
        seen.append(sender.starting)
        on_its_way[0] = False
        seen.append(sender.starting)
        assert sender.problem

        on_its_way[0], tracker.failures = True, 0
        assert sender.flush(journal.written, DEADLINE_S)
        seen.append(sender.starting)
    finally:
        sender.close()
    assert seen == [False, True, False, False]


def test_a_tracker_that_says_itself_what_it_lacks_was_reached(journal: Journal, sending: Sending) -> None:
    class WithoutDisk(StrictTracker):
        asked = threading.Event()

        def keep(self, run_id: str, path: Path, folder: str) -> None:
            self.asked.set()
            raise Unavailable("no space left on the server", there=True)

    tracker = WithoutDisk()
    sender = sending(tracker)
    write(journal, begun("run"), FileKept("run", "notes.txt"))

    assert tracker.asked.wait(DEADLINE_S)
    assert not sender.flush(journal.written, 0.05)

    assert sender.problem == "no space left on the server"
    assert not sender.never_reached(0.0)


@pytest.mark.parametrize("verb", ["begin", "log", "keep", "keep_picture", "keep_checkpoint", "end"])
def test_a_crash_between_the_delivery_and_its_note_makes_no_second_run_and_no_second_point(
    journal: Journal, verb: str
) -> None:
    tracker = Moody(1, at=verb)
    write_trials(journal, 3)
    with pytest.raises(Unavailable):
        deliver_all(Sender(journal.path, tracker, SERVER))  # this sender is never asked again: it died

    after = Sender(journal.path, tracker, SERVER)
    deliver_all(after)

    assert_all_is_there_once(tracker, 3)
    assert after.delivered == journal.written


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"offset": 12', b"[]", b'{"offset": 1, "colour": "red"}', b"\x00" * 40, b"null"]
)
def test_a_progress_file_that_is_torn_starts_over_without_doubling(journal: Journal, content: bytes) -> None:
    tracker = StrictTracker()
    write_trials(journal, 3)
    deliver_all(Sender(journal.path, tracker, SERVER))

    delivery_file(journal.path, SERVER).write_bytes(content)
    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    assert_all_is_there_once(tracker, 3)
    assert sender.delivered == journal.written


def test_a_progress_file_that_is_gone_starts_over_without_doubling(journal: Journal) -> None:
    tracker = StrictTracker()
    write_trials(journal, 3)
    deliver_all(Sender(journal.path, tracker, SERVER))

    delivery_file(journal.path, SERVER).unlink()
    deliver_all(Sender(journal.path, tracker, SERVER))

    assert_all_is_there_once(tracker, 3)


def test_a_progress_file_that_a_power_cut_took_back_a_step_doubles_nothing(journal: Journal) -> None:
    tracker = StrictTracker()
    sender = Sender(journal.path, tracker, SERVER)
    write(journal, begun("parent"))
    sender.deliver()
    older = delivery_file(journal.path, SERVER).read_bytes()
    write(journal, begun("trial-0", "parent"))
    sender.deliver()

    delivery_file(journal.path, SERVER).write_bytes(older)
    deliver_all(Sender(journal.path, tracker, SERVER))

    assert [run.uid for run in tracker.runs.values()] == ["parent", "trial-0"]


def test_a_journal_whose_end_a_power_cut_took_back_is_delivered_on(journal: Journal) -> None:
    tracker = StrictTracker()
    write(journal, begun("run"), Logged("run", 1, 0, {"loss": 1.0}))
    kept = journal.path.stat().st_size
    write(journal, Logged("run", 2, 1, {"loss": 0.5}), Logged("run", 3, 2, {"loss": 0.25}))
    deliver_all(Sender(journal.path, tracker, SERVER))
    journal.close()
    with journal.path.open("rb+") as handle:
        handle.truncate(kept + 10)

    sender = Sender(journal.path, tracker, SERVER)
    journal = Journal(journal.path)
    long = {"note": "longer than what was lost " * 20}
    write(journal, Logged("run", 2, 1, {"loss": 0.5}, long), RunEnded("run", 4, "FINISHED"))
    deliver_all(sender)
    journal.close()

    assert sender.delivered == journal.written == 4
    assert [run.status for run in tracker.runs.values()] == ["FINISHED"]
    assert tracker.runs["run-0"].curve("loss")[:2] == [(0, 1.0), (1, 0.5)]


def test_a_second_sender_goes_on_where_the_first_stopped(journal: Journal) -> None:
    tracker = StrictTracker()
    write(journal, begun("run"), Logged("run", 1, 0, {"loss": 1.0}))
    deliver_all(Sender(journal.path, tracker, SERVER))
    write(journal, Logged("run", 2, 1, {"loss": 0.5}))

    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    assert tracker.calls == [("begin", "run"), ("log", 1), ("log", 1)]
    assert sender.delivered == 3
    assert sender.run_id("run") == "run-0"


def test_two_servers_have_a_progress_of_their_own(journal: Journal) -> None:
    first, second = MemoryTracker(), MemoryTracker()
    write_trials(journal, 2)

    deliver_all(Sender(journal.path, first, SERVER))
    assert read_delivery(journal.path, "http://other.example").processed == 0
    deliver_all(Sender(journal.path, second, "http://other.example"))

    assert_all_is_there_once(first, 2)
    assert_all_is_there_once(second, 2)
    assert read_delivery(journal.path, SERVER).delivered == journal.written


def test_what_the_tracker_refuses_is_counted_and_said_and_holds_nothing_up(journal: Journal, sending: Sending) -> None:
    tracker = MemoryTracker()
    sender = sending(tracker)
    write(journal, begun("run"), FileKept("run", "gone.keras"), Logged("run", 1, 0, {"loss": 1.0}))
    write(journal, Logged("stranger", 1, 0, {"loss": 1.0}), Logged("stranger", 2, 1, {"loss": 1.0}))
    write(journal, PictureKept("run", 1, "gone.png", "surface", 0), RunEnded("run", 2, "FINISHED"))
    write_picture(journal, "stranger", 0)

    assert sender.flush(journal.written, DEADLINE_S)

    assert journal.written == 8
    assert sender.delivered == 3
    assert len(sender.refused) == 3
    assert any("gone.png is gone" in reason for reason in sender.refused)
    assert any("gone.keras is gone" in reason for reason in sender.refused)
    assert any("stranger: its run was never begun" in reason for reason in sender.refused)
    assert tracker.runs["run-0"].status == "FINISHED"
    assert tracker.runs["run-0"].curve("loss") == [(0, 1.0)]


def test_refusals_of_a_slice_that_is_sent_again_are_counted_once(journal: Journal) -> None:
    tracker = Moody(1, at="end")
    write(journal, begun("run"), FileKept("run", "gone.keras"), RunEnded("run", 2, "FINISHED"))
    sender = Sender(journal.path, tracker, SERVER)

    with pytest.raises(Unavailable):
        sender.deliver()
    deliver_all(sender)

    assert sender.delivered == 2
    assert sender.refused == (f"run: {journal.path.parent / 'gone.keras'} is gone",)


def test_refusals_are_remembered_by_the_next_sender(journal: Journal) -> None:
    write(journal, begun("run"), FileKept("run", "gone.keras"))
    deliver_all(Sender(journal.path, MemoryTracker(), SERVER))

    sender = Sender(journal.path, MemoryTracker(), SERVER)

    assert sender.delivered == 1
    assert len(sender.refused) == 1


def test_children_of_a_run_that_was_refused_are_refused_too(journal: Journal) -> None:
    class NoExperiments(MemoryTracker):
        def experiment(self, name: str) -> str:
            raise Refused(f"the experiment '{name}' was deleted")

    write_trials(journal, 2)
    sender = Sender(journal.path, NoExperiments(), SERVER)
    deliver_all(sender)

    assert sender.delivered == 0
    assert any("the experiment 'study' was deleted" in reason for reason in sender.refused)


def test_flush_says_no_when_the_time_is_over(journal: Journal, sending: Sending) -> None:
    class Slow(MemoryTracker):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = threading.Event()

        def experiment(self, name: str) -> str:
            assert self.go_on.wait(DEADLINE_S)
            return super().experiment(name)

    tracker = Slow()
    sender = sending(tracker)
    write(journal, begun("run"))

    assert not sender.flush(journal.written, 0.05)
    tracker.go_on.set()
    assert sender.flush(journal.written, DEADLINE_S)


def test_a_sender_whose_server_is_gone_stops_as_soon_as_it_is_told(journal: Journal) -> None:
    class Deaf(MemoryTracker):
        """Cannot be reached; the seventh time, somebody gives up in the middle of the attempt."""

        calls = 0
        called = threading.Event()

        def experiment(self, name: str) -> str:
            self.calls += 1
            if self.calls == 7:  # by now the sender waits for seconds between two attempts
                closer.start()
                assert told.wait(DEADLINE_S)
            self.called.set()
            raise Unavailable("connection refused")

    class Telling(Sender):
        def wake(self) -> None:
            super().wake()
            if self._closing:
                told.set()

    told, tracker = threading.Event(), Deaf()
    write(journal, begun("run"))
    sender = Telling(journal.path, tracker, SERVER)
    closer = threading.Thread(target=sender.close)
    sender.start()
    while tracker.calls < 7:
        sender.flush(1, 0.0)  # asks for an attempt at once
        tracker.called.wait(0.01)  # it may be asked for in the middle of an attempt, and counts for nothing then
        tracker.called.clear()
    closer.join(2.5)

    assert not closer.is_alive()


def test_a_disk_that_is_full_under_the_progress_file_holds_delivery_up_and_loses_nothing(
    journal: Journal, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = StrictTracker()
    full, refused_once = [True], threading.Event()
    really = Path.write_text

    def write_text(path: Path, *arguments: Any, **more: Any) -> int:
        if full[0] and path.suffix == ".writing":
            refused_once.set()
            raise OSError(28, "No space left on device")
        return really(path, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", write_text)
    sender = sending(tracker)
    write_trials(journal, 2)
    assert refused_once.wait(DEADLINE_S)
    assert not sender.flush(journal.written, 0.05)
    assert "No space left" in (sender.problem or "")

    full[0] = False
    assert sender.flush(journal.written, DEADLINE_S)

    assert_all_is_there_once(tracker, 2)


# checkpoints


def dropped(number: int, reason: str = "not among the 3 best") -> CheckpointDropped:
    return CheckpointDropped(f"trial-{number}", 400, f"sha {number}", reason)


def test_a_checkpoint_that_is_dropped_before_it_was_delivered_is_never_uploaded_and_no_error(journal: Journal) -> None:
    tracker = MemoryTracker()
    write(journal, begun("trial-0"))
    path = write_checkpoint(journal, 0)
    write(journal, dropped(0))
    path.unlink()

    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    assert tracker.models == {}
    assert tracker.runs["run-0"].tags["regatta.checkpoint"] == "dropped: not among the 3 best"
    assert sender.refused == ()
    assert sender.delivered == journal.written == 3


@pytest.mark.parametrize(("failures", "looked_for"), [(0, []), (1, ["sha 0"])])
def test_only_a_checkpoint_that_may_have_come_is_looked_for_when_it_is_dropped(
    journal: Journal, failures: int, looked_for: list[str]
) -> None:
    class Asked(Moody):
        dropped: list[str]

        def drop_checkpoint(self, run_id: str, entry: CheckpointDropped) -> None:
            self.dropped.append(entry.sha256)
            super().drop_checkpoint(run_id, entry)

    tracker = Asked(failures, at="keep_checkpoint")
    tracker.dropped = []
    sender = Sender(journal.path, tracker, SERVER)
    write(journal, begun("trial-0"))
    path = write_checkpoint(journal, 0)
    for _ in range(failures):
        with pytest.raises(Unavailable):
            deliver_all(sender)
    write(journal, dropped(0))
    path.unlink()

    deliver_all(sender)

    assert tracker.dropped == looked_for
    assert tracker.models == {}
    assert tracker.runs["run-0"].tags["regatta.checkpoint"] == "dropped: not among the 3 best"
    assert sender.delivered == journal.written


def test_a_checkpoint_that_is_dropped_while_the_server_is_gone_is_no_error_either(journal: Journal) -> None:
    tracker = Moody(1, at="keep_checkpoint")
    write(journal, begun("trial-0"))
    path = write_checkpoint(journal, 0)
    sender = Sender(journal.path, tracker, SERVER)
    with pytest.raises(Unavailable):
        deliver_all(sender)
    write(journal, dropped(0))
    path.unlink()

    deliver_all(sender)

    assert tracker.models == {}
    assert sender.refused == ()
    assert sender.delivered == journal.written


def test_a_checkpoint_whose_file_was_lost_and_not_dropped_is_told(journal: Journal) -> None:
    write(journal, begun("trial-0"), begun("trial-1"))
    write_checkpoint(journal, 0).unlink()
    write_checkpoint(journal, 1)
    write(journal, dropped(1))

    sender = Sender(journal.path, MemoryTracker(), SERVER)
    deliver_all(sender)

    assert sender.refused == (f"trial-0: {journal.path.parent / 'best-0.keras'} is gone",)


@pytest.mark.parametrize("verb", ["keep_checkpoint", "drop_checkpoint"])
def test_dropping_survives_a_crash_between_the_delivery_and_its_note(journal: Journal, verb: str) -> None:
    tracker = Moody(1, at=verb)
    write(journal, begun("trial-0"), begun("trial-1"))
    for number in (0, 1):
        write_checkpoint(journal, number)
    write(journal, dropped(0))
    with pytest.raises(Unavailable):
        deliver_all(Sender(journal.path, tracker, SERVER))

    after = Sender(journal.path, tracker, SERVER)
    deliver_all(after)

    assert [model.entry.uid for model in tracker.models.values()] == ["trial-1"]
    assert after.delivered == journal.written


def test_metrics_do_not_wait_for_a_backlog_of_checkpoints(journal: Journal) -> None:
    class Mixed(MemoryTracker):
        order: list[str]

        def log(self, run_id: str, entries: Sequence[Logged]) -> None:
            self.order.append("log")
            super().log(run_id, entries)

        def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
            self.order.append("checkpoint")
            super().keep_checkpoint(run_id, path, entry, suspect=suspect)

    tracker = Mixed()
    tracker.order = []
    write(journal, *(begun(f"trial-{number}") for number in range(30)))
    for number in range(30):
        write_checkpoint(journal, number)
    sender = Sender(journal.path, tracker, SERVER)
    sender.deliver()
    sender.deliver()
    write(journal, Logged("trial-0", 1, 0, {"loss": 1.0}))

    deliver_all(sender)

    assert tracker.order.index("log") == 4  # one batch
    assert len(tracker.models) == 30


def test_a_checkpoint_is_held_back_while_it_is_new_and_metrics_are_not(journal: Journal) -> None:
    tracker = MemoryTracker()
    write(journal, begun("trial-0"), begun("trial-1"))
    write_checkpoint(journal, 0)
    path = journal.path.parent / "new.keras"
    path.write_bytes(b"new")
    now = time.time_ns() // 1_000_000
    write(journal, CheckpointKept("trial-1", now, path.name, "trial 1", 2, "sha new"))
    write_picture(journal, "trial-1", 0)
    write(journal, Logged("trial-1", now, 0, {"loss": 1.0}))
    courier = Sender(journal.path, tracker, SERVER).courier

    while courier.deliver(hold_s=600):
        pass
    assert [model.entry.uid for model in tracker.models.values()] == ["trial-0"]
    assert tracker.runs["run-1"].curve("loss") == [(0, 1.0)]
    assert tracker.runs["run-1"].pictures == {}

    while courier.deliver():
        pass
    assert [model.entry.uid for model in tracker.models.values()] == ["trial-0", "trial-1"]
    assert len(tracker.runs["run-1"].pictures) == 1
    assert courier.state.delivered == journal.written


def test_a_clock_that_was_set_back_holds_no_checkpoint_up(journal: Journal) -> None:
    tracker = MemoryTracker()
    write(journal, begun("trial-0"))
    path = journal.path.parent / "before.keras"
    path.write_bytes(b"before")
    later = time.time_ns() // 1_000_000 + 3_600_000
    write(journal, CheckpointKept("trial-0", later, path.name, "trial 0", 2, "sha before"))
    courier = Sender(journal.path, tracker, SERVER).courier

    while courier.deliver(hold_s=600):
        pass
    assert [model.entry.sha256 for model in tracker.models.values()] == ["sha before"]


def test_somebody_who_asks_for_all_of_it_gets_new_checkpoints_too(journal: Journal, sending: Sending) -> None:
    tracker = MemoryTracker()
    sender = sending(tracker)
    path = journal.path.parent / "new.keras"
    path.write_bytes(b"new")
    now = time.time_ns() // 1_000_000
    write(journal, begun("trial-0"), CheckpointKept("trial-0", now, path.name, "trial 0", 2, "sha new"))

    assert sender.flush(journal.written, DEADLINE_S)

    assert [model.status for model in tracker.models.values()] == ["READY"]


def test_a_first_delivery_need_not_look_for_half_delivered_checkpoints_and_a_second_must(journal: Journal) -> None:
    class Asked(Moody):
        suspects: list[bool]

        def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
            self.suspects.append(suspect)
            super().keep_checkpoint(run_id, path, entry, suspect=suspect)

    tracker = Asked(1, at="keep_checkpoint")
    tracker.suspects = []
    sender = Sender(journal.path, tracker, SERVER)
    write(journal, begun("trial-0"))
    write_checkpoint(journal, 0)
    with pytest.raises(Unavailable):
        deliver_all(sender)
    deliver_all(sender)

    assert tracker.suspects == [False, True]


# bad servers


def test_a_server_that_is_gone_is_asked_less_and_less_often_however_much_is_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    class Patient(Sender):
        def _rest(self, pause_s: float, asked_for_s: float) -> None:
            pauses.append(pause_s)
            self._closing = len(pauses) == 8

    sender = Patient(journal.path, Moody(1_000_000, at="begin"), SERVER)
    write(journal, begun("run"))
    sender.start()
    sender._thread.join(DEADLINE_S)

    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_news_does_not_cut_a_pause_short_and_a_call_for_all_of_it_does(journal: Journal, sending: Sending) -> None:
    tracker = Moody(1_000_000, at="begin")
    sender = sending(tracker)
    write(journal, begun("run"))
    while len(tracker.calls) < 6:  # by now it pauses for seconds
        sender.flush(1, 0.0)
        tracker.asked.wait(0.01)
        tracker.asked.clear()
    sender.flush(1, 0.0)
    tracker.asked.wait(0.3)
    tracker.asked.clear()
    for _ in range(100):
        sender.wake()

    assert not tracker.asked.wait(0.3)
    assert not sender.flush(journal.written, 0.3)
    assert tracker.asked.is_set()


@pytest.mark.parametrize(("asked_for_s", "given_s"), [(7.0, 7.0), (86_400.0, 60.0)])
def test_a_server_that_asks_for_a_pause_gets_it_within_reason(
    journal: Journal, asked_for_s: float, given_s: float
) -> None:
    class Busy(MemoryTracker):
        def experiment(self, name: str) -> str:
            raise Unavailable("too many requests", asked_for_s)

    class Patient(Sender):
        given: list[float]

        def _rest(self, pause_s: float, asked_for_s: float) -> None:
            self.given.append(asked_for_s)
            self._closing = True

    sender = Patient(journal.path, Busy(), SERVER)
    sender.given = []
    write(journal, begun("run"))
    sender.start()
    sender._thread.join(DEADLINE_S)

    assert sender.given == [given_s]
    assert sender.problem == "too many requests"


def test_a_pause_that_was_asked_for_ends_with_the_sender(journal: Journal, sending: Sending) -> None:
    class Busy(MemoryTracker):
        asked = threading.Event()

        def experiment(self, name: str) -> str:
            self.asked.set()
            raise Unavailable("too many requests", 3600.0)

    tracker = Busy()
    sender = sending(tracker)
    write(journal, begun("run"))
    assert tracker.asked.wait(DEADLINE_S)

    sender.close()

    assert not sender._thread.is_alive()


def test_a_server_too_slow_for_a_large_delivery_gets_smaller_ones_until_it_is_quick_again(journal: Journal) -> None:
    class Slow(StrictTracker):
        at_most = 100

        def log(self, run_id: str, entries: Sequence[Logged]) -> None:
            super().log(run_id, entries)
            if len(entries) > self.at_most:
                raise Unavailable("read timed out")

    tracker = Slow()
    write(journal, begun("run"), *(Logged("run", step, step, {"loss": 1.0}) for step in range(1000)))
    sender = Sender(journal.path, tracker, SERVER)
    failures = 0
    while True:
        try:
            if not sender.deliver():
                break
        except Unavailable:
            failures += 1

    assert sender.delivered == journal.written
    assert failures < 20
    assert len(tracker.runs["run-0"].curve("loss")) == 1000
    assert len(tracker.runs) == 1


def test_writing_to_the_journal_never_waits_for_the_server(tmp_path: Path) -> None:
    class Stuck(MemoryTracker):
        asked, go_on = threading.Event(), threading.Event()

        def experiment(self, name: str) -> str:
            self.asked.set()
            assert self.go_on.wait(DEADLINE_S)
            return super().experiment(name)

    tracker = Stuck()
    sender = Sender(tmp_path / "journal.jsonl", tracker, SERVER)
    journal = Journal(tmp_path / "journal.jsonl", on_append=sender.wake)
    sender.start()
    write(journal, begun("run"))
    assert tracker.asked.wait(DEADLINE_S)

    write(journal, *(Logged("run", step, step, {"loss": 1.0}) for step in range(1000)))  # would hang here

    assert sender.delivered == 0
    tracker.go_on.set()
    assert sender.flush(journal.written, DEADLINE_S)
    sender.close()
    journal.close()


# servers that lose what they had


def test_a_server_that_was_emptied_gets_the_whole_journal_again(journal: Journal) -> None:
    write_trials(journal, 3)
    deliver_all(Sender(journal.path, StrictTracker(), SERVER))
    emptied = StrictTracker()

    sender = Sender(journal.path, emptied, SERVER)
    deliver_all(sender)

    assert_all_is_there_once(emptied, 3)
    assert sender.delivered == journal.written


def test_a_server_brought_back_from_a_backup_gets_what_came_after_it(journal: Journal) -> None:
    tracker = StrictTracker()
    write_trials(journal, 3)
    deliver_all(Sender(journal.path, tracker, SERVER))
    (gone,) = [run_id for run_id, run in tracker.runs.items() if run.uid == "trial-2"]
    del tracker.runs[gone]
    tracker.models = {key: model for key, model in tracker.models.items() if model.run_id != gone}

    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)

    assert_all_is_there_once(tracker, 3)
    assert sender.delivered == journal.written


def test_a_server_that_is_emptied_under_a_running_sender_is_noticed_when_it_refuses(journal: Journal) -> None:
    tracker = StrictTracker()
    sender = Sender(journal.path, tracker, SERVER)
    write_trials(journal, 2)
    deliver_all(sender)
    tracker.runs.clear()
    tracker.models.clear()
    write(journal, Logged("trial-0", 500, 9, {"late": 1.0}), RunEnded("trial-0", 501, "FINISHED"))

    deliver_all(sender)

    assert_all_is_there_once(tracker, 2)
    assert sender.delivered == journal.written
    assert sender.refused == ()


def test_a_server_that_forgets_everything_at_once_is_given_up_after_some_tries(journal: Journal) -> None:
    class Forgetful(MemoryTracker):
        asked = 0

        def has_run(self, run_id: str, uid: str) -> bool:
            self.asked += 1
            return False

        def log(self, run_id: str, entries: Sequence[Logged]) -> None:
            raise Refused("there is no such run")

    tracker = Forgetful()
    write(journal, begun("run"), Logged("run", 1, 0, {"loss": 1.0}))
    sender = Sender(journal.path, tracker, SERVER)

    deliver_all(sender)

    assert tracker.asked == 3
    assert sender.refused == ("run: there is no such run",)


def test_runs_are_delivered_again_on_demand_without_being_counted_twice(journal: Journal) -> None:
    tracker = StrictTracker()
    write_trials(journal, 3)
    sender = Sender(journal.path, tracker, SERVER)
    deliver_all(sender)
    (known,) = [run for run in tracker.runs.values() if run.uid == "trial-1"]
    known.points.clear()
    known.pictures.clear()
    tracker.models.clear()

    assert sender.courier.deliver_again(["trial-1"]) == []

    assert sorted(model.entry.uid for model in tracker.models.values()) == ["trial-1"]
    assert len(known.pictures) == len(known.curve("loss")) == 5
    assert known.status == "FINISHED"
    assert len(tracker.runs) == 4
    assert sender.delivered == journal.written


def test_a_journal_in_a_folder_that_may_only_be_read_is_delivered_without_a_note(journal: Journal) -> None:
    tracker = MemoryTracker()
    write_trials(journal, 2)

    deliver_all(Sender(journal.path, tracker, SERVER, keeps_progress=False))

    assert_all_is_there_once(tracker, 2)
    assert not delivery_file(journal.path, SERVER).exists()
