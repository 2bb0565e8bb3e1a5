"""Where the time of an attempt goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up seconds by phase. Time in a phase within a phase counts for the inner one alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._running: list[str] = []
        self._since = 0.0
        self._thread = threading.get_ident()

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Counts what is done in the block to `phase`. Another thread may do so, too, without phases within phases."""
        if threading.get_ident() != self._thread:
            begun = self._clock()
            try:
                yield
            finally:
                self.add(phase, self._clock() - begun)
            return
        self._lap()
        self._running.append(phase)
        try:
            yield
        finally:
            self._lap()
            self._running.pop()

    def add(self, phase: str, seconds: float) -> None:
        """Counts time that was measured elsewhere, such as a share of what several trainings took together."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @property
    def total(self) -> float:
        """Seconds of all phases by now, the running one included."""
        return sum(self.seconds.values()) + (self._clock() - self._since if self._running else 0.0)

    def _lap(self) -> None:
        now = self._clock()
        if self._running:
            phase = self._running[-1]
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now
