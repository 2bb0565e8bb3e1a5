from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Loss
from pipelines.executors.reception import Reception
from pipelines.executors.slots import SlotsExecutor
from tests.contracts.afar import AfarAgency, AfarBody
from tests.contracts.test_executors import Recorder, pump, run, task
from tests.contracts.workers import make_steps

Make = Callable[..., tuple[SlotsExecutor, Recorder]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SlotsExecutor] = []

    def start(workers: int = 1, **how: Any) -> tuple[SlotsExecutor, Recorder]:
        agency = AfarAgency(make_steps, Reception.at_path(tmp_path / "dial.sock"), **how)
        executor, handler = SlotsExecutor(agency, workers, logs=tmp_path / "logs"), Recorder()
        made.append(executor)
        executor.start(handler)
        return executor, handler

    yield start
    for executor in made:
        executor.close()


def test_slots_that_are_added_later_get_workers_like_the_first(make: Make) -> None:
    executor, handler = make()
    pump(executor, lambda: handler.room == 1)

    executor.grow(3)
    executor.grow(2)
    pump(executor, lambda: handler.room == 3)
    executor.assign(2, task(("say", "from the third")))
    pump(executor, lambda: handler.count("rest") == 1)

    assert handler.said() == ["from the third"]
    assert {worker for word, worker, _ in handler.news if word == "room"} == {0, 1, 2}


def test_one_that_never_stops_talking_keeps_nobody_from_being_heard(make: Make) -> None:
    executor, handler = make(2)
    pump(executor, lambda: handler.room == 2)

    executor.assign(0, task(("say until answered", "many")))
    executor.assign(1, task(("say", "one")))
    pump(executor, lambda: "one" in handler.said())
    executor.tell(0, "enough")
    pump(executor, lambda: handler.count("rest") == 2)

    *many, answer = (word for word in handler.said() if word != "one")
    assert answer == ("answer", "enough"), "it was still talking when the other was heard"
    assert many == [("many", number) for number in range(len(many))]


def test_a_worker_whose_line_breaks_is_lost_and_ended_even_where_it_goes_on(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipelines.executors.staff._DIES_S", 0.05)
    executor, handler = make()
    pump(executor, lambda: handler.room == 1)
    begun = tmp_path / "begun"
    executor.assign(0, task(("touch", begun), ("wait for", tmp_path / "never")))  # one that speaks sees a broken line
    pump(executor, begun.exists)
    staff = executor._slots[0].current
    assert staff.wire is not None
    assert isinstance(staff.body, AfarBody)

    staff.wire._socket.shutdown(2)
    pump(executor, lambda: handler.room == 2)

    assert handler.losses() == [Loss("the line to it broke")]
    assert not staff.alive
    run(executor, handler, ("say", "the next one"))


def test_one_that_may_wait_for_a_place_is_never_overdue(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, handler = make(patience_s=None)
    assert executor._slots[0].current.due is None
    pump(executor, lambda: handler.room == 1)
