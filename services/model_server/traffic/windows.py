"""Sums over the last hour or so, in bounded memory: a ring of parts, of which the oldest are forgotten."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PARTS = 12


class Window:
    """A vector of sums over the last `span_s` seconds, exact to a twelfth of it, and since the start."""

    def __init__(self, size: int, span_s: float, clock: Callable[[], float]) -> None:
        """Starts with zeros.

        Args:
            size: How many numbers the vector has.
            span_s: Over how many seconds it is summed.
            clock: Seconds, monotonic.
        """
        self.total: NDArray[np.float64] = np.zeros(size)
        """Sums since the start."""
        self._part_s = span_s / PARTS
        self._clock = clock
        self._parts: dict[int, NDArray[np.float64]] = {}

    def add(self, amounts: NDArray[np.float64]) -> None:
        """Adds a vector now."""
        self._forget()
        part = self._parts.setdefault(self._now(), np.zeros(len(self.total)))
        part += amounts
        self.total += amounts

    def sums(self) -> NDArray[np.float64]:
        """Returns the sums over the window."""
        self._forget()
        return np.sum(list(self._parts.values()), axis=0) if self._parts else np.zeros(len(self.total))

    def _now(self) -> int:
        return int(self._clock() // self._part_s)

    def _forget(self) -> None:
        oldest = self._now() - PARTS + 1
        for part in [part for part in self._parts if part < oldest]:
            del self._parts[part]
