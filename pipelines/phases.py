"""What the time of a sweep goes to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Phases:
    """Wall seconds by phase, in the order in which the phases were first met."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Counts what happens inside as a phase; the same name again adds to it."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def with_earlier(self, earlier: Mapping[str, float]) -> dict[str, float]:
        """The same, with what earlier starts spent added to each phase."""
        return {name: earlier.get(name, 0.0) + self.seconds.get(name, 0.0) for name in {**earlier, **self.seconds}}
