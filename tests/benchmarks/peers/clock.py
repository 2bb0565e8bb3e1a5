"""Writes down when a peer's trials began and ended, so that the rest of its sweep can be extrapolated."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Clock:
    """Seconds since 1970 of what happened in this process, and the best value that came of it."""

    first_trial: float = 0.0
    trials: list[float] = field(default_factory=list)

    def trial_begins(self) -> None:
        self._begun = time.time()
        self.first_trial = self.first_trial or self._begun

    def trial_ended(self) -> None:
        self.trials.append(time.time() - self._begun)

    def write(self, path: Path, best: float) -> None:
        """What `tests.benchmarks.extrapolation` reads."""
        told = {"first_trial": self.first_trial, "trials": self.trials, "ended": time.time(), "best": best}
        path.write_text(json.dumps(told), encoding="utf-8")


def arguments(about: str | None) -> argparse.Namespace:
    """The command line of a peer."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--problem", type=Path, required=True, help="JSON file with the fields of `Problem`")
    parser.add_argument("--server", required=True, help="address of the MLflow server")
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where its files go")
    return parser.parse_args()
