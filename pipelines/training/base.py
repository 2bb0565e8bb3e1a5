"""What every trainer promises: a trial's config in, a stream of epoch events out, whoever computes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from pipelines.records import Event, TrialSpec, Verdict

Emit = Callable[[Event], Verdict]
"""Takes an event to the controller. The verdict that comes back may be about an earlier epoch; it never blocks long."""


class Trainer(Protocol):
    """Called by a worker, again and again, in one warm process."""

    def train(self, spec: TrialSpec, emit: Emit) -> None:
        """Trains one attempt to its end, emitting `Started`, an `EpochEnded` an epoch, checkpoints, and `Ended`.

        What the trial's own code raises ends up in `Ended`; only what ends the worker itself is raised.
        """


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
