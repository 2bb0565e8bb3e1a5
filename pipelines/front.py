"""Which trials are the best: the front of those that no other beats in everything, and the one that is picked from it.

Pure: points are numbers of which less is better, once `losses` has turned them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from pipelines.records import TrialHistory, TrialState

Point = tuple[float, ...]
Directed = Sequence[tuple[str, str]]
"""Objectives by name, each with its direction, the first one first."""
Key = TypeVar("Key", bound=Hashable)


def losses(values: Mapping[str, float], objectives: Directed) -> Point | None:
    """The values of the objectives, turned so that less is better; None where one is missing or no number."""
    point = tuple(
        values.get(name, math.nan) * (1.0 if direction == "minimize" else -1.0) for name, direction in objectives
    )
    return None if any(math.isnan(value) for value in point) else point


def dominates(one: Point, other: Point) -> bool:
    """Whether one is at least as good in everything, and better in something."""
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


class Front(Generic[Key]):
    """The points that no other dominates, kept up while points come in; equal ones stand side by side."""

    def __init__(self) -> None:
        """Begins with no points."""
        self._points: dict[Key, Point] = {}

    def add(self, key: Key, point: Point) -> None:
        """Takes one more point."""
        if any(dominates(other, point) for other in self._points.values()):
            return
        self._points = {other: theirs for other, theirs in self._points.items() if not dominates(point, theirs)}
        self._points[key] = point

    def points(self) -> dict[Key, Point]:
        """The points, in the order in which they came."""
        return dict(self._points)


def knee(points: Mapping[Key, Point]) -> Key | None:
    """The point that is nearest to the best of all objectives, each scaled to 0..1 over the points.

    Of equally near ones it is the one that is better by the first objective, then the one that came first.
    """
    if not points:
        return None
    scales = [(min(column), max(column)) for column in zip(*points.values(), strict=True)]

    def distance(point: Point) -> float:
        return math.hypot(*(_share(value, *scale) for value, scale in zip(point, scales, strict=True)))

    return min(points, key=lambda key: (round(distance(points[key]), 12), points[key]))


def rank(state: TrialState, values: Sequence[float | None], violations: Mapping[str, float]) -> float | None:
    """What a trial is ranked by where trials stand side by side, best first; None of one that may not win.

    Args:
        state: What came of it.
        values: Of all objectives, the first one first; None for one that it has no value of.
        violations: By constraint, by how much it is broken.
    """
    whole = all(value is not None and not math.isnan(value) for value in values)
    may_win = state is TrialState.COMPLETE and whole and all(broken <= 0 for broken in violations.values())
    return values[0] if values and may_win else None


def front_of(trials: Iterable[TrialHistory], objectives: Directed) -> dict[int, Point]:
    """The complete trials that keep all constraints and that no other of them beats, by number, as points."""
    front: Front[int] = Front()
    for trial in sorted(trials, key=lambda trial: trial.number):
        values = {**({objectives[0][0]: trial.value} if trial.value is not None else {}), **trial.values}
        point = losses(values, objectives)
        if trial.state is TrialState.COMPLETE and trial.feasible and point is not None:
            front.add(trial.number, point)
    return front.points()


def best_trial(
    trials: Iterable[TrialHistory], direction: str, objectives: Directed = (), pick: str = "first"
) -> TrialHistory | None:
    """The complete trial that is the best of those that keep all constraints; of equal ones, the first.

    Args:
        trials: All trials of a study.
        direction: Of the first objective.
        objectives: All objectives with their directions, the first one first; may be empty where there is only one.
        pick: How one is picked where there are several: `first` or `knee`, see `Promotion.pick`.
    """
    by_number = {trial.number: trial for trial in trials}
    points = front_of(by_number.values(), objectives or (("value", direction),))
    if pick == "knee":
        picked = knee(points)
        return None if picked is None else by_number[picked]
    return by_number[min(points, key=lambda number: (points[number], number))] if points else None


def best_trials(
    trials: Iterable[TrialHistory], direction: str, objectives: Directed, pick: str, most: int
) -> tuple[TrialHistory, ...]:
    """The best trials, at most so many, the best first: each is the best of those that are left; see `best_trial`."""
    left = list(trials)
    found: list[TrialHistory] = []
    while len(found) < most and (best := best_trial(left, direction, objectives, pick)) is not None:
        found.append(best)
        left.remove(best)
    return tuple(found)


def _share(value: float, lowest: float, highest: float) -> float:
    """Where a value stands between the ends of its objective, from 0 to 1; nowhere but at 0 where all are equal."""
    if value == lowest:
        return 0.0
    if math.isinf(value) or math.isinf(lowest):
        return 1.0
    return (value - lowest) / (highest - lowest)  # which is 0 where the highest is infinite
