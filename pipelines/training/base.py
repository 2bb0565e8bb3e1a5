"""What every trainer promises: a trial's config in, a stream of epoch events out, whoever computes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from pipelines.records import Event, TrialSpec, Verdict

Emit = Callable[[Event], Verdict]
"""Takes an event to the controller. The verdict that comes back may be about an earlier epoch; it never blocks long."""


class Trials(Protocol):
    """The trials that come to a trainer."""

    def take(self) -> tuple[TrialSpec, Emit] | None:
        """The next attempt to train, and who hears of it; None where none is waiting. It does not wait for one."""

    def offer(self, places: int) -> None:
        """Says that there is room for so many more, beside those that were offered room before."""


class Trainer(Protocol):
    """Called by a worker, again and again, in one warm process."""

    def work(self, trials: Trials) -> None:
        """Trains what comes, and returns when nothing is left to be trained.

        It is called once when nothing has come yet, to say how much room there is. Of each attempt it emits `Started`,
        an `EpochEnded` an epoch, checkpoints, and `Ended`. What a trial's own code raises ends up in `Ended`; only what
        ends the worker itself is raised.
        """


class OneAtATime:
    """The trainer of attempts that take the worker for themselves."""

    def __init__(self, train: Callable[[TrialSpec, Emit], None]) -> None:
        """Takes what trains one attempt to its end."""
        self._train = train
        self._offered = False

    def work(self, trials: Trials) -> None:
        """See `Trainer`."""
        if not self._offered:
            self._offered = True
            trials.offer(1)
        while (found := trials.take()) is not None:
            self._train(*found)
            trials.offer(1)


class Best:
    """The best epoch so far. A value that is not finite is never the best."""

    def __init__(self, direction: str) -> None:
        """Takes `minimize` or `maximize`."""
        self._sign = 1.0 if direction == "minimize" else -1.0
        self.value: float | None = None
        self.epoch: int | None = None

    def improved_by(self, value: float, epoch: int) -> bool:
        """Notes `value`, and says whether it is better than all before it."""
        if not math.isfinite(value) or (self.value is not None and self._sign * value >= self._sign * self.value):
            return False
        self.value, self.epoch = value, epoch
        return True
