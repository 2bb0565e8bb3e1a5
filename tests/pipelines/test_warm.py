from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pipelines import warm, worker
from pipelines.promotion.judge import Judged, JudgeRequest
from pipelines.records import Ended, TrialSpec
from pipelines.training import Emit, OneAtATime
from tests.pipelines.scripted import ScriptedDesk

SPEC = TrialSpec(3, 2, {}, "data", "folder", "val_loss", "minimize")
REQUEST = JudgeRequest("digits", {}, "best.keras", "data", None, None, {}, "package")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> warm.TrainAndJudge:
    """A worker whose trainings and judgements are quick."""

    def train(spec: TrialSpec, emit: Emit) -> None:
        emit(Ended(spec.number, spec.attempt, 1))

    monkeypatch.setattr(worker, "_set_up_tensorflow", lambda settings: None)
    monkeypatch.setattr(worker, "make_trainer", lambda data_bytes, **settings: OneAtATime(train))
    monkeypatch.setattr(warm, "answer", lambda request, say: say(Judged(error=f"judged {request.name}")))
    monkeypatch.setattr(warm, "get_ready", lambda: None)
    return warm.TrainAndJudge(worker.WorkerSettings(1))


def test_a_request_waits_until_no_trial_is_under_way(made: warm.TrainAndJudge) -> None:
    desk = ScriptedDesk(REQUEST, SPEC)
    made(desk)
    assert [type(message) for message in desk.said] == [Ended, Judged]
    assert desk.said[1].error == "judged digits"


def test_it_judges_again_and_again_and_still_trains(made: warm.TrainAndJudge) -> None:
    desk = ScriptedDesk()
    for task in (REQUEST, REQUEST, SPEC):
        desk.tasks.append(task)
        made(desk)
    assert [type(message) for message in desk.said] == [Judged, Judged, Ended]


def test_there_is_room_for_another_task_after_each_whatever_it_was(made: warm.TrainAndJudge) -> None:
    desk = ScriptedDesk()
    made(desk)
    room = sum(desk.places)
    for number, task in enumerate((REQUEST, REQUEST, SPEC), start=1):
        desk.tasks.append(task)
        made(desk)
        assert sum(desk.places) == room + number


def test_it_gets_ready_to_judge_beside_the_last_trials_and_is_ready_before_it_judges(
    made: warm.TrainAndJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    may_go_on = threading.Event()

    def get_ready() -> None:
        told.append(f"{threading.current_thread().name} begins")
        may_go_on.wait(10)
        told.append("ready")

    def judge(request: JudgeRequest, say: Callable[[Judged], object]) -> None:
        told.append("judges")

    monkeypatch.setattr(warm, "get_ready", get_ready)
    monkeypatch.setattr(warm, "answer", judge)
    patient = warm.TrainAndJudge(worker.WorkerSettings(1, trials=4, most_lanes=2))
    patient(desk := ScriptedDesk(SPEC))
    before = list(told)
    desk.tasks.append(SPEC)
    patient(desk)
    threading.Timer(0.05, may_go_on.set).start()
    desk.tasks.append(REQUEST)
    patient(desk)

    assert before == [], "more trials are to come than are under way at once"
    assert told == ["preparation begins", "ready", "judges"]


def test_a_worker_that_cannot_get_ready_judges_all_the_same(
    made: warm.TrainAndJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("mlflow is missing")

    monkeypatch.setattr(warm, "get_ready", fail)
    desk = ScriptedDesk(SPEC, REQUEST)
    made(desk)
    assert [type(message) for message in desk.said] == [Ended, Judged]
