from __future__ import annotations

from typing import Any

import pytest

from pipelines import worker
from pipelines.records import Ended, Event, Started, Stop, TrialSpec, Verdict
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
