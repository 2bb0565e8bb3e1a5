from __future__ import annotations

import threading
from typing import Any

import pytest

from pipelines import worker
from pipelines.records import Ended, EpochEnded, Event, Started, Stepped, Stop, TrialSpec, Verdict
from pipelines.training import Emit


@pytest.mark.parametrize(
    ("cores", "workers", "devices", "expected"),
    [
        (8, 2, [], [("4", "-1"), ("4", "-1")]),
        (8, 3, [], [("2", "-1")] * 3),
        (1, 2, [], [("1", "-1")] * 2),
        (8, 2, ["0", "1"], [("4", "0"), ("4", "1")]),
        (8, 3, ["GPU-a", "GPU-b"], [("2", "GPU-a"), ("2", "GPU-b"), ("2", "GPU-a")]),
    ],
)
def test_cores_are_divided_and_gpus_are_dealt_out(
    cores: int, workers: int, devices: list[str], expected: list[tuple[str, str]]
) -> None:
    found = worker.shares(cores, workers, devices)
    assert [(share["OMP_NUM_THREADS"], share["CUDA_VISIBLE_DEVICES"]) for share in found] == expected
    assert all(share["TF_NUM_INTRAOP_THREADS"] == share["OMP_NUM_THREADS"] for share in found)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (None, Verdict.GO_ON),
        (Stop(3, 2), Verdict.STOP),
        (Stop(3, 2, pause=True), Verdict.PAUSE),
        (Stop(3, 1), Verdict.GO_ON),  # meant for an attempt that is over
        (Stop(4, 2), Verdict.GO_ON),
    ],
)
def test_a_worker_heeds_only_a_stop_that_is_meant_for_its_attempt(
    monkeypatch: pytest.MonkeyPatch, reply: Any, verdict: Verdict
) -> None:
    class OneEpoch:
        verdicts: list[Verdict] = []  # noqa: RUF012

        def train(self, spec: TrialSpec, emit: Emit) -> None:
            self.verdicts.append(emit(Started(spec.number, spec.attempt, 0)))
            emit(Ended(spec.number, spec.attempt, 1))

    trainer = OneEpoch()
    monkeypatch.setattr(worker, "_set_up_tensorflow", lambda settings: None)
    monkeypatch.setattr(worker, "make_trainer", lambda _: trainer)
    trainer.verdicts.clear()
    events: list[Event] = []

    def answer(event: Event) -> Any:
        events.append(event)
        return reply

    warm = worker.TrialWorker(worker.WorkerSettings(1))
    warm(TrialSpec(3, 2, {}, "data", "folder", "val_loss", "minimize"), answer)
    assert trainer.verdicts == [verdict]
    assert [type(event) for event in events] == [Started, Ended]


STOP, PAUSE = Stop(3, 2), Stop(3, 2, pause=True)
SPEC = TrialSpec(3, 2, {}, "data", "folder", "val_loss", "minimize")


def epoch(number: int, retold: bool = False) -> EpochEnded:
    return EpochEnded(3, 2, number, {}, 0, retold)


@pytest.mark.parametrize(
    ("said", "verdicts"),
    [
        # an answer comes once, and perhaps to something that asks for none
        ([(Stepped(3, 2), STOP), (epoch(0), None), (epoch(1), None)], [Verdict.STOP] * 3),
        ([(Stepped(3, 2), PAUSE), (epoch(0), None)], [Verdict.PAUSE] * 2),
        ([(Stepped(3, 2), PAUSE), (epoch(0), STOP), (epoch(1), PAUSE)], [Verdict.PAUSE, Verdict.STOP, Verdict.STOP]),
        ([(Stepped(3, 2), Stop(3, 1)), (epoch(0), None)], [Verdict.GO_ON] * 2),
        # what is thought now of an epoch long ago is no word on the training that went on from it
        ([(epoch(0, True), STOP), (epoch(1, True), None), (epoch(2), None)], [Verdict.STOP] + [Verdict.GO_ON] * 2),
        ([(epoch(0, True), PAUSE), (epoch(1, True), None), (epoch(2), None)], [Verdict.PAUSE] * 3),
    ],
)
def test_what_the_controller_said_stands_until_the_attempt_is_over(
    said: list[tuple[Event, Any]], verdicts: list[Verdict]
) -> None:
    replies = iter([reply for _, reply in said])
    line = worker.Line(SPEC, lambda event: next(replies))
    assert [line(event) for event, _ in said] == verdicts


def test_two_threads_never_talk_at_once() -> None:
    talking, together = threading.Semaphore(1), []
    both = threading.Barrier(2)

    def answer(event: Event) -> None:
        together.append(not talking.acquire(blocking=False))
        sum(range(20_000))
        talking.release()

    line = worker.Line(SPEC, answer)

    def talk() -> None:
        both.wait(10)
        for _ in range(50):
            line(Stepped(3, 2))

    other = threading.Thread(target=talk)
    other.start()
    talk()
    other.join()
    assert together == [False] * 100
