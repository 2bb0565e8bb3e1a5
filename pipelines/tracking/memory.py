"""A tracker that keeps everything in memory: for tests and for sweeps that nobody will look at."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.tracking.base import CHECKPOINT_TAG, UID_TAG, Refused, Tracker, dropped_text
from pipelines.tracking.entries import (
    RUN_NAME,
    TAGS_OF_AN_END,
    CheckpointDropped,
    CheckpointKept,
    Logged,
    PictureKept,
    RunBegun,
)
from pipelines.tracking.holdings import DamagedVersion, HeldCheckpoint, HeldRun


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
    dataset: dict[str, str] = field(default_factory=dict)
    points: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    pictures: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    """By series, step and time."""

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) in order of steps."""
        return [(step, value) for (step, _), value in sorted(self.points.get(metric, {}).items())]


@dataclass
class MemoryModel:
    """One checkpoint as it was delivered. `file` is its name and content, `reached` says that a version reaches it."""

    run_id: str
    entry: CheckpointKept
    status: str = "PENDING"
    file: tuple[str, bytes] | None = None
    reached: bool = False
    tags: dict[str, str] = field(default_factory=dict)


class MemoryTracker(Tracker):
    """Everything that was delivered: runs by id, checkpoints by model id, and `damaged` versions that a test names."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.models: dict[str, MemoryModel] = {}
        self.damaged: list[DamagedVersion] = []
        self._experiments: dict[str, str] = {}
        self._made = 0
        self._lock = threading.Lock()

    def experiment(self, name: str) -> str:
        """Numbers experiments from 0."""
        with self._lock:
            return self._experiments.setdefault(name, str(len(self._experiments)))

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        """Makes a run, or takes up the one that has this uid."""
        with self._lock:
            known = next((run_id for run_id, run in self.runs.items() if run.uid == entry.uid), None)
            run_id = known or f"run-{self._made}"
            if known is None:
                self._made += 1
                self.runs[run_id] = MemoryRun(entry.uid, entry.name, experiment_id, parent_run_id)
            run = self.runs[run_id]
            run.status = "RUNNING"
            run.tags = {key: value for key, value in run.tags.items() if key not in TAGS_OF_AN_END} | dict(entry.tags)
            run.params |= entry.params
            run.dataset |= entry.dataset
            run.name = entry.tags.get(RUN_NAME, run.name)
            return run_id

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        """Keeps points by step and time."""
        run = self._run(run_id)
        for entry in entries:
            for key, value in entry.metrics.items():
                run.points.setdefault(key, {})[(entry.step, entry.time_ms)] = value
            run.tags |= entry.tags
            run.params |= entry.params
            run.name = entry.tags.get(RUN_NAME, run.name)

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

    def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
        """Reads the file, and takes up a model of the same run and digest where there is one."""
        self._run(run_id)
        with self._lock:
            model_id = next(iter(self._models_of(run_id, entry.sha256)), None)
            if model_id is not None and self.models[model_id].status == "READY":
                return
            if not path.is_file():
                raise Refused(f"{path} is gone")
            model_id = model_id or f"m-{len(self.models)}"
            model = self.models.setdefault(model_id, MemoryModel(run_id, entry))
            model.file, model.status = (path.name, path.read_bytes()), "READY"
        for key, value in entry.metrics.items():
            self.runs[run_id].points.setdefault(key, {})[(entry.step, entry.time_ms)] = value

    def drop_checkpoint(self, run_id: str, entry: CheckpointDropped) -> None:
        """Forgets the model, unless it is `reached`."""
        run = self._run(run_id)
        with self._lock:
            reached = False
            for model_id in self._models_of(run_id, entry.sha256):
                reached = reached or self.models[model_id].reached
                if not self.models[model_id].reached:
                    del self.models[model_id]
            kept = "kept: a registered version needs it"
            run.tags[CHECKPOINT_TAG] = kept if reached else dropped_text(entry.reason)

    def has_run(self, run_id: str, uid: str) -> bool:
        """Whether the run is there."""
        return run_id in self.runs and self.runs[run_id].uid == uid

    def held_runs(self, experiment: str, tag: str, value: str) -> list[HeldRun]:
        """Looks through all runs."""
        experiment_id = self._experiments.get(experiment)
        return [
            HeldRun(run_id, run.uid, run.status, run.tags, {key: max(at.items())[1] for key, at in run.points.items()})
            for run_id, run in self.runs.items()
            if run.experiment_id == experiment_id and {**run.tags, UID_TAG: run.uid}.get(tag) == value
        ]

    def history(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """All points."""
        return {
            run_id: [(step, value) for (step, _), value in self._run(run_id).points.get(metric, {}).items()]
            for run_id in run_ids
        }

    def discard(self, run_id: str, reason: str) -> None:
        """Forgets the run."""
        self.runs.pop(run_id, None)

    def held_checkpoints(self, experiment: str) -> list[HeldCheckpoint]:
        """All models."""
        return [
            HeldCheckpoint(model_id, self.runs[model.run_id].uid, model.entry.sha256, model.status)
            for model_id, model in self.models.items()
            if model.run_id in self.runs and self.runs[model.run_id].experiment_id == self._experiments.get(experiment)
        ]

    def fetch_checkpoint(self, model_id: str, folder: Path) -> Path:
        """Writes the file."""
        model = self.models.get(model_id)
        if model is None or model.file is None:
            raise Refused(f"there is no file of {model_id}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / model.file[0]).write_bytes(model.file[1])
        return folder / model.file[0]

    def fail_checkpoint(self, model_id: str, reason: str) -> None:
        """Sets the status."""
        self.models[model_id].status = "FAILED"
        self.models[model_id].tags["regatta.reason"] = reason

    def damaged_versions(self, name: str, expected: str | None = None) -> list[DamagedVersion]:
        """Those that a test has put into `damaged`."""
        return [version for version in self.damaged if version.name == name]

    def _models_of(self, run_id: str, sha256: str) -> list[str]:
        return [
            model_id
            for model_id, model in self.models.items()
            if (model.run_id, model.entry.sha256) == (run_id, sha256)
        ]

    def _run(self, run_id: str) -> MemoryRun:
        if run_id not in self.runs:
            raise Refused(f"there is no run {run_id}")
        return self.runs[run_id]
