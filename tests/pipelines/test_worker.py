from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import worker
from pipelines.errors import ExecutorError
from pipelines.records import Ended, EpochEnded, Event, Started, Stepped, Stop, TrialSpec, Verdict
from pipelines.training import Emit, OneAtATime
from tests.pipelines.scripted import ScriptedDesk


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


class FakeTensorFlow:
    """TensorFlow's settings, as far as a worker makes any."""

    def __init__(self, gpus: int) -> None:
        self.set: list[tuple[str, Any]] = []
        experimental = SimpleNamespace(set_memory_growth=lambda device, on: self.set.append((device, "grows")))
        self.config = SimpleNamespace(
            threading=SimpleNamespace(
                set_intra_op_parallelism_threads=lambda count: None, set_inter_op_parallelism_threads=lambda count: None
            ),
            list_physical_devices=lambda kind: [f"GPU:{number}" for number in range(gpus)],
            experimental=experimental,
            LogicalDeviceConfiguration=lambda memory_limit: memory_limit,
            set_logical_device_configuration=lambda device, caps: self.set.append((device, caps)),
        )


@pytest.mark.parametrize(("cap", "told"), [(None, "grows"), (2048, [2048])])
def test_the_memory_of_a_gpu_grows_or_has_a_cap(monkeypatch: pytest.MonkeyPatch, cap: int | None, told: Any) -> None:
    fake = FakeTensorFlow(1)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    worker._set_up_tensorflow(worker.WorkerSettings(2, cap))
    assert fake.set == [("GPU:0", told)]


def test_a_worker_that_does_not_see_its_gpu_stops_instead_of_training_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", FakeTensorFlow(0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    with pytest.raises(ExecutorError, match=r"sees no GPU, and this worker is to train on the device GPU-a"):
        worker._set_up_tensorflow(worker.WorkerSettings(2))
    for nobody in ("-1", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nobody)
        worker._set_up_tensorflow(worker.WorkerSettings(2))


SPEC = TrialSpec(3, 2, {}, "data", "folder", "val_loss", "minimize")
OTHER = replace(SPEC, number=4, attempt=1)
STOP, PAUSE = Stop(3, 2), Stop(3, 2, pause=True)


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
    verdicts: list[Verdict] = []

    def train(spec: TrialSpec, emit: Emit) -> None:
        verdicts.append(emit(Started(spec.number, spec.attempt, 0)))
        emit(Ended(spec.number, spec.attempt, 1))

    monkeypatch.setattr(worker, "_set_up_tensorflow", lambda settings: None)
    monkeypatch.setattr(worker, "make_trainer", lambda data_bytes, **settings: OneAtATime(train))
    desk = ScriptedDesk(SPEC, answer=lambda event: [reply])
    worker.TrialWorker(worker.WorkerSettings(1))(desk)
    assert verdicts == [verdict]
    assert [type(event) for event in desk.said] == [Started, Ended]


def test_a_worker_makes_its_trainer_as_its_settings_say_and_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make(data_bytes: int, **settings: Any) -> OneAtATime:
        made.append((data_bytes, settings))
        return OneAtATime(lambda spec, emit: None)

    monkeypatch.setattr(worker, "_set_up_tensorflow", lambda settings: None)
    monkeypatch.setattr(worker, "make_trainer", make)
    warm, desk = (
        worker.TrialWorker(worker.WorkerSettings(2, None, 3, "auto", 16, 64, 512, "kept", "so")),
        ScriptedDesk(),
    )
    for _ in range(2):
        warm(desk)
    told = {"lanes": "auto", "most_lanes": 16, "trials": 64, "memory_bytes": 512 << 20, "cache": "kept", "why": "so"}
    assert made == [(3 << 20, told)]
    assert desk.places == [1]


