"""What a study has come to, read back from its journal: for reports, promotion, and a controller that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.front import best_trial, front_of
from pipelines.home import StudyFolder
from pipelines.own.digest import CODE_SHA256_TAG
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.distributions import FloatRange, IntRange
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import CallbackAct, StudyHistory, TrialHistory, TrialPicture, TrialState
from pipelines.tracking.durations import Untold, concludes
from pipelines.tracking.durations import wall_seconds as wall_seconds  # for those who ask for `device_seconds`, too
from pipelines.tracking.entries import (
    RANKED,
    TAGS_OF_AN_END,
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
    of_the_machine,
)
from pipelines.tracking.journal import read_all

ACTS_FILE = "callback_events.json"
_PHASE = "system/seconds_"
_TRACKING = "tracking_seconds"


@dataclass(frozen=True)
class NotedCheckpoint:
    """A checkpoint as the journal tells it.

    Attributes:
        path: Below the journal's folder.
        sha256: Of the file.
        epoch: Whose model it is.
        dropped: Why it is not kept any more, or None.
        delivered: Whether the machine that made it brought it to the tracker: there need be no file on this disk.
    """

    path: str
    sha256: str
    epoch: int
    dropped: str | None = None
    delivered: bool = False


@dataclass
class RunHistory:
    """One run as its entries tell it.

    Attributes:
        begun_ms: When it was begun first.
        last_ms: When it was last heard of.
        summary: What is known of the run as a whole, such as `best.val_loss` and `seconds`.
        curves: By metric, the values by epoch.
        files: Where each goes among the artifacts, by path; what was kept last stands last.
        checkpoints: In order; only the last one may be not dropped.
        untold_s: Seconds of attempts that nobody came to tell of any more, as their controller was gone.
    """

    uid: str
    parent: str | None
    begun_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    summary: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, dict[int, str]] = field(default_factory=dict)
    status: str = "RUNNING"
    last_ms: int = 0
    checkpoints: list[NotedCheckpoint] = field(default_factory=list)
    untold_s: float = 0.0

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
        """The best epoch's checkpoint, below the journal's folder; its file may be dropped by now."""
        if self.checkpoints:
            return root / self.checkpoints[-1].path
        # as it was noted before checkpoints were models
        found = next((path for path, folder in self.files.items() if folder == "checkpoint"), None)
        return root / found if found else None

    @property
    def dropped(self) -> str | None:
        """Why the checkpoint is not kept any more, or None."""
        return self.checkpoints[-1].dropped if self.checkpoints else None

    def picture(self, series: str, best_epoch: int | None) -> tuple[int, str]:
        """The epoch and the path of the best epoch's picture, or of the nearest; the last where none is the best."""
        steps = self.pictures[series]
        step = max(steps) if best_epoch is None else min(steps, key=lambda step: (abs(step - best_epoch), step))
        return step, steps[step]

    def acts(self, root: Path) -> tuple[CallbackAct, ...]:
        """What callbacks did in the last attempt, as the file below the journal's folder tells it."""
        path = next((path for path in reversed(self.files) if PurePosixPath(path).name == ACTS_FILE), None)
        return _read_acts(root / path) if path else ()

    def values(self, objectives: Iterable[str]) -> dict[str, float]:
        """The values of objectives at the best epoch, by name."""
        return {name: self.summary[f"best.{name}"] for name in objectives if f"best.{name}" in self.summary}

    def violations(self) -> dict[str, float]:
        """By constraint, by how much it is broken."""
        found: dict[str, float] = json.loads(self.tags.get("regatta.violations") or "{}")
        return found

    def phases(self) -> dict[str, float]:
        """Seconds by what they went to."""
        spent = {name.removeprefix(_PHASE): value for name, value in self.summary.items() if name.startswith(_PHASE)}
        return spent | ({"tracking": self.summary[_TRACKING]} if _TRACKING in self.summary else {})

    def as_trial(
        self, metric: str, run_id: str | None, root: Path | None = None, objectives: Sequence[str] = ()
    ) -> TrialHistory:
        """The run as a trial of a report.

        Args:
            metric: The objective.
            run_id: The server's id of the run, where it has one.
            root: The journal's folder, from which it also tells what lies in files.
            objectives: All objectives, where there are several.
        """
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
            failure=self.tags.get("regatta.failure") or None,
            values=self.values(objectives),
            violations=self.violations(),
            phases=self.phases(),
            dropped=self.dropped,
            code_sha256=self.tags.get(CODE_SHA256_TAG),
        )


