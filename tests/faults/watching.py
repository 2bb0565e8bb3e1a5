"""Moments of a running sweep, found by what it writes down and prints, so that a fault can come at that moment."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.tracking.entries import CheckpointKept, Entry, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import read_all
from tests.sites import Watched

RECIPE = "tests/faults/small.yaml"


@dataclass(frozen=True)
class SweepAt:
    """A sweep under way at a site, seen through its journal, which is only ever read here.

    `before` is how many entries there were when this start of it began.
    """

    folder: Path
    watched: Watched
    before: int = 0

    def entries(self) -> list[Entry]:
        return entries_in(self.folder)

    def epochs(self, trial: int | None = None) -> int:
        """Epochs that are written down so far, of one trial or of all."""
        return sum(
            isinstance(entry, Logged) and "val_loss" in entry.metrics and (trial is None or number(entry.uid) == trial)
            for entry in self.entries()
        )

    def trial_begun(self) -> bool:
        """Whether this very start has handed out a trial."""
        new = self.entries()[self.before :]
        return any(isinstance(entry, RunBegun) and number(entry.uid) is not None for entry in new)

    def trials_over(self) -> int:
        """Trials that came to their end."""
        kept = {entry.uid for entry in self.entries() if isinstance(entry, CheckpointKept)}
        ended = {entry.uid for entry in self.entries() if isinstance(entry, RunEnded) and entry.status != "KILLED"}
        return len(kept & ended)

    def until(self, condition: Callable[[], bool], timeout_s: float = 120) -> None:
        self.watched.until_true(condition, timeout_s)

    def let_run(self, seconds: float) -> None:
        """Lets it run for so long, or to its end where that is sooner."""
        with suppress(subprocess.TimeoutExpired):
            self.watched.process.wait(seconds)

    def let_run_until(self, condition: Callable[[], bool], most_s: float) -> None:
        """The same, at most until a condition holds."""
        deadline = time.monotonic() + most_s
        while self.watched.process.poll() is None and not condition() and time.monotonic() < deadline:
            self.let_run(0.05)

    def until_epochs(self, count: int, trial: int | None = None) -> None:
        self.until(lambda: self.epochs(trial) >= count)


def entries_in(folder: Path) -> list[Entry]:
    """What the journal in a study's folder holds; nothing where there is none."""
    journal = folder / "journal.jsonl"
    return list(read_all(journal)) if journal.exists() else []


def number(uid: str) -> int | None:
    """The trial that a run's own name ends with; None of a parent."""
    last = uid.rpartition("-")[2]
    return int(last) if len(last) == 5 and last.isdigit() else None
