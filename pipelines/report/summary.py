"""What the report says in numbers: who is best and by how much, what pruning saved, which curves are worth drawing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.tasks import SCORES

HIGHEST = 1e300  # stores keep an infinity as the largest double; beyond this a number is not meant as one


def is_number(value: object) -> bool:
    """Whether `value` is a number that can be drawn and compared; a bool is a choice and not a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < HIGHEST


def is_aside(metric: str) -> bool:
    """Whether a metric is for those who look closer, as `diagnostics/hidden_1/mean` is."""
    return "/" in metric


@dataclass(frozen=True)
class Saved:
    """What pruning saved, in epochs; `usual` is the median number of epochs of the complete trials."""

    usual: int
    epochs: int
    trained: int
    seconds: float | None

    @property
    def share(self) -> float:
        """The part, 0 to 1, of all the epochs that would have been trained without pruning."""
        return self.epochs / (self.epochs + self.trained) if self.epochs else 0.0


@dataclass(frozen=True)
class Summary:
    """The study as the report tells it. Everything is computed from the history, nothing is measured here."""

    history: StudyHistory

    @property
    def maximize(self) -> bool:
        """Whether a larger value is better."""
        return self.history.direction == "maximize"

    def in_state(self, state: TrialState) -> list[TrialHistory]:
        """The trials in that state, in order of their numbers."""
        return self._by_state[state]

    @cached_property
    def _by_state(self) -> dict[TrialState, list[TrialHistory]]:
        trials = sorted(self.history.trials, key=lambda trial: trial.number)
        return {state: [trial for trial in trials if trial.state is state] for state in TrialState}

    def value(self, trial: TrialHistory) -> float | None:
        """The trial's value; of one pruned or running without one, the best that its curve reached; None if failed."""
        if trial.state is TrialState.FAILED:
            return None
        if is_number(trial.value):
            return trial.value
        reached = [value for _, value in trial.curves.get(self.history.metric, ()) if is_number(value)]
        if trial.state is TrialState.COMPLETE or not reached:
            return None
        return max(reached) if self.maximize else min(reached)

    def merit(self, trial: TrialHistory) -> float:
        """A key that sorts the better trial first, and a trial without a value last."""
        value = self.value(trial)
        return math.inf if value is None else -value if self.maximize else value

    @cached_property
    def ranking(self) -> list[TrialHistory]:
        """The complete trials that have a value and keep all constraints, best first."""
        complete = [t for t in self.in_state(TrialState.COMPLETE) if self.value(t) is not None and t.feasible]
        return sorted(complete, key=self.merit)

    @cached_property
    def table(self) -> list[TrialHistory]:
        """All trials as a table lists them: the complete ones first, the best on top, and the failed ones last."""
        order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAILED)
        return sorted(
            self.history.trials, key=lambda t: (order.index(t.state), not t.feasible, self.merit(t), t.number)
        )

    @cached_property
    def infeasible(self) -> list[TrialHistory]:
        """The complete trials that break a constraint, in order of their numbers; none of them can win."""
        return [trial for trial in self.in_state(TrialState.COMPLETE) if not trial.feasible]

    @cached_property
    def best(self) -> TrialHistory | None:
        """The best complete trial, or the one that was picked from the front of several objectives.

        A pruned one cannot win: it was not seen to its end.
        """
        picked = [trial for trial in self.ranking if trial.number == self.history.picked]
        return next(iter([*picked, *self.ranking]), None)

    @property
    def margins(self) -> list[str]:
        """By how much the best trial beat the second and the median one, as sentences."""
        best = self.best
        if not best:
            return []
        if len(self.ranking) == 1:
            return ["It is the only complete trial with a value, so there is nothing to compare it with."]
        values = [value for value in map(self.value, self.ranking) if value is not None]
        middle = (f"the median of {len(values)} trials", median(values))
        if best is self.ranking[0]:
            value, others = values[0], [(f"the second, trial {self.ranking[1].number}", values[1]), middle]
        else:  # several objectives, and the knee of their front
            value = values[self.ranking.index(best)]
            others = [(f"the best by {self.history.metric} alone, trial {self.ranking[0].number}", values[0]), middle]
        said = [self._compared(value, other, name) for name, other in others]
        return [f"It is {said[0]}, and {said[1]}."]

    def _compared(self, value: float, other: float, name: str) -> str:
        """`0.02 (4.0%) below the second, trial 7 (0.5)`, or that they are level."""
        if value == other:
            return f"level with {name} ({number_text(other)})"
        word = "above" if value > other else "below"
        return f"{_difference(value, other)} {word} {name} ({number_text(other)})"

    @cached_property
    def saved(self) -> Saved | None:
        """What pruning saved; None when no trial was pruned or none is complete to compare with."""
        pruned, complete = self.in_state(TrialState.PRUNED), self.in_state(TrialState.COMPLETE)
        lengths = [epochs_of(trial) for trial in complete if epochs_of(trial)]
        if not pruned or not lengths:
            return None
        usual = round(median(lengths))
        epochs = sum(max(0, usual - epochs_of(trial)) for trial in pruned)
        paces = [trial.seconds / epochs_of(trial) for trial in complete if trial.seconds and epochs_of(trial)]
        trained = sum(epochs_of(trial) for trial in self.history.trials)
        return Saved(usual, epochs, trained, epochs * median(paces) if paces else None)

    @cached_property
    def params(self) -> dict[str, str]:
        """Every parameter's path with the shortest ending of it that no other one has, the important ones first."""
        paths = list(dict.fromkeys(path for trial in self.history.trials for path in trial.params))
        weight = self.history.importances
        paths.sort(key=lambda path: -weight[path] if is_number(weight.get(path)) else 0.0)
        return short_names(paths)

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that has a curve: the objective first, then in the order they were logged, those aside last."""
        names = dict.fromkeys(name for trial in self.history.trials for name, points in trial.curves.items() if points)
        return sorted(names, key=lambda name: (name != self.history.metric, is_aside(name), name == "learning_rate"))

    @cached_property
    def scores(self) -> dict[str, float]:
        """What the served model reached on the sealed test part, by name, what people look at first coming first."""
        champion = self.history.champion or {}
        found = {name: value for name, value in champion.items() if name.startswith("test_") and is_number(value)}
        order = max(SCORES.values(), key=lambda names: (set(names) <= found.keys(), len(found.keys() & set(names))))
        return dict(sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))

    def run_address(self, trial: TrialHistory) -> str | None:
        """Where the trial's run is, if one of the links shows where the experiment is."""
        for address in self.history.links.values():
            found = re.match(r"https?://[^#]*#/experiments/\d+(?=[/?]|$)", address)
            if found and trial.run_id:
                return f"{found[0]}/runs/{trial.run_id}?workflowType=machine_learning"
        return None