def read_runs(entries: Iterable[Entry]) -> dict[str, RunHistory]:
    """All runs of a journal, by uid, in the order in which they were begun."""
    runs: dict[str, RunHistory] = {}
    untold: dict[str, Untold] = {}
    for entry in entries:
        if isinstance(entry, RunBegun):
            run = runs.setdefault(entry.uid, RunHistory(entry.uid, entry.parent, entry.time_ms))
            run.tags = {key: value for key, value in run.tags.items() if key not in TAGS_OF_AN_END} | dict(entry.tags)
            run.status = "RUNNING"
            untold.setdefault(entry.uid, Untold()).begin(entry.time_ms)
        elif entry.uid in runs:
            run = runs[entry.uid]
            _tell(run, entry)
            untold[entry.uid].hear(entry)
        else:
            continue
        if not isinstance(entry, FileKept | CheckpointKept):
            run.last_ms = max(run.last_ms, entry.time_ms)
    for uid, run in runs.items():
        run.untold_s = untold[uid].seconds
    return runs


def device_seconds(run: RunHistory) -> float:
    """Seconds that the attempts at a trial took, also those whose controller was killed before it could say so."""
    return run.summary.get("seconds", 0.0) + run.untold_s


def _tell(run: RunHistory, entry: Entry) -> None:
    """Adds what an entry tells to the run that it belongs to."""
    match entry:
        case Logged():
            run.tags |= entry.tags
            if of_the_machine(entry.metrics):
                return
            concluding = concludes(entry)
            for name, value in entry.metrics.items():
                added = name == RANKED and "loss" not in entry.metrics  # by `reconcile`, and no metric of an epoch's
                if concluding or added or name == "seconds" or name.startswith("best."):
                    run.summary[name] = value
                else:
                    run.curves.setdefault(name, {})[entry.step] = value
        case FileKept():
            run.files.pop(entry.path, None)  # so that what was kept last stands last
            run.files[entry.path] = entry.folder
        case PictureKept():
            run.pictures.setdefault(entry.key, {})[entry.step] = entry.path
        case CheckpointKept():
            noted = NotedCheckpoint(entry.path, entry.sha256, entry.step, delivered=entry.delivered)
            run.checkpoints.append(noted)
        case CheckpointDropped():
            run.checkpoints = [
                replace(kept, dropped=entry.reason) if kept.sha256 == entry.sha256 else kept for kept in run.checkpoints
            ]
        case RunEnded():
            run.status = entry.status


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
    several = config.objectives if len(config.objectives) > 1 else ()
    names = [each.metric for each in several]
    trials = [
        run.as_trial(objective.metric, run_id(run.uid), folder.root, names) for run in runs if run.number is not None
    ]
    parent = next((run for run in runs if run.tags.get("regatta.kind") == "sweep"), None)
    told = parent.tags if parent is not None else {}
    spent = parent.summary if parent is not None else {}
    objectives = tuple((each.metric, each.sense) for each in several)
    pick = config.promotion.pick
    picked = best_trial(trials, objective.sense, objectives, pick) if several else None
    return StudyHistory(
        study=config.study,
        metric=objective.metric,
        direction=objective.sense,
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        importances=importances,
        champion=champion,
        links=links,
        seconds=spent.get("seconds") if seconds is None else seconds,
        objectives=objectives,
        front=tuple(front_of(trials, objectives)) if several else (),
        picked=picked.number if picked is not None else None,
        pick=pick if several else None,
        ended=told.get("regatta.ended"),
        phases={name.removeprefix(_PHASE): value for name, value in spent.items() if name.startswith(_PHASE)},
        logarithmic=frozenset(
            found.name
            for found in SearchSpace(config.search_space).parameters()
            if isinstance(found.distribution, FloatRange | IntRange) and found.distribution.log
        ),
    )
