"""A tracker that keeps everything in memory: for tests and for sweeps that nobody will look at."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.tracking.base import Refused, Tracker
from pipelines.tracking.entries import Logged, PictureKept, RunBegun


@dataclass
class MemoryRun:
    """One run as it was delivered."""

    uid: str
    name: str
    experiment_id: str
    parent_run_id: str | None
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    pictures: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    """By series, step and time."""

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) in order of steps."""
        return [(step, value) for (step, _), value in sorted(self.points.get(metric, {}).items())]


class MemoryTracker(Tracker):
    """Everything that was delivered, by run id, in `runs`."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self._experiments: dict[str, str] = {}
        self._lock = threading.Lock()

    def experiment(self, name: str) -> str:
        """Numbers experiments from 0."""
        with self._lock:
            return self._experiments.setdefault(name, str(len(self._experiments)))

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        """Makes a run, or takes up the one that has this uid."""
        with self._lock:
            known = next((run_id for run_id, run in self.runs.items() if run.uid == entry.uid), None)
            run_id = known or f"run-{len(self.runs)}"
            if known is None:
                self.runs[run_id] = MemoryRun(entry.uid, entry.name, experiment_id, parent_run_id)
            run = self.runs[run_id]
            run.status = "RUNNING"
            run.tags |= entry.tags
            run.params |= entry.params
            return run_id

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        """Keeps points by step and time."""
        run = self._run(run_id)
        for entry in entries:
            for key, value in entry.metrics.items():
                run.points.setdefault(key, {})[(entry.step, entry.time_ms)] = value
            run.tags |= entry.tags
            run.params |= entry.params

    def keep(self, run_id: str, path: Path, folder: str) -> None:
        """Reads the file."""
        if not path.is_file():
            raise Refused(f"{path} is gone")
        self._run(run_id).files[f"{folder}/{path.name}".lstrip("/")] = path.read_bytes()

    def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
        """Reads the file."""
        if not path.is_file():
            raise Refused(f"{path} is gone")
        self._run(run_id).pictures[(entry.key, entry.step, entry.time_ms)] = path.read_bytes()

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Sets the status."""
        self._run(run_id).status = status

    def _run(self, run_id: str) -> MemoryRun:
        if run_id not in self.runs:
            raise Refused(f"there is no run {run_id}")
        return self.runs[run_id]
