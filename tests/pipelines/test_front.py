from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.front import Front, Point, best_trial, best_trials, dominates, front_of, knee, losses
from pipelines.records import TrialHistory, TrialState

TWO = (("val_loss", "minimize"), ("val_accuracy", "maximize"))
points = st.lists(st.tuples(*[st.integers(0, 5).map(float)] * 3), max_size=30)


def trial(number: int, loss: float | None, accuracy: float | None = None, **changes: Any) -> TrialHistory:
    values: Mapping[str, float] = {} if accuracy is None else {"val_loss": loss or 0.0, "val_accuracy": accuracy}
    parts = {"state": TrialState.COMPLETE, "values": values, **changes}
    return TrialHistory(number=number, attempt=1, params={}, value=loss, best_epoch=0, curves={}, **parts)


def test_losses_turn_what_is_maximised_and_know_what_is_missing() -> None:
    assert losses({"val_loss": 0.5, "val_accuracy": 0.9, "other": 1.0}, TWO) == (0.5, -0.9)
    assert losses({"val_loss": 0.5}, TWO) is None
    assert losses({"val_loss": math.nan, "val_accuracy": 0.9}, TWO) is None


@given(points)
def test_a_front_holds_exactly_the_points_that_none_dominates(found: list[Point]) -> None:
    front: Front[int] = Front()
    for number, point in enumerate(found):
        front.add(number, point)

    expected = {
        number: point
        for number, point in enumerate(found)
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in found)
    }
    assert front.points() == expected


@given(points)
def test_the_knee_is_on_the_front_and_follows_no_scale(found: list[Point]) -> None:
    front: Front[int] = Front()
    for number, point in enumerate(found):
        front.add(number, point)
    picked = knee(front.points())
    stretched = {number: (a * 1024, b - 8, c / 4) for number, (a, b, c) in front.points().items()}

    assert (picked is None) == (not found)
    assert picked is None or picked in front.points()
    assert knee(stretched) == picked


@pytest.mark.parametrize(
    ("found", "number"),
    [
        ([(0.0, 10.0), (0.2, 3.0), (1.0, 0.0)], 1),
        ([(0.0, 1.0), (1.0, 0.0)], 0),  # equally near: the first objective decides
        ([(1.0, 0.0), (0.0, 1.0)], 1),
        ([(0.5, 5.0)], 0),
        ([(0.0, 5.0), (0.0, 5.0)], 0),
        ([(0.0, math.inf), (0.5, 1.0), (1.0, 0.0)], 1),
    ],
)
def test_the_knee_is_nearest_to_the_best_of_everything(found: list[Point], number: int) -> None:
    assert knee(dict(enumerate(found))) == number


def test_no_point_dominates_itself() -> None:
    assert not dominates((1.0, 2.0), (1.0, 2.0))


@pytest.mark.parametrize(
    ("pick", "best"), [("first", 2), ("knee", 1)], ids=["the best by the first objective", "the knee"]
)
def test_the_best_of_several_objectives_is_picked_from_the_front(pick: str, best: int) -> None:
    trials = [
        trial(0, 0.9, 0.99),
        trial(1, 0.3, 0.95),
        trial(2, 0.2, 0.5),
        trial(3, 0.2, 0.4),
        trial(4, 0.1, 0.999, violations={"seconds": 1.0}),
        trial(5, 0.1, 0.999, state=TrialState.PRUNED),
        trial(6, 0.1, math.nan),
    ]

    assert list(front_of(trials, TWO)) == [0, 1, 2]
    found = best_trial(trials, "minimize", TWO, pick)
    assert found is not None
    assert found.number == best


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 2)])
@pytest.mark.parametrize("pick", ["first", "knee"])
def test_the_best_by_one_objective_keeps_the_constraints_and_is_the_first_of_equals(
    direction: str, best: int, pick: str
) -> None:
    trials = [
        trial(7, 0.1),
        trial(0, 0.05, violations={"seconds": 0.1, "parameters": -3.0}),
        trial(1, 0.1, violations={"seconds": 0.0}),
        trial(3, 0.9),
        trial(2, 0.9),
        trial(4, None),
    ]

    found = best_trial(trials, direction, pick=pick)

    assert found is not None
    assert found.number == best


@pytest.mark.parametrize("pick", ["first", "knee"])
def test_where_no_trial_is_fit_there_is_no_best(pick: str) -> None:
    assert best_trial([trial(0, 0.5, violations={"a": 1.0}), trial(1, None)], "minimize", pick=pick) is None


@pytest.mark.parametrize(
    ("trials", "direction", "best"),
    [
        ([], "minimize", None),
        ([trial(0, 0.3), trial(1, 0.1), trial(2, 0.2)], "minimize", 1),
        ([trial(0, 0.3), trial(1, 0.1), trial(2, 0.2)], "maximize", 0),
        ([trial(2, 0.1), trial(0, 0.1), trial(1, 0.1)], "minimize", 0),
        ([trial(2, 0.1), trial(0, 0.1), trial(1, 0.1)], "maximize", 0),
        ([trial(0, 0.1, state=TrialState.PRUNED), trial(1, 0.5)], "minimize", 1),
        ([trial(0, 0.1, state=TrialState.FAILED), trial(1, 0.1, state=TrialState.RUNNING)], "minimize", None),
        ([trial(0, None), trial(1, 0.5)], "minimize", 1),
        ([trial(0, 0.0), trial(1, 0.5)], "minimize", 0),
        ([trial(0, -1.0), trial(1, 0.0)], "maximize", 1),
    ],
)
def test_the_best_trial_is_the_complete_one_with_the_best_value_and_the_first_of_equals(
    trials: list[TrialHistory], direction: str, best: int | None
) -> None:
    found = best_trial(trials, direction)

    assert (found and found.number) == best


@pytest.mark.parametrize(
    ("most", "direction", "numbers"), [(1, "minimize", [1]), (3, "minimize", [1, 3, 2]), (9, "maximize", [0, 2, 1, 3])]
)
def test_the_best_trials_come_best_first_and_equal_ones_in_their_order(
    most: int, direction: str, numbers: list[int]
) -> None:
    trials = [trial(0, 0.9), trial(1, 0.1), trial(2, 0.5), trial(3, 0.1), trial(4, 0.0, state=TrialState.PRUNED)]

    found = best_trials(trials, direction, (), "first", most)

    assert [each.number for each in found] == numbers


def test_the_best_of_several_objectives_come_front_by_front() -> None:
    trials = [trial(0, 0.1, 0.5), trial(1, 0.2, 0.9), trial(2, 0.3, 0.4), trial(3, 0.15, 0.45)]

    assert [each.number for each in best_trials(trials, "minimize", TWO, "first", 4)] == [0, 3, 1, 2]