def _difference(value: float, other: float) -> str:
    """How far apart two values are; a share only where the scale has a zero that means something."""
    apart = abs(value - other)
    share = f" ({apart / abs(other):.1%})" if value > 0 and other > 0 else ""
    return f"{number_text(apart, 3)}{share}"


def epochs_of(trial: TrialHistory) -> int:
    """How many epochs the trial trained."""
    return max((len(points) for points in trial.curves.values()), default=0)


def broken(trial: TrialHistory) -> list[str]:
    """The constraints that the trial breaks, each with by how much: `val_accuracy by 0.02`."""
    return [f"{name} by {number_text(by, 3)}" for name, by in trial.violations.items() if by > 0]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The shortest dotted ending of each path that is no ending of another: `adam.learning_rate`, `units.0`."""
    paths = list(paths)
    endings: dict[str, int] = {}
    for path in paths:
        parts = path.split(".")
        for start in range(len(parts)):
            ending = ".".join(parts[start:])
            endings[ending] = endings.get(ending, 0) + 1
    return {
        path: next((end for end in _endings(path) if endings[end] == 1 and not end.isdecimal()), path) for path in paths
    }


def _endings(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[start:]) for start in reversed(range(len(parts)))]


def thin(points: Sequence[tuple[int, float]], most: int, keep: int | None = None) -> list[tuple[int, float]]:
    """At most `most` of the points, evenly spread, with the first, the last and the one of epoch `keep` among them."""
    if len(points) <= most or most < 3:
        return list(points)
    step = (len(points) - 1) / (most - 2)
    places = {round(step * place) for place in range(most - 1)}
    return [point for place, point in enumerate(points) if place in places or point[0] == keep]


def sample(trials: Sequence[TrialHistory], most: int) -> list[TrialHistory]:
    """At most `most` of the trials, given best first: the better half of the room for the best, the rest spread out."""
    if len(trials) <= most:
        return list(trials)
    best = most // 2
    rest = trials[best:]
    step = len(rest) / (most - best)
    return [*trials[:best], *(rest[int(step * place)] for place in range(most - best))]


def number_text(value: object, digits: int = 5) -> str:
    """A number as people read it, and anything else as it prints."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def duration_text(seconds: float | None) -> str:
    """`2 h 5 min`, `3 min 20 s`, `4.2 s`."""
    if seconds is None or not is_number(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def params_lines(params: Mapping[str, Any], names: Mapping[str, str], most: int = 14) -> list[str]:
    """One `name: value` a line, in the order of `names`."""
    lines = [f"{short}: {number_text(params[path], 4)}" for path, short in names.items() if path in params]
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]
