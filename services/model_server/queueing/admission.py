"""Whether a request that has to wait is let into a model's queue: by when it would be answered, not by how many wait.

One that would come too late is refused when it comes. So is, while a crowd stays (see `crowd`), one that would wait for
longer than a usual one takes: what is let in is answered about as soon as on a quiet day.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from services.model_server.errors import Overloaded
from services.model_server.queueing.crowd import Crowd

# While a crowd stays, a request may wait for this many times what a usual one costs.
PATIENCE = 1.5
# How much one batch, or one request, weighs in the averages of those before it.
_WEIGHT = 0.2
# A batch that took longer or shorter by more than this was held up, or was measured wrongly.
_LEAST, _MOST = 0.1, 100.0


class Admission:
    """Estimates waits of one model's queue. Used on the event loop only."""

    def __init__(self, estimate_s: Callable[[int], float], max_batch: int, crowd: Crowd | None) -> None:
        """Starts with an idle model.

        Args:
            estimate_s: Seconds of a call by its rows, as measured at warm-up.
            max_batch: The most rows of one call.
            crowd: Says when too many wait; nobody ever does if it is None.
        """
        self._estimate_s, self._max_batch = estimate_s, max_batch
        self._crowd = crowd or Crowd(0)
        self._pace = 1.0  # what batches took, by their estimates
        self._usual_s = 0.0  # what a request costs that has to wait
        self._refused = 0  # since the last batch
        self._demand_s = 0.0  # of work, by all who asked since then while a crowd stayed
        self._busy_until = 0.0

    @property
    def tight(self) -> bool:
        """Whether a crowd stays."""
        return self._crowd.tight

    def seconds(self, rows: int) -> float:
        """Estimates how long so many rows take, in as many batches as it needs, at the pace of the last batches."""
        batches, rest = divmod(rows, self._max_batch)
        seconds = batches * self._estimate_s(self._max_batch) + (self._estimate_s(rest) if rest else 0.0)
        return seconds * self._pace

    def check(self, rows: int, deadline: float, now: float, waiting_rows: int) -> None:
        """Lets a request in, or refuses it.

        Args:
            rows: Its rows.
            deadline: When its answer is of no use any more.
            now: On the same clock.
            waiting_rows: The rows before it that are in no batch yet.

        Raises:
            Overloaded: it would be answered too late, by what batches took so far.
        """
        own_s = self.seconds(rows)
        wait_s = max(0.0, self._busy_until - now)
        if waiting_rows:
            wait_s += self.seconds(waiting_rows)
        self._usual_s += (own_s - self._usual_s) * (_WEIGHT if self._usual_s else 1.0)
        if self._crowd.tight:
            # as part of a full batch, which is what it would cost if all were let in
            self._demand_s += rows * self.seconds(self._max_batch) / self._max_batch
        if self._crowd.tight and wait_s > PATIENCE * self._usual_s:
            self._refused += 1
        elif not (wait_s and now + wait_s + own_s > deadline):
            return
        raise Overloaded(
            f"The model has more to do than it can: this request would wait for about {wait_s:.3g} s. Try again later.",
            max(1, math.ceil(min(wait_s, 60.0))),
        )

    def turn(self, queued: int) -> None:
        """Notes how many requests are queued when a batch is put together."""
        self._crowd.turn(queued + self._refused, self._demand_s)
        self._refused, self._demand_s = 0, 0.0

    def begins(self, rows: int, now: float) -> None:
        """Notes that a batch is handed over."""
        self._busy_until = now + self.seconds(rows)

    def ended(self, rows: int, took_s: float) -> None:
        """Notes what a batch took."""
        self._busy_until = 0.0
        by_estimate = took_s / max(self._estimate_s(rows), 1e-6)
        self._pace += (min(max(by_estimate, _LEAST), _MOST) - self._pace) * _WEIGHT