def test_a_trainer_of_one_at_a_time_offers_a_place_when_it_is_made_and_after_each_attempt() -> None:
    places: list[tuple[int, int]] = []
    trained: list[int] = []

    class Waiting(ScriptedDesk):
        def offer(self, places_: int) -> None:
            places.append((len(trained), places_))

    trainer, desk = OneAtATime(lambda spec, emit: trained.append(spec.number)), Waiting()
    board = worker.Switchboard(desk)
    trainer.work(board)
    trainer.work(board)
    desk.tasks.extend((SPEC, OTHER))
    trainer.work(board)
    assert trained == [3, 4]
    assert places == [(0, 1), (1, 1), (2, 1)]


def epoch(number: int, retold: bool = False, spec: TrialSpec = SPEC) -> EpochEnded:
    return EpochEnded(spec.number, spec.attempt, number, {}, 0, retold)


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
    board = worker.Switchboard(ScriptedDesk(SPEC, answer=lambda event: [next(replies)]))
    _, line = taken(board)
    assert [line(event) for event, _ in said] == verdicts


def taken(board: worker.Switchboard) -> tuple[TrialSpec, worker.Line]:
    found = board.take()
    assert found is not None
    return found


def when(answers: Mapping[tuple[int, int], Sequence[Stop]]) -> Callable[[Event], Sequence[Stop]]:
    """Answers to some epochs, by trial and epoch."""
    return lambda event: answers.get((event.trial, event.epoch), ()) if isinstance(event, EpochEnded) else ()


def test_an_answer_is_put_through_to_the_attempt_that_it_is_meant_for() -> None:
    first_answers = [Stop(4, 1), Stop(9, 9)]  # nobody knows the latter
    then = [Stop(3, 2, pause=True), Stop(4, 1, pause=True)]
    board = worker.Switchboard(ScriptedDesk(SPEC, OTHER, answer=when({(3, 0): first_answers, (4, 5): then})))
    (one, first), (two, second) = taken(board), taken(board)
    assert board.take() is None
    assert (one, two) == (SPEC, OTHER)
    assert first(epoch(0)) is Verdict.GO_ON
    assert second(epoch(5, spec=OTHER)) is Verdict.STOP  # which a pause does not take back
    assert first(epoch(1)) is Verdict.PAUSE


def test_a_word_that_another_brought_while_an_attempt_retold_its_epochs_is_about_one_of_those() -> None:
    board = worker.Switchboard(ScriptedDesk(SPEC, OTHER, answer=when({(4, 3): [STOP]})))
    (_, line), (_, other) = taken(board), taken(board)
    assert line(epoch(0, True)) is Verdict.GO_ON
    other(epoch(3, spec=OTHER))
    assert line(epoch(1, True)) is Verdict.STOP
    assert line(epoch(2)) is Verdict.GO_ON


def test_an_attempt_that_is_over_hears_nothing_that_its_next_one_should_not() -> None:
    desk = ScriptedDesk(SPEC, OTHER, answer=when({(4, 3): [STOP]}))
    board = worker.Switchboard(desk)
    (_, line), (_, other) = taken(board), taken(board)
    line(Ended(3, 2, 0))
    desk.tasks.append(replace(SPEC, attempt=3))
    other(epoch(3, spec=OTHER))
    _, again = taken(board)
    assert again(EpochEnded(3, 3, 0, {}, 0)) is Verdict.GO_ON


def test_two_threads_never_talk_at_once() -> None:
    talking, together = threading.Semaphore(1), []
    both = threading.Barrier(2)

    def answer(event: Event) -> Sequence[Any]:
        together.append(not talking.acquire(blocking=False))
        sum(range(20_000))
        talking.release()
        return ()

    board = worker.Switchboard(ScriptedDesk(SPEC, OTHER, answer=answer))
    lines = [taken(board) for _ in range(2)]

    def talk(spec: TrialSpec, line: worker.Line) -> None:
        both.wait(10)
        for _ in range(50):
            line(Stepped(spec.number, spec.attempt))

    other = threading.Thread(target=talk, args=lines[0])
    other.start()
    talk(*lines[1])
    other.join()
    assert together == [False] * 100
