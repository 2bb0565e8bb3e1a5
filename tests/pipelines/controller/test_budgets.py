"""What ends a sweep."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.controller.budgets import Ending, Meter, Spent
from pipelines.recipe.config import Budget
from pipelines.records import Failure, TrialResult, TrialState
from pipelines.study import Counts

LARGE = {"trials": 100}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def complete(value: float, number: int = 0, **more: Any) -> TrialResult:
    return TrialResult(number, 1, TrialState.COMPLETE, {}, value, 0, **more)


def failed(reason: str = "KeyError: 'a'", failure: Failure = Failure.ERROR, number: int = 0) -> TrialResult:
    return TrialResult(number, 1, TrialState.FAILED, {}, reason=reason, failure=failure)


PRUNED = TrialResult(0, 1, TrialState.PRUNED, {}, 0.01, 0)


def meter(direction: str = "minimize", counts: Counts | None = None, **more: Any) -> Meter:
    budget = {key: more.pop(key) for key in list(more) if key in Budget.model_fields}
    return Meter(Budget.model_validate({**LARGE, **budget}), direction, counts or Counts(), **more)


def by(found: Ending | None) -> str | None:
    return None if found is None else found.by


def after(found: Meter, *results: TrialResult, checkpoint_bytes: int = 0) -> str | None:
    for result in results:
        found.ended(result, checkpoint_bytes)
    return by(found.ending(all_tried=False))


def test_a_fresh_sweep_has_no_end() -> None:
    assert meter().ending(all_tried=False) is None


def test_complete_and_pruned_trials_count_and_failed_ones_do_not() -> None:
    found = meter(trials=3)

    assert after(found, complete(1.0), PRUNED, failed()) is None
    assert found.wants(0)
    assert not found.wants(1)
    assert after(found, complete(1.0)) == "trials"
    assert not found.wants(0)
    assert found.counts == Counts(complete=2, pruned=1, failed=1)


def test_the_wall_time_of_all_starts_counts() -> None:
    clock = Clock()
    found = meter(wall_s=60, spent=Spent(wall_s=40), clock=clock)
    clock.now += 19.9
    assert found.ending(all_tried=False) is None

    clock.now += 0.1

    ending = found.ending(all_tried=False)
    assert ending == Ending("wall_s", "the 60 s of wall time are used", at_once=True)
    assert not found.wants(0)


def test_seconds_before_the_meter_was_made_count_where_it_is_told_of_them() -> None:
    clock = Clock()

    assert by(meter(wall_s=5, clock=clock, begun=clock.now - 5).ending(all_tried=False)) == "wall_s"


def test_device_seconds_add_up_over_workers_while_they_work() -> None:
    clock = Clock()
    found = meter(device_s=100, spent=Spent(device_s=10), clock=clock)
    found.assigned(0)
    found.assigned(1)
    clock.now += 40
    found.freed(1)
    assert found.device_seconds == 90
    assert found.ending(all_tried=False) is None

    clock.now += 10

    assert by(found.ending(all_tried=False)) == "device_s"
    found.freed(0)
    found.freed(0)  # a worker that had nothing to do costs nothing
    clock.now += 1000
    assert found.device_seconds == 100


def test_the_seconds_of_a_worker_count_once_however_many_trials_it_has() -> None:
    clock = Clock()
    found = meter(device_s=100, clock=clock)
    for _ in range(3):
        found.assigned(0)
        clock.now += 1
    found.freed(0)
    clock.now += 5
    found.freed(0)
    found.freed(0)
    clock.now += 20
    assert found.device_seconds == 8
    found.assigned(0)
    clock.now += 2

    assert found.device_seconds == 10


def test_how_many_trials_are_left_is_told_by_the_budget() -> None:
    found = meter(trials=4, counts=Counts(complete=1, pruned=1, failed=3))
    assert found.left == 2
    after(found, complete(1.0), failed(), PRUNED, complete(2.0))
    assert found.left == 0


@pytest.mark.parametrize(
    ("direction", "target", "short", "enough"), [("minimize", 0.2, 0.21, 0.2), ("maximize", 0.9, 0.89, 0.9)]
)
def test_a_target_is_reached_in_the_direction_of_the_objective(
    direction: str, target: float, short: float, enough: float
) -> None:
    found = meter(direction, target=target)

    assert after(found, complete(short)) is None
    assert after(found, complete(enough)) == "target"


def test_a_pruned_or_infeasible_trial_reaches_no_target() -> None:
    assert after(meter(target=0.5), PRUNED, complete(0.1, violations={"parameters": 3.0})) is None


def test_trials_without_a_new_best_end_the_sweep_in_a_row() -> None:
    found = meter(no_improvement_trials=2)

    assert after(found, complete(1.0), complete(1.0), complete(0.9), complete(0.95), failed()) is None
    assert after(found, PRUNED) == "no_improvement_trials"


def test_earlier_trials_count_for_target_and_improvement() -> None:
    spent = Spent(results=((TrialState.COMPLETE, 0.5), (TrialState.PRUNED, None), (TrialState.FAILED, None)))

    assert after(meter(no_improvement_trials=2, spent=spent), complete(0.6)) == "no_improvement_trials"
    assert by(meter(target=0.5, spent=spent).ending(all_tried=False)) == "target"


def test_bytes_of_checkpoints_add_up() -> None:
    found = meter(checkpoint_mb=2, spent=Spent(checkpoint_bytes=1 << 20))

    assert after(found, complete(1.0), checkpoint_bytes=(1 << 20) - 1) is None
    assert after(found, complete(2.0), checkpoint_bytes=1) == "checkpoint_mb"


def test_too_many_failures_say_which_was_the_last() -> None:
    found = meter(failed_trials=1, counts=Counts(failed=7))  # of an earlier start: what caused them may be mended

    assert after(found, failed("KeyError: 'a'", number=1)) is None
    assert after(found, failed("OSError: b", number=9)) == "failed_trials"
    ending = found.ending(all_tried=False)
    assert ending is not None
    assert ending.text == "2 trials failed, where 1 may; the last, trial 9: OSError: b"
    assert not ending.at_once


def test_the_same_failure_in_a_row_is_the_recipes() -> None:
    found = meter(same_failures=3, failed_trials=50)

    assert after(found, failed(), failed(), complete(1.0), failed(), failed()) is None
    assert after(found, failed()) == "same_failures"


def test_more_trials_than_were_asked_for_are_told_as_they_are() -> None:
    found = meter(trials=3, counts=Counts(complete=5, pruned=1))

    ending = found.ending(all_tried=False)

    assert ending == Ending("trials", "6 trials are done, where 3 were asked for")


def test_when_every_combination_is_tried_it_says_so() -> None:
    assert meter(combinations=1).ending(all_tried=True) == Ending("combinations", "the only combination is tried")
    ending = meter(combinations=6).ending(all_tried=True)
    assert ending is not None
    assert ending.text == "all 6 combinations are tried"


def test_when_every_combination_is_tried_it_says_which_failed_in_this_start() -> None:
    found = meter(combinations=6, counts=Counts(failed=3), failed_trials=3)
    after(found, failed(number=8), complete(1.0), failed("KeyError: 'b'", number=6))

    ending = found.ending(all_tried=True)

    assert ending is not None
    assert ending.text == (
        "all 6 combinations are tried, and trials 6, 8 failed; these are tried once more when the sweep is started "
        "again"
    )


def test_an_end_that_stops_running_trials_is_told_before_one_that_does_not() -> None:
    assert after(meter(trials=1, target=2.0), complete(1.0)) == "target"
