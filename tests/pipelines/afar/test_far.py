"""Trials on machines that share no disk with the controller, with a node's worker in this very process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from pipelines.afar.executor import FarExecutor, variables_for_nodes
from pipelines.afar.parts import Arrivals
from pipelines.afar.record import SweepRecord
from pipelines.afar.words import FarTask, FilePart, RunWanted
from pipelines.executors.base import Executor, Handler, Loss, LossKind
from pipelines.records import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    FileWritten,
    PictureDrawn,
    StateWritten,
    Stop,
    TrialSpec,
)
from pipelines.tracking.base import Refused
from pipelines.training.states import newest_state
from tests.pipelines.afar.far_parts import LOSSES, Far, Heard, Trains, Unreachable, write


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    made = Far(tmp_path)
    yield made
    made.close()


@pytest.fixture
def cut_off(tmp_path: Path) -> Iterator[Far]:
    made = Far(tmp_path, Unreachable())
    yield made
    made.close()


class Sent(Executor):
    """An executor that keeps what it is given."""

    def __init__(self) -> None:
        self.tasks: list[FarTask] = []
        self.handler: Handler | None = None

    def start(self, handler: Handler) -> None:
        self.handler = handler

    def hand_over(self, handler: Handler) -> None:
        self.handler = handler

    def assign(self, worker: int, task: Any) -> None:
        self.tasks.append(task)

    def wait(self, timeout_s: float) -> None:
        pass

    def tell(self, worker: int, answer: Any) -> None:
        pass

    def end(self, worker: int, reason: str) -> None:
        pass

    def log_tail(self, worker: int) -> str:
        return ""

    def close(self) -> None:
        pass


def sent(far: Far, spec: TrialSpec) -> tuple[FarExecutor, FarTask]:
    """An executor whose worker 0 has an attempt, and what it was sent."""
    inner = Sent()
    made = FarExecutor(inner, far.root, far.record)
    made.start(far.heard)
    made.assign(0, spec)
    return made, inner.tasks[-1]


def part(spec: TrialSpec, name: str, data: bytes = b"12345", **changes: Any) -> FilePart:
    told = {"offset": 0, "packed": False, "last": True, **changes}
    return FilePart(spec.number, spec.attempt, name, told["offset"], data, told["packed"], told["last"])


def test_the_sweep_hears_what_it_would_hear_of_a_worker_on_its_own_disk(far: Far) -> None:
    heard = far.train(Trains(), far.spec())

    epoch = ["PictureDrawn", "EpochEnded"]
    assert heard.kinds() == [
        "Started",
        "FileWritten",
        *epoch * 3,
        "CheckpointWritten",
        "CheckpointWritten",
        "CheckpointWritten",
        "Ended",
    ]
    assert heard.rests == [1]
    assert heard.places == 2


def test_a_file_is_on_the_controllers_disk_when_the_event_that_names_it_is_heard(far: Far) -> None:
    heard, attempt = far.train(Trains(), far.spec()), far.root / "trials" / "00003-1"

    assert heard.contents[str(attempt / "model_summary.txt")] == b"Dense"
    assert [heard.contents[str(attempt / "pictures" / f"surface-{number}.png")] for number in range(3)] == [
        b"png 0",
        b"png 1",
        b"png 2",
    ]
    assert heard.contents[str(attempt / "checkpoints" / "last.keras")] == b"small"


def test_a_checkpoint_goes_to_the_tracker_from_the_node_and_the_event_says_how_large_it_is(far: Far) -> None:
    heard = far.train(Trains(), far.spec())

    (model,) = far.tracker.models.values()
    content = b"the best of 3-1"
    assert (model.status, model.file) == ("READY", ("best.keras", content))
    assert (model.entry.name, model.entry.step, model.entry.uid) == ("checkpoint", 1, "sweep-00003")
    told = heard.events[-2]
    assert isinstance(told, CheckpointWritten)
    assert (told.kind, told.delivered_bytes) == ("best", len(content))
    assert told.sha256 == hashlib.sha256(content).hexdigest()
    assert not Path(told.path).exists()
    assert Path(told.path).is_relative_to(far.root)


def test_the_metrics_of_a_checkpoint_are_the_very_points_that_its_run_has(far: Far) -> None:
    far.train(Trains(), far.spec())

    (model,) = far.tracker.models.values()
    assert model.entry.metrics == {"val_loss": LOSSES[1], "loss": 1.0}
    assert model.entry.time_ms == 5_000  # the journal's time, not that of the node's clock


def test_the_time_of_an_epoch_of_an_earlier_attempt_is_asked_of_the_journal(far: Far) -> None:
    far.train(Trains(), far.spec(attempt=2))

    (model,) = far.tracker.models.values()
    assert model.entry.time_ms == 7_001


def test_a_large_file_of_a_callback_goes_to_the_tracker_from_the_node(far: Far) -> None:
    heard = far.train(Trains(large=3 << 20), far.spec())

    (run,) = far.tracker.runs.values()
    assert list(run.files) == ["checkpoints/deep/large.keras"]
    assert [event.kind for event in heard.events if isinstance(event, CheckpointWritten)] == ["callback", "best"]


@pytest.mark.parametrize("large", [0, 3 << 20])
def test_where_the_tracker_cannot_be_reached_the_controller_gets_the_files(cut_off: Far, large: int) -> None:
    heard, attempt = cut_off.train(Trains(large=large), cut_off.spec()), cut_off.root / "trials" / "00003-1"

    assert heard.contents[str(attempt / "best.keras")] == b"the best of 3-1"
    assert heard.contents[str(attempt / "checkpoints" / "deep" / "large.keras")] == b"L" * large
    best = heard.events[-2]
    assert isinstance(best, CheckpointWritten)
    assert best.delivered_bytes is None
    assert cut_off.tracker.models == {}


def test_what_a_tracker_refuses_the_controller_gets(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise Refused("the experiment is deleted")

    monkeypatch.setattr(far.tracker, "keep_checkpoint", refuse)

    heard = far.train(Trains(), far.spec())

    assert heard.contents[str(far.root / "trials" / "00003-1" / "best.keras")] == b"the best of 3-1"


def test_a_trial_whose_run_the_server_has_not_made_in_time_sends_its_checkpoint_here(far: Far) -> None:
    far.record.known = False

    heard = far.train(Trains(), far.spec(), patience_s=0.05)

    assert heard.contents[str(far.root / "trials" / "00003-1" / "best.keras")] == b"the best of 3-1"
    assert len(far.record.asked) > 1


def test_without_a_server_that_a_node_could_reach_nobody_asks_for_a_run(far: Far) -> None:
    heard = far.train(Trains(), far.spec(), server="")

    assert heard.contents[str(far.root / "trials" / "00003-1" / "best.keras")] == b"the best of 3-1"
    assert far.record.asked == []


@pytest.mark.parametrize("ballast", [0, 3 << 20])
def test_an_attempt_on_another_node_goes_on_from_the_last_state(far: Far, ballast: int) -> None:
    dies = Trains(ballast=ballast, dies_after=1)
    with pytest.raises(ConnectionResetError):
        far.train(dies, far.spec())
    if ballast:  # it went its way beside the training
        for worker in far.workers:
            assert worker._bringer is not None
            worker._bringer.wait()
    state = newest_state(Path(far.spec().states), 2)
    assert state is not None
    assert state.step == 1

    goes_on = Trains()
    heard = far.train(goes_on, far.spec(attempt=2), node="another")

    assert goes_on.began_at == [2]
    retold = [event.epoch for event in heard.events if isinstance(event, EpochEnded) and event.attempt == 2]
    assert retold == [0, 1, 2]
    assert isinstance(heard.events[-1], Ended)


@pytest.mark.parametrize("ballast", [0, 3 << 20])
def test_what_callbacks_wrote_before_is_there_where_the_trial_goes_on(far: Far, ballast: int) -> None:
    with pytest.raises(ConnectionResetError):
        far.train(Trains(ballast=ballast, dies_after=1), far.spec())
    for worker in far.workers:
        assert worker._bringer is not None
        worker._bringer.wait()
    found: list[bytes] = []

    class Looks(Trains):
        def __call__(self, spec: TrialSpec, say: Any) -> None:
            before = Path(spec.folder).with_name("00003-1") / "checkpoints" / "log.csv"
            found.append(before.read_bytes())

    far.train(Looks(), far.spec(attempt=2), node="another")

    assert found == [b"epoch\nepoch\n"]


def test_a_file_that_has_not_changed_is_sent_once(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    take = Arrivals.take

    def noted(self: Arrivals, part: FilePart) -> Path | None:
        taken.append(part.name)
        return take(self, part)

    monkeypatch.setattr(Arrivals, "take", noted)

    class Steady(Trains):
        def __call__(self, spec: TrialSpec, say: Any) -> None:
            write(Path(spec.folder) / "checkpoints" / "steady.txt", b"steady")
            super().__call__(spec, say)

    far.train(Steady(pauses_after=2), far.spec())

    assert taken.count("trials/00003-1/checkpoints/steady.txt") == 1
    assert taken.count("trials/00003-1/checkpoints/log.csv") == 3


def test_files_that_are_too_much_stay_on_their_node(far: Far) -> None:
    class Hoards(Trains):
        def __call__(self, spec: TrialSpec, say: Any) -> None:
            write(Path(spec.folder) / "checkpoints" / "hoard.bin", bytes(2 << 20))
            super().__call__(spec, say)

    far.train(Hoards(pauses_after=1), far.spec(), most_state_bytes=1 << 20)

    assert newest_state(Path(far.spec().states), 2) is not None
    assert not (far.root / "trials" / "00003-1" / "checkpoints").exists()


def test_a_picture_of_an_attempt_on_another_node_is_the_one_that_came_from_there(far: Far) -> None:
    with pytest.raises(ConnectionResetError):
        far.train(Trains(dies_after=1), far.spec())

    heard = far.train(Trains(), far.spec(attempt=2), node="another")

    again = [event for event in heard.events if isinstance(event, PictureDrawn) and event.attempt == 2]
    assert [Path(event.path).relative_to(far.root).as_posix() for event in again] == [
        "trials/00003-1/pictures/surface-1.png",
        "trials/00003-2/pictures/surface-2.png",
    ]
    assert all(Path(event.path).is_file() for event in again)


def test_a_picture_that_never_came_is_not_told_of_again(far: Far) -> None:
    with pytest.raises(ConnectionResetError):
        far.train(Trains(dies_after=1), far.spec())
    (far.root / "trials" / "00003-1" / "pictures" / "surface-1.png").unlink()

    heard = far.train(Trains(), far.spec(attempt=2), node="another")

    again = [event for event in heard.events if isinstance(event, PictureDrawn) and event.attempt == 2]
    assert [event.epoch for event in again] == [2]


def test_a_state_that_is_too_large_stays_on_its_node(far: Far, capsys: pytest.CaptureFixture[str]) -> None:
    far.train(Trains(ballast=1 << 20), far.spec(), most_state_bytes=1 << 19)

    assert newest_state(Path(far.spec().states), 2) is None
    assert "A state of trial 3 has 1 MiB and stays on this node." in capsys.readouterr().out


def test_a_paused_trial_has_sent_its_state_when_its_end_is_heard(far: Far) -> None:
    found: list[int | None] = []

    def look(event: Any) -> None:
        if isinstance(event, Ended):
            state = newest_state(Path(far.spec().states), 2)
            found.append(None if state is None else state.step)

    far.heard.answers = look
    heard = far.train(Trains(ballast=3 << 20, pauses_after=1), far.spec())

    assert found == [1]
    assert not [event for event in heard.events if isinstance(event, CheckpointWritten)]


def test_answers_reach_the_trainer_although_another_thread_may_have_heard_them(far: Far) -> None:
    far.heard.answers = lambda event: Stop(event.trial, event.attempt) if isinstance(event, EpochEnded) else None
    answers: list[Any] = []

    class Listens(Trains):
        def __call__(self, spec: TrialSpec, say: Any) -> None:
            super().__call__(spec, lambda event: answers.append(say(event)))

    far.train(Listens(), far.spec())

    assert [answer for answer in answers if answer is not None] == [Stop(3, 1)] * 3


def test_a_training_that_has_no_run_sends_its_events_and_no_file(far: Far) -> None:
    heard = far.train(Trains(), far.spec(states=False))

    assert heard.kinds() == ["Started", *["EpochEnded"] * 3, "Ended"]
    assert list(far.root.rglob("*")) == []


def test_nothing_of_an_attempt_stays_on_its_node(far: Far, tmp_path: Path) -> None:
    far.train(Trains(), far.spec())

    assert [path for path in (tmp_path / "node" / "work").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_no_path_of_the_controllers_is_in_what_a_worker_is_sent(far: Far) -> None:
    with pytest.raises(ConnectionResetError):
        far.train(Trains(dies_after=1), far.spec())

    _, task = sent(far, far.spec(attempt=2))

    assert task.state
    assert str(far.root.parent).encode() not in bytes(ForkingPickler.dumps(task))
    assert (task.spec.data, task.spec.folder, task.spec.states) == ("digits-1", "trials/00003-2", "states/00003")
    assert task.spec.tells_states


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "trials/00003-1/../../../outside",
        "/etc/outside",
        "trials/00004-1/another.txt",
        "states/00004/state-0001-a.bin",
        "optuna.db",
        "trials/00003-1",
    ],
)
def test_a_node_writes_into_the_folders_of_its_attempt_and_nowhere_else(far: Far, name: str) -> None:
    executor, task = sent(far, far.spec())

    executor.on_message(0, part(task.spec, name))

    assert [path for path in far.folder.rglob("*") if path.is_file()] == []


def test_a_file_of_an_attempt_that_was_given_up_is_not_taken(far: Far) -> None:
    executor, task = sent(far, far.spec())
    executor.on_lost(0, Loss("node 10.0.0.7 left", LossKind.NODE))

    executor.on_message(0, part(task.spec, "trials/00003-1/late.txt"))

    assert not (far.root / "trials").exists()
    assert far.heard.losses == [Loss("node 10.0.0.7 left", LossKind.NODE)]


def test_a_half_sent_file_goes_with_its_worker(far: Far) -> None:
    executor, task = sent(far, far.spec())
    executor.on_message(0, part(task.spec, "trials/00003-1/half.txt", last=False))
    assert (far.root / "trials" / "00003-1" / ".writing-half.txt").exists()

    executor.on_lost(0, Loss("its line broke"))

    assert list((far.root / "trials" / "00003-1").iterdir()) == []


def test_a_late_event_of_an_attempt_that_was_given_up_is_the_sweeps_to_answer(far: Far) -> None:
    executor, _ = sent(far, far.spec())
    executor.on_lost(0, Loss("its line broke"))
    far.heard.answers = lambda event: Stop(event.trial, event.attempt)

    answer = executor.on_message(0, FileWritten(3, 1, "trials/00003-1/model_summary.txt"))

    assert answer == Stop(3, 1)


def test_a_run_is_told_only_for_an_attempt_that_is_away(far: Far) -> None:
    executor, _ = sent(far, far.spec(attempt=2))

    assert executor.on_message(0, RunWanted(3, 1, 0)) is None
    assert executor.on_message(0, RunWanted(9, 1, 0)) is None
    known = executor.on_message(0, RunWanted(3, 2, 4))
    assert (known.trial, known.attempt, known.epoch, known.run_id, known.time_ms) == (3, 2, 4, "run-0", 7_004)


def test_a_worker_on_this_disk_is_not_asked_to_tell_of_its_states(far: Far) -> None:
    assert not far.spec().tells_states
    heard = far.train(Trains(), far.spec())
    assert not [event for event in heard.events if isinstance(event, StateWritten)]


def test_nodes_get_what_lets_them_into_the_server_and_its_store_and_nothing_else() -> None:
    environment = {
        "MLFLOW_TRACKING_USERNAME": "regatta",
        "MLFLOW_TRACKING_PASSWORD": "secret",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_CA_BUNDLE": "/etc/ssl/here.crt",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/etc/ssl/here.crt",
        "MLFLOW_BACKEND_STORE_URI": "postgresql://elsewhere",
        "REGATTA_STORAGE": "postgresql://elsewhere",
        "HOME": "/root",
    }

    assert set(variables_for_nodes(environment)) == {
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "AWS_ACCESS_KEY_ID",
    }


def test_the_record_of_a_sweep_calls_runs_after_their_parent() -> None:
    record = SweepRecord("abc", {"abc-00007": "r7"}.get, lambda uid, step: step, lambda: 12)

    assert record.uid(7) == "abc-00007"
    assert (record.run_id("abc-00007"), record.run_id("abc-00008")) == ("r7", None)
    assert (record.time_ms("abc-00007", 3), record.last_ms()) == (3, 12)


def test_handing_over_and_all_else_goes_on_to_the_executor_below(far: Far) -> None:
    executor, after = far.executor(Trains()), Heard()

    executor.hand_over(after)
    executor.assign(0, far.spec())
    executor.tell(0, "word")
    executor.end(0, "no reason")
    executor.wait(0)

    assert after.places == 2
    assert isinstance(after.events[-1], Ended)
    assert far.heard.events == []
    assert executor.log_tail(0) == ""
    executor.close()
