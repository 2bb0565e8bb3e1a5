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
        """Counts what is done in the block to `phase`; what other threads do meanwhile is not counted."""
        if threading.get_ident() != self._thread:
            yield
            return
        self._lap()
        self._running.append(phase)
        try:
            yield
        finally:
            self._lap()
            self._running.pop()

    def _lap(self) -> None:
        now = self._clock()
        if self._running:
            phase = self._running[-1]
            self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now
