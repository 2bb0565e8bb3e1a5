"""Keeps the best checkpoints of a sweep, and drops the others while it runs: files here, models in the tracker."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.controller.retention import Kept, Retention
from pipelines.history import RunHistory
from pipelines.recipe.config import Checkpoints, Objective
from pipelines.records import TrialResult
from pipelines.tracking.entries import CHECKPOINT_BYTES
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run


class Keeper:
    """The checkpoints of one study, of all its starts."""

    def __init__(
        self,
        policy: Checkpoints,
        objective: Objective,
        journal: Journal,
        front: Callable[[], Container[int]] = tuple,
    ) -> None:
        """Takes what may stay, what trials are compared by, and the record in which the rest is noted.

        Args:
            policy: What may stay.
            objective: What trials are compared by.
            journal: The record.
            front: Numbers of trials that stay in any case: where there are several objectives, any of them may win.
        """
        protected = _OnFront(front, {})
        self._retention = Retention(policy.keep, int(policy.most_mb * (1 << 20)), objective.sense, protected)
        self._numbers = protected.numbers
        self._metric = objective.metric
        self._journal = journal
        self._runs: dict[int, str] = {}

    def take_up(self, runs: Iterable[RunHistory], root: Path) -> None:
        """Takes up the checkpoints that an earlier controller left."""
        for run in runs:
            path = run.checkpoint(root)
            if run.number is None or path is None or run.status == "RUNNING":
                continue
            trial = run.as_trial(self._metric, None)
            size = _size_of(path, run)
            if trial.dropped is None and size is not None:
                sha256 = run.tags.get("regatta.checkpoint_sha256", "")
                self._add(
                    Kept(trial.number, trial.state, trial.value, size, path, sha256, trial.feasible),
                    run.uid,
                )

    def ended(self, result: TrialResult, uid: str) -> int:
        """Takes up what a trial has left, and returns the bytes of its checkpoint; 0 where it has none."""
        if result.checkpoint is None or result.checkpoint_sha256 is None:
            return 0
        path = Path(result.checkpoint)
        here = path.stat().st_size if path.is_file() else 0
        size = here if result.checkpoint_bytes is None else result.checkpoint_bytes
        self._add(
            Kept(result.number, result.state, result.value, size, path, result.checkpoint_sha256, result.feasible), uid
        )
        return size

    def _add(self, kept: Kept, uid: str) -> None:
        self._runs[kept.number] = uid
        self._numbers[kept.sha256] = kept.number
        for drop in self._retention.add(kept):
            # noted first: a file without a note would be missed, a note without its file is mended by `reconcile`
            run = Run(self._journal, self._runs[drop.kept.number])
            run.drop_checkpoint(drop.kept.sha256, drop.reason)
            drop.kept.path.unlink(missing_ok=True)


def _size_of(path: Path, run: RunHistory) -> int | None:
    """Bytes of a run's checkpoint, which may be with the tracker alone; None where there is none any more."""
    if path.is_file():
        return path.stat().st_size
    delivered = bool(run.checkpoints) and run.checkpoints[-1].delivered
    return int(run.summary.get(CHECKPOINT_BYTES, 0)) if delivered else None


@dataclass(frozen=True)
class _OnFront:
    """Digests of the checkpoints of trials that are on the front at the moment."""

    front: Callable[[], Container[int]]
    numbers: dict[str, int]

    def __contains__(self, sha256: object) -> bool:
        return self.numbers.get(str(sha256)) in self.front()
