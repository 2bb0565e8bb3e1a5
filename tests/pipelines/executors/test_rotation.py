"""Workers of a device that does not compute any more: no other is started in their place, and the rest go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.devices import Rotation
from pipelines.errors import ExecutorError
from pipelines.executors.base import LossKind
from pipelines.executors.processes import ProcessesExecutor
from tests.contracts.test_executors import Recorder, pump, task
from tests.contracts.workers import make_nothing, make_steps

ENVIRONMENTS = [{"CUDA_VISIBLE_DEVICES": name} for name in ("GPU-a", "GPU-b")]


class Health:
    """What the driver says: all is well, until it is told otherwise."""

    def __init__(self) -> None:
        self.lost: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        return self.lost.get(name, "")


Make = Callable[..., tuple[ProcessesExecutor, Recorder, Health]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ProcessesExecutor] = []

    def start(
        environments: Any = ENVIRONMENTS, factory: Any = make_steps
    ) -> tuple[ProcessesExecutor, Recorder, Health]:
        health = Health()
        rotation = Rotation.of(environments, lost=health, xids=lambda name: "")
        executor = ProcessesExecutor(factory, environments, logs=tmp_path / "logs", rotation=rotation)
        made.append(executor)
        handler = Recorder()
        executor.start(handler)
        return executor, handler, health

    yield start
    for executor in made:
        executor.close()


def has_lost(handler: Recorder, count: int) -> bool:
    return handler.count("lost") == count


def test_the_worker_of_a_lost_device_is_not_replaced_and_the_others_go_on(make: Make) -> None:
    executor, handler, health = make()
    pump(executor, lambda: handler.count("room") == 2)
    health.lost["GPU-a"] = "the driver has lost it"

    executor.assign(0, task(("kill yourself", None)))
    pump(executor, lambda: handler.count("lost") == 1)

    (loss,) = handler.losses()
    assert loss.kind is LossKind.DEVICE
    assert loss.reason.startswith("its process was ended by SIGKILL; the device GPU-a is taken out of the rotation")
    executor.assign(1, task(("say", "still here")))
    pump(executor, lambda: handler.count("rest") == 1)
    assert handler.said() == ["still here"]
    assert [worker for word, worker, _ in handler.news if word == "room"].count(0) == 1, "no other came in its place"
    executor.end(0, "whatever")  # a number that is no more hurts nobody
    executor.tell(0, "whatever")
    executor.wait(0.0)


def test_two_deaths_in_a_row_take_a_device_out_and_the_first_is_an_ordinary_loss(make: Make) -> None:
    executor, handler, _ = make()
    pump(executor, lambda: handler.count("room") == 2)
    for deaths in (1, 2):
        executor.assign(0, task(("kill yourself", None)))
        pump(executor, partial(has_lost, handler, deaths))
        if deaths == 1:
            pump(executor, lambda: handler.count("room") == 3)
    assert [loss.kind for loss in handler.losses()] == [LossKind.DIED, LossKind.DEVICE]


def test_a_task_that_is_done_in_between_clears_the_device(make: Make) -> None:
    executor, handler, _ = make()
    pump(executor, lambda: handler.count("room") == 2)
    executor.assign(0, task(("kill yourself", None)))
    pump(executor, lambda: handler.count("room") == 3)
    executor.assign(0, task(("say", "done")))
    pump(executor, lambda: handler.count("rest") == 1 and handler.count("room") == 4)
    executor.assign(0, task(("kill yourself", None)))
    pump(executor, lambda: handler.count("lost") == 2)
    assert [loss.kind for loss in handler.losses()] == [LossKind.DIED, LossKind.DIED]


def test_when_the_last_device_is_lost_the_sweep_ends_with_the_reason(make: Make) -> None:
    executor, handler, health = make(ENVIRONMENTS[:1])
    pump(executor, lambda: handler.count("room") == 1)
    health.lost["GPU-a"] = "the driver has lost it"
    executor.assign(0, task(("kill yourself", None)))
    with pytest.raises(ExecutorError, match=r"No worker is left: .*the driver has lost it\. There is no other\."):
        pump(executor, lambda: False)
    assert [loss.kind for loss in handler.losses()] == [LossKind.DEVICE]


def test_a_worker_that_cannot_be_made_on_one_device_alone_does_not_end_the_sweep(make: Make) -> None:
    executor, handler, health = make(factory=make_nothing)
    health.lost["GPU-a"] = "the driver has lost it"
    with pytest.raises(ExecutorError, match="Worker 1 died 3 times before it was ready"):
        pump(executor, lambda: False)
    kinds = [loss.kind for word, worker, loss in handler.news if word == "lost" and worker == 0]
    assert kinds == [LossKind.DEVICE]  # and that no other was started there
