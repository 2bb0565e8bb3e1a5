"""The controller's books of workers and trials."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.controller.crew import Crew, UnderWay, Vigil
from pipelines.controller.failures import Setbacks
from pipelines.executors.base import Loss, LossKind
from pipelines.records import Failure, Stepped, TrialSpec


class Life:
    """As much of a trial's life as the books look at."""

    def __init__(self, number: int, attempt: int = 1) -> None:
        self.spec = TrialSpec(number, attempt, {}, "data", "folder", "val_loss", "minimize")


def trial(number: int, attempt: int = 1) -> UnderWay:
    life: Any = Life(number, attempt)
    asked: Any = None
    return UnderWay(life, asked, Setbacks(1))


def numbers(trials: list[UnderWay]) -> list[int]:
    return [each.number for each in trials]


@pytest.fixture
def crew() -> Crew:
    """Worker 0 with three places, worker 1 with two."""
    found = Crew()
    found.has_room(0, 3)
    found.has_room(1, 2)
    return found


def give(crew: Crew, *trials: UnderWay) -> list[int]:
    """Hands out trials, and returns who got them."""
    for each in trials:
        worker = crew.next_worker()
        assert worker is not None
        crew.give(worker, each, 5.0)
    return [each.worker for each in trials]


def test_who_has_the_fewest_trials_is_next_until_nobody_has_room(crew: Crew) -> None:
    assert give(crew, *map(trial, range(5))) == [0, 1, 0, 1, 0]
    assert crew.next_worker() is None
    assert len(crew) == 5


def test_of_equals_who_has_waited_longest_is_next() -> None:
    crew = Crew()
    for worker in (2, 0, 1):
        crew.has_room(worker, 1)

    one, two, three = map(trial, range(3))
    assert give(crew, one, two, three) == [2, 0, 1]
    for done in (two, one):
        crew.take_back(done)
        crew.has_room(done.worker, 1)

    assert give(crew, trial(3), trial(4)) == [0, 2]


def test_an_event_belongs_to_the_attempt_that_its_worker_has(crew: Crew) -> None:
    one = trial(7, attempt=2)
    give(crew, one)

    assert crew.found(0, Stepped(7, 2)) is one
    assert crew.found(1, Stepped(7, 2)) is None
    assert crew.found(0, Stepped(7, 1)) is None
    assert crew.found(0, Stepped(8, 2)) is None


def test_what_a_worker_left_behind_is_told_by_the_count_of_its_tasks(crew: Crew) -> None:
    trials = [trial(number) for number in range(4)]
    give(crew, *trials)  # worker 0 has 0 and 2, worker 1 has 1 and 3
    crew.take_back(trials[0])

    assert numbers(crew.left_behind(0, 1)) == []
    assert numbers(crew.left_behind(0, 2)) == [2]
    assert numbers(crew.left_behind(1, 1)) == [1]
    assert numbers(crew.with_worker(1)) == [1, 3]


def test_a_trial_that_is_handed_out_again_begins_anew(crew: Crew) -> None:
    one = trial(0)
    give(crew, one)
    one.hung = one.told = True
    crew.take_back(one)

    crew.give(1, one, 9.0)

    assert (one.worker, one.turn, one.begun, one.sign, one.hung, one.told) == (1, 1, 9.0, 9.0, False, False)


def test_the_room_of_a_lost_worker_is_gone_with_it(crew: Crew) -> None:
    crew.lost(0)
    crew.lost(0)

    assert give(crew, trial(0), trial(1)) == [1, 1]
    assert crew.next_worker() is None


def test_a_worker_is_named_once_however_many_of_its_trials_hang_and_then_has_time_again() -> None:
    now = [100.0]
    crew, vigil = Crew(), Vigil(50.0, lambda: now[0])
    crew.has_room(0, 2)
    crew.has_room(1, 1)
    trials = [trial(number) for number in range(3)]
    for each in trials:
        worker = crew.next_worker()
        assert worker is not None
        crew.give(worker, each, now[0])

    found = []
    for second in range(1, 120):
        now[0] += 1.0
        trials[1].sign = now[0]  # the one that worker 1 has
        found += [(second, worker) for worker in vigil.look(crew)]

    assert found == [(51, 0), (102, 0)]
    assert [each.hung for each in trials] == [True, False, True]


def test_the_time_in_which_the_controller_was_stopped_itself_counts_for_nobody(crew: Crew) -> None:
    now = [5.0]  # when trials are handed out
    vigil = Vigil(50.0, lambda: now[0])
    give(crew, trial(0))

    now[0] += 4000.0

    assert vigil.look(crew) == []


@pytest.mark.parametrize(
    ("kind", "hung", "failure"),
    [
        (LossKind.DIED, False, Failure.LOST),
        (LossKind.MEMORY, False, Failure.MEMORY),
        (LossKind.ENDED, True, Failure.HUNG),
        (LossKind.ENDED, False, Failure.LOST),  # another one hung
    ],
)
def test_the_loss_of_a_worker_is_not_the_same_to_all_its_trials(kind: LossKind, hung: bool, failure: Failure) -> None:
    one = trial(0)
    one.hung = hung

    assert one.failure_of(Loss("gone", kind)) is failure


def test_it_is_crowded_once_a_worker_had_two_trials_at_a_time(crew: Crew) -> None:
    one, two, three = map(trial, range(3))
    give(crew, one, two)
    assert not crew.crowded
    crew.take_back(one)

    crew.give(1, three, 0.0)

    assert crew.crowded
