"""Who follows a sweep while it runs: the live display, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pipelines.controller.budgets import Ending
from pipelines.controller.failures import Remedy
from pipelines.records import EpochEnded, TrialResult, TrialSpec
from pipelines.study import Counts


class Watcher(Protocol):
    """Told by the controller, in its own thread, what happens."""

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        """The controller is about to ask for its first trial."""

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        """A worker was given a trial."""

    def epoch(self, worker: int, event: EpochEnded) -> None:
        """A worker has finished an epoch."""

    def ended(self, result: TrialResult, counts: Counts) -> None:
        """A trial is over."""

    def trouble(self, worker: int, text: str, remedies: Mapping[int, Remedy]) -> None:
        """A worker died, or a trial met with trouble of another kind; what becomes of which trial."""

    def ending(self, ending: Ending) -> None:
        """Running trials are to stop after the epoch they are at."""
