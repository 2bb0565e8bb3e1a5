"""What a study has come to, read back from its journal: for reports, promotion, and a controller that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.config import SweepConfig
from pipelines.home import StudyFolder
from pipelines.records import CallbackAct, StudyHistory, TrialHistory, TrialPicture, TrialState
from pipelines.tracking.entries import Entry, FileKept, Logged, PictureKept, RunBegun, RunEnded
from pipelines.tracking.journal import read_all

ACTS_FILE = "callback_events.json"


@dataclass
class RunHistory:
    """One run as its entries tell it."""

    uid: str
    parent: str | None
    begun_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, dict[int, str]] = field(default_factory=dict)
    status: str = "RUNNING"

    @property
    def number(self) -> int | None:
        """The trial's number; None for a run that is no trial."""
        return int(self.tags["regatta.trial"]) if "regatta.trial" in self.tags else None

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved training config."""
        config: dict[str, Any] = json.loads(self.tags["regatta.config"])
        return config

    def points(self) -> dict[str, list[tuple[int, float]]]:
        """(epoch, value) by metric, in order of epochs."""
        return {name: sorted(values.items()) for name, values in self.curves.items()}

    def checkpoint(self, root: Path) -> Path | None:
        """The best epoch's checkpoint, below the journal's folder."""
        found = next((path for path, folder in self.files.items() if folder == "checkpoint"), None)
        return root / found if found else None

    def picture(self, series: str, best_epoch: int | None) -> tuple[int, str]:
        """The epoch and the path of the best epoch's picture, or of the nearest; the last where none is the best."""
        steps = self.pictures[series]
        step = max(steps) if best_epoch is None else min(steps, key=lambda step: (abs(step - best_epoch), step))
        return step, steps[step]

    def acts(self, root: Path) -> tuple[CallbackAct, ...]:
        """What callbacks did in the last attempt, as the file below the journal's folder tells it."""
        path = next((path for path in reversed(self.files) if PurePosixPath(path).name == ACTS_FILE), None)
        return _read_acts(root / path) if path else ()

    def as_trial(self, metric: str, run_id: str | None, root: Path | None = None) -> TrialHistory:
        """The run as a trial of a report; with `root`, the journal's folder, it also tells what lies in files."""
        best = self.summary.get("best.epoch")
        best_epoch = None if best is None else int(best)
        pictures: dict[str, TrialPicture] = {}
        if root is not None:
            for series in self.pictures:
                step, path = self.picture(series, best_epoch)
                pictures[series] = TrialPicture(step, str(root / path))
        return TrialHistory(
            number=self.number or 0,
            attempt=int(self.tags.get("regatta.attempt", "1")),
            state=TrialState(self.tags.get("regatta.state", "RUNNING")),
            params=json.loads(self.tags.get("regatta.sampled", "{}")),
            value=self.summary.get(f"best.{metric}"),
            best_epoch=best_epoch,
            curves={name: tuple(points) for name, points in self.points().items()},
            seconds=self.summary.get("seconds"),
            run_id=run_id,
            reason=self.tags.get("regatta.reason") or None,
            pictures=pictures,
            acts=self.acts(root) if root is not None else (),
        )


def read_runs(entries: Iterable[Entry]) -> dict[str, RunHistory]:
    """All runs of a journal, by uid, in the order in which they were begun."""
    runs: dict[str, RunHistory] = {}
    for entry in entries:
        match entry:
            case RunBegun():
                run = runs.setdefault(entry.uid, RunHistory(entry.uid, entry.parent, entry.time_ms))
                run.tags |= entry.tags
                run.status = "RUNNING"
            case Logged() if entry.uid in runs:
                run = runs[entry.uid]
                run.tags |= entry.tags
                # what is known of a trial when it is over comes in one entry with its `seconds`, an epoch with a loss
                concluding = "seconds" in entry.metrics and "loss" not in entry.metrics
                for name, value in entry.metrics.items():
                    if concluding or name == "seconds" or name.startswith("best."):
                        run.summary[name] = value
                    else:
                        run.curves.setdefault(name, {})[entry.step] = value
            case FileKept() if entry.uid in runs:
                files = runs[entry.uid].files
                files.pop(entry.path, None)  # so that what was kept last stands last
                files[entry.path] = entry.folder
            case PictureKept() if entry.uid in runs:
                runs[entry.uid].pictures.setdefault(entry.key, {})[entry.step] = entry.path
            case RunEnded() if entry.uid in runs:
                runs[entry.uid].status = entry.status
    return runs


def _read_acts(path: Path) -> tuple[CallbackAct, ...]:
    """The acts in a file; none where there is no such file any more, and without those that are told to be left out."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return tuple(CallbackAct(**act) for act in listed if act["epoch"] is not None)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def best_value(runs: Iterable[RunHistory], metric: str, direction: str) -> float | None:
    """The best value of the complete trials among `runs`; None where there is none."""
    trials = [run.as_trial(metric, None) for run in runs if run.number is not None]
    values = [trial.value for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    return (min if direction == "minimize" else max)(values, default=None)


def gather(
    folder: StudyFolder,
    config: SweepConfig,
    run_id: Callable[[str], str | None],
    *,
    importances: Mapping[str, float],
    champion: Mapping[str, Any] | None,
    links: Mapping[str, str],
    seconds: float | None,
) -> StudyHistory:
    """A study as a report shows it; `run_id` tells the server's id of a run's uid."""
    objective = config.objective
    runs = read_runs(read_all(folder.journal)).values()
    trials = [run.as_trial(objective.metric, run_id(run.uid), folder.root) for run in runs if run.number is not None]
    return StudyHistory(
        study=config.study,
        metric=objective.metric,
        direction=objective.sense,
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        importances=importances,
        champion=champion,
        links=links,
        seconds=seconds,
    )
