"""Drift: what comes in, and what goes out, held against what the training data looked like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.model_server.package import Contract
from services.model_server.traffic.binning import Bins, Counts, Part
from services.model_server.traffic.distances import by_chance, jensen_shannon, level, psi
from services.model_server.traffic.reference import Profile
from services.model_server.traffic.windows import Window

LEAST_ROWS = 100
"""Fewer rows than that say nothing about a distribution."""


class Drift:
    """The drift of one model version over a window."""

    def __init__(self, profile: Profile, contract: Contract, span_s: float, clock: Callable[[], float]) -> None:
        """Starts without traffic.

        Args:
            profile: Of the version's package.
            contract: Of the same.
            span_s: Over how many seconds traffic is counted.
            clock: Seconds, monotonic.
        """
        self.bins = Bins(profile, contract)
        self._labels = contract.labels
        self._window = Window(self.bins.size, span_s, clock)

    def add(self, counts: Counts) -> None:
        """Adds what `self.bins.count` returned."""
        self._window.add(counts)

    @property
    def rows(self) -> int:
        """Rows that were looked at since the start."""
        return int(self._window.total[0])

    def report(self) -> dict[str, Any]:
        """Returns rows and, of every group and of the answers, index, distance, level, and the shares of the bins."""
        sums = self._window.sums()
        rows = int(sums[0])
        return {
            "rows": rows,
            "least_rows": LEAST_ROWS,
            "training_rows": self.bins.rows_expected,
            "inputs": [self._compare(part, sums, rows) for part in self.bins.groups],
            "answers": self._compare(self.bins.output, sums, rows),
        }

    def _compare(self, part: Part, sums: Counts, rows: int) -> dict[str, Any]:
        found = sums[part.start : part.start + part.bins]
        entry: dict[str, Any] = {"name": part.name, "kind": part.kind, "psi": None, "js": None, "level": "unknown"}
        if rows >= LEAST_ROWS and part.expected.sum() > 0:
            index = psi(part.expected, found)
            # Values of one image depend on each other: what chance does is counted by images.
            chance = by_chance(int((part.expected + found > 0).sum()), self.bins.rows_expected, rows)
            entry |= {
                "psi": round(index, 6),
                "js": round(jensen_shannon(part.expected, found), 6),
                "by_chance": round(chance, 6),
                "level": level(index, chance),
            }
        if part.kind in ("number", "words"):
            entry["missing"] = _share(sums[part.start + part.bins + 1] if part.extra else found[-1], found.sum())
        if part.kind == "words":
            entry["unknown"] = _share(sums[part.start + part.bins], found.sum())
        if part.kind == "labels":
            entry["shares"] = {
                label: {"training": _share(was, part.expected.sum()), "now": _share(now, found.sum())}
                for label, was, now in zip(self._labels, part.expected, found, strict=True)
            }
        return entry


def _share(part: float, whole: float) -> float | None:
    return round(float(part / whole), 6) if whole else None
