"""What to expect of a trial that is under way: the chain of what trials gained from each epoch to the next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from optuna.trial import FrozenTrial, TrialState

MOST = 500
"""Trials whose gain from one epoch to the next is looked at, at most: the latest, of regions like those of the trials
under way."""


@dataclass
class _Step:
    """What trials gained from an epoch to the next, as a share and as a difference."""

    shares: deque[float] = field(default_factory=lambda: deque(maxlen=MOST))
    differences: deque[float] = field(default_factory=lambda: deque(maxlen=MOST))


@dataclass
class _Learnt:
    """How much of a trial's curve is known already: its epochs, and its best value by the last of them."""

    reported: int = 0
    epoch: int = -1
    best: float = math.nan


class Curves:
    """What trials had shown by each epoch, over or not: enough to say what to expect of those that are not over.

    This is the chain ladder, by which insurers tell what young claims will have come to: from each epoch to the next,
    the middle one of all trials that have come so far tells what is gained, and the chain of these steps leads from
    what a trial has shown to the furthest epoch that any has reached. So trials under way teach it, too, and it has
    something to say as soon as two trials can be compared, long before the first is over.
    """

    def __init__(self, best: Callable[[Iterable[float]], float]) -> None:
        """Takes `min` or `max`, whichever value counts."""
        self._best = best
        self._learnt: dict[int, _Learnt] = {}
        self._steps: dict[int, _Step] = {}
        self._positive = True
        self._constrained = False
        self._chain: list[float] | None = None

    @property
    def constrained(self) -> bool:
        """Whether there are constraints, of which nothing is known before a trial's end."""
        return self._constrained

    def learn(self, trials: Iterable[FrozenTrial]) -> None:
        """Takes in trials, as far as they have come; what it knows already costs next to nothing."""
        for trial in trials:
            if trial.state is TrialState.COMPLETE:
                self._constrained = self._constrained or bool(trial.constraints)
            values = trial.intermediate_values
            learnt = self._learnt.get(trial.number)
            if learnt is None:
                learnt = self._learnt[trial.number] = _Learnt()
            if learnt.reported != len(values):
                learnt.reported = len(values)
                self._go_on(learnt, _finite(values))

    def expected(self, values: dict[int, float]) -> float | None:
        """The value to expect of a trial that has shown these, by epoch, once it has come as far as any has.

        What is gained on the way counts as a share of what was shown where nothing is negative or 0, as with losses
        and accuracies, and as a difference otherwise.

        Returns:
            None where it has shown nothing, or there are constraints.
        """
        values = _finite(values)
        if not values or self._constrained:
            return None
        shown, chain, epoch = self._best(values.values()), self._chained(), max(values)
        gain = chain[epoch] if epoch < len(chain) else 1.0 if self._positive else 0.0
        return shown * gain if self._positive else shown + gain

    def _go_on(self, learnt: _Learnt, values: dict[int, float]) -> None:
        """Notes what was gained in epochs that are new."""
        for epoch, value in values.items():
            if epoch <= learnt.epoch:
                continue
            self._positive = self._positive and value > 0
            best = value if math.isnan(learnt.best) else self._best((learnt.best, value))
            if learnt.epoch == epoch - 1 and learnt.epoch >= 0:
                step = self._steps.setdefault(learnt.epoch, _Step())
                step.differences.append(best - learnt.best)
                if self._positive:
                    step.shares.append(best / learnt.best)
            learnt.epoch, learnt.best = epoch, best
            self._chain = None

    def _chained(self) -> list[float]:
        """By epoch, what is still to be gained from there to the furthest."""
        if self._chain is None:
            gain, chain = (1.0 if self._positive else 0.0), []
            for epoch in range(max(self._steps, default=-1), -1, -1):
                if epoch in self._steps:
                    step = self._steps[epoch]
                    gain = gain * median(step.shares) if self._positive else gain + median(step.differences)
                chain.append(gain)
            self._chain = chain[::-1]
        return self._chain


def _finite(values: dict[int, float]) -> dict[int, float]:
    """Values by epoch, in the order of the epochs, without those that are no numbers."""
    return {epoch: values[epoch] for epoch in sorted(values) if math.isfinite(values[epoch])}
