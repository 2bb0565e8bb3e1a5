"""What a server should hold of each run, told from the part of the journal that it has taken."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.tracking.entries import Logged, RunBegun, RunEnded
from pipelines.tracking.journal import read_all

_LARGEST = 1e308
"""MLflow keeps an infinity as the largest number there is."""


@dataclass
class Told:
    """One run.

    Attributes:
        newest: By metric, the step and time of its newest point, and every value that was noted at those.
        points: Of the metrics that are looked at closely, every (step, value).
    """

    experiment: str
    status: str = "RUNNING"
    newest: dict[str, tuple[tuple[int, int], set[float | str]]] = field(default_factory=dict)
    points: dict[str, set[tuple[int, float | str]]] = field(default_factory=dict)

    def log(self, entry: Logged, closely: Collection[str]) -> None:
        """Takes the points of an entry."""
        at = (entry.step, entry.time_ms)
        for name, value in entry.metrics.items():
            newest, values = self.newest.get(name, (at, set()))
            if at > newest:
                newest, values = at, set()
            if at == newest:
                values.add(comparable(value))
            self.newest[name] = (newest, values)
            if name in closely:
                self.points.setdefault(name, set()).add((entry.step, comparable(value)))


def read_told(journal: Path, end: int, closely: Collection[str] = ()) -> dict[str, Told]:
    """Every run by uid, from the first `end` bytes of a journal."""
    runs: dict[str, Told] = {}
    for entry in read_all(journal, end):
        if isinstance(entry, RunBegun):
            runs.setdefault(entry.uid, Told(entry.experiment)).status = "RUNNING"
        elif entry.uid in runs:
            match entry:
                case Logged():
                    runs[entry.uid].log(entry, closely)
                case RunEnded():
                    runs[entry.uid].status = entry.status
    return runs


def comparable(value: float) -> float | str:
    """A value as it can be compared with what came back from a server."""
    if math.isnan(value):
        return "nan"
    return value if abs(value) < _LARGEST else math.copysign(math.inf, value)
