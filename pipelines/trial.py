"""The life of one trial, from assignment to a closed run. It lives in the controller and is fed by events."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pipelines.acts import Acts
from pipelines.records import (
    CallbackActed,
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    FileWritten,
    PictureDrawn,
    Started,
    TrialResult,
    TrialSpec,
    TrialState,
    Verdict,
)
from pipelines.tracking.run import Run
from pipelines.training.base import Best

PICTURE = "loss_curve.png"
ASIDE = "diagnostics/"
"""Metrics that look into a model; of the best epoch they are no result."""
Curves = dict[str, list[tuple[int, float]]]


class Judge(Protocol):
    """Who decides whether an epoch was the trial's last: the study."""

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        """Whether to stop the trial, now that `epoch` gave `value`."""


class TrialLife:
    """One trial, over all its attempts.

    An event of an older attempt is refused. Every path ends in a closed run: FINISHED, also when pruned, or FAILED with
    the reason as a tag. Value, epoch and checkpoint of the result come from one and the same epoch of one attempt.
    """

    def __init__(
        self, spec: TrialSpec, params: Mapping[str, Any], run: Run, judge: Judge, curves: Curves | None = None
    ) -> None:
        """Takes up a trial.

        Args:
            spec: The attempt to begin with.
            params: What was sampled.
            run: The run to write to, not begun yet.
            judge: Decides about pruning.
            curves: Epochs that an earlier controller logged for this trial already; they are not logged again.
        """
        self.spec = spec
        self.params = params
        self.curves: Curves = curves if curves is not None else {}
        self.seconds = 0.0
        self.losses = 0  # workers lost over this trial; an attempt that a stopped sweep cut short is not one
        self._run = run
        self._judge = judge
        self._best = Best(spec.direction)
        self._best_metrics: Mapping[str, float] = {}
        self._checkpoint: CheckpointWritten | None = None
        self._acts = Acts()
        # the last epoch of an earlier controller may lack its pictures, those before it have them
        self._drawn_before = max((epoch for epoch, _ in self.curves.get("loss", ())), default=0)
        self._drawn: set[tuple[str, int]] = set()

    def begin(self, experiment: str, parent: str | None, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Begins the run, with everything that is needed to train the trial again by hand.

        Args:
            experiment: Where it goes.
            parent: The run of its sweep, or None.
            tags: What every run of the sweep is tagged with. The whole config is one more tag.
            params: What people compare trials by; see `telling_params`.
        """
        config = dict(self.spec.config)
        self._run.begin(
            experiment,
            "training" if parent is None else f"trial-{self.spec.number:03d}",
            parent=parent,
            params=params,
            tags={
                **tags,
                "regatta.trial": str(self.spec.number),
                "regatta.attempt": str(self.spec.attempt),
                "regatta.state": TrialState.RUNNING.value,
                "regatta.seed": str(config["seed"]),
                "regatta.objective": json.dumps({"metric": self.spec.objective, "direction": self.spec.direction}),
                "regatta.config": json.dumps(config, sort_keys=True),
                "regatta.sampled": json.dumps(dict(self.params)),
            },
        )

    def retry(self, spec: TrialSpec, reason: str) -> None:
        """Begins the next attempt after the worker of the last one was lost."""
        self._run.log(tags={"regatta.attempt": str(spec.attempt), f"regatta.lost.{self.spec.attempt}": reason})
        self.losses += 1
        self._new_attempt(spec)

    def on_event(self, event: Event) -> Verdict:
        """Takes what the worker says; STOP where the training should end."""
        if event.attempt != self.spec.attempt:
            return Verdict.STOP  # an attempt that was given up is still talking
        match event:
            case Started(facts=facts):
                self._run.log(tags=facts)
            case EpochEnded():
                return self._on_epoch(event)
            case CheckpointWritten(kind="best"):
                self._checkpoint = event
            case CheckpointWritten(path=path):
                self._run.keep(Path(path), self._folder_of(Path(path)))
            case CallbackActed():
                self._acts.add(event)
            case FileWritten(path=path, folder=folder):
                self._run.keep(Path(path), folder)
            case PictureDrawn():
                self._on_picture(event)
            case Ended():
                self.seconds += event.seconds
        return Verdict.GO_ON

    def close(self, ended: Ended) -> TrialResult:
        """Decides what came of the trial, writes it down, and closes the run."""
        state, reason = self._outcome(ended)
        if ended.traceback:
            self._keep_text("traceback.txt", ended.traceback)
        return self._conclude(state, reason)

    def give_up(self, reason: str) -> TrialResult:
        """Fails the trial because its worker was lost once too often."""
        return self._conclude(TrialState.FAILED, reason)

    def interrupt(self) -> None:
        """Closes the run of a trial that a stopped sweep leaves unfinished; the next start takes it up again."""
        self._run.log(tags={"regatta.reason": "the sweep was interrupted; it resumes with the same command"})
        self._run.end("KILLED")

    def _folder_of(self, path: Path) -> str:
        """Where a ModelCheckpoint's file goes among the artifacts: in the folders that its template named."""
        saved = Path(self.spec.folder) / "checkpoints"
        inside = path.parent.relative_to(saved).as_posix() if path.is_relative_to(saved) else "."
        return "checkpoints" if inside == "." else f"checkpoints/{inside}"

    def _new_attempt(self, spec: TrialSpec) -> None:
        self.spec = spec
        self._best = Best(spec.direction)
        self._best_metrics, self._checkpoint, self._acts = {}, None, Acts()

    def _on_epoch(self, event: EpochEnded) -> Verdict:
        known = {epoch for epoch, _ in self.curves.get("loss", ())}
        if event.epoch not in known:  # a later attempt comes by the epochs of the earlier one again: one point an epoch
            self._run.log(event.metrics, step=event.epoch, time_ms=event.time_ms)
            for name, value in event.metrics.items():
                self.curves.setdefault(name, []).append((event.epoch, value))
        value = event.metrics.get(self.spec.objective, math.nan)
        if self._best.improved_by(value, event.epoch):
            self._best_metrics = event.metrics
        stop = self._judge.should_stop(self.spec.number, event.epoch, value)
        return Verdict.STOP if stop else Verdict.GO_ON

    def _on_picture(self, event: PictureDrawn) -> None:
        """Keeps one picture an epoch, although a later attempt draws those of the earlier one again."""
        if event.epoch >= self._drawn_before and (event.key, event.epoch) not in self._drawn:
            self._drawn.add((event.key, event.epoch))
            self._run.keep_picture(Path(event.path), event.key, event.epoch)

    def _outcome(self, ended: Ended) -> tuple[TrialState, str | None]:
        objective = self.spec.objective
        if ended.error is not None:
            return TrialState.FAILED, ended.error
        if self._best.value is None:
            return TrialState.PRUNED, f"{objective} was never a finite number"
        if self._checkpoint is None or self._checkpoint.epoch != self._best.epoch:
            found = "none" if self._checkpoint is None else f"one of epoch {self._checkpoint.epoch}"
            return TrialState.FAILED, f"the best epoch is {self._best.epoch}, but its checkpoint is missing ({found})"
        if ended.pruned:
            return TrialState.PRUNED, f"{objective} was no better than the pruner asks for at that epoch"
        return TrialState.COMPLETE, None

    def _conclude(self, state: TrialState, reason: str | None) -> TrialResult:
        best, checkpoint = self._best, self._checkpoint
        tags = {"regatta.state": state.value}
        if reason is not None or self.spec.attempt > 1:  # an interrupted attempt left its own reason behind
            tags["regatta.reason"] = reason or ""
        metrics: dict[str, float] = {"seconds": self.seconds}
        if best.epoch is not None:
            results = {name: value for name, value in self._best_metrics.items() if not name.startswith(ASIDE)}
            metrics |= {f"best.{name}": value for name, value in results.items() if name != "learning_rate"}
            metrics["best.epoch"] = float(best.epoch)
        if checkpoint is not None:
            tags["regatta.checkpoint_sha256"] = checkpoint.sha256
            self._run.keep(Path(checkpoint.path), "checkpoint")
        if self._acts:
            self._keep_text("callback_events.json", json.dumps(self._acts.listed(), indent=1))
        self._run.log(metrics | self._acts.metrics(), tags=tags | self._acts.tags())
        self._run.end("FAILED" if state is TrialState.FAILED else "FINISHED")
        return TrialResult(
            self.spec.number,
            self.spec.attempt,
            state,
            self.params,
            best.value,
            best.epoch,
            None if checkpoint is None else checkpoint.path,
            None if checkpoint is None else checkpoint.sha256,
            reason,
        )

    def _keep_text(self, name: str, text: str) -> None:
        path = Path(self.spec.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self._run.keep(path)


def keep_picture(run: Run, folder: Path, picture: bytes) -> None:
    """Adds the picture of the curves to a run, which may be closed already: nobody waits for a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PICTURE
    path.write_bytes(picture)
    run.keep(path)


def flat_params(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config as MLflow's params: `optimizer.learning_rate` and so on, every value as text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flat_params(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def telling_params(config: Mapping[str, Any], *said: Mapping[str, Any]) -> dict[str, str]:
    """Of all of a config's values, those at a path that one of `said` names.

    MLflow writes a run's params beside each of its pictures, and has a column for each: a hundred defaults would hide
    the dozen that somebody chose. The whole config is a tag of the run.
    """
    named = {path for part in said for path in flat_params(part)}
    repeated = {f"callbacks.{label}.name" for label in config.get("callbacks", {})}  # `early_stopping` once is enough
    return {
        path: value
        for path, value in flat_params(config).items()
        if path in named and not (path in repeated and path == f"callbacks.{value}.name")
    }
