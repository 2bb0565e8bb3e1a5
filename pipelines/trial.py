"""The life of one trial, from assignment to a closed run. It lives in the controller and is fed by events."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.acts import Acts
from pipelines.front import rank
from pipelines.params import dataset_input
from pipelines.records import (
    CallbackActed,
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    Failure,
    FileWritten,
    GpuSampled,
    MachineSampled,
    PictureDrawn,
    Started,
    TrialResult,
    TrialSpec,
    TrialState,
    Verdict,
)
from pipelines.tracking.entries import CHECKPOINT_BYTES, RANKED
from pipelines.tracking.run import Run
from pipelines.training.base import Best

PICTURE = "loss_curve.svg"
CHECKPOINT = "checkpoint"
"""The same for every run, so that `runs:/RUN/checkpoint/best.keras` names the model of any."""
ASIDE = "diagnostics/"
"""Metrics that look into a model; of the best epoch they are no result."""
Curves = dict[str, list[tuple[int, float]]]


class Judge(Protocol):
    """Who decides whether an epoch was the trial's last: the study."""

    def report(self, number: int, epoch: int, value: float) -> None:
        """Takes the value of `epoch`, once, and decides nothing."""

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        """Whether to stop the trial, now that `epoch` gave `value`."""


@dataclass(frozen=True)
class Wanted:
    """What a study wants to know of a trial beside its best epoch.

    Attributes:
        objectives: Names of all objectives, the first one included.
        violations: By constraint, by how much the values of a trial break it; see `SweepConfig.violations`.
    """

    objectives: tuple[str, ...] = ()
    violations: Callable[[Mapping[str, float]], Mapping[str, float]] = lambda values: {}


class TrialLife:
    """One trial, over all its attempts.

    An event of an older attempt is refused. Every path ends in a closed run: FINISHED, also when pruned, FAILED with
    the reason as a tag, or KILLED where a later start of the sweep goes on with it. Value, epoch and checkpoint of the
    result come from one and the same epoch of one attempt.
    """

    def __init__(
        self,
        spec: TrialSpec,
        params: Mapping[str, Any],
        run: Run,
        judge: Judge,
        curves: Curves | None = None,
        *,
        wanted: Wanted | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Takes up a trial.

        Args:
            spec: The attempt to begin with.
            params: What was sampled.
            run: The run to write to, not begun yet.
            judge: Decides about pruning.
            curves: Epochs that an earlier controller logged for this trial already; they are not logged again.
            wanted: What the study wants to know of it.
            seconds: Training time of attempts under an earlier controller.
        """
        self.spec = spec
        self.params = params
        self.curves: Curves = curves if curves is not None else {}
        self.seconds = seconds
        self.run = run
        self._known = {epoch for epoch, _ in self.curves.get("loss", ())}
        self._judge = judge
        self._wanted = wanted or Wanted((spec.objective,))
        self._phases: dict[str, float] = {}
        self._parameters: float | None = None
        # the last epoch of an earlier controller may lack its pictures, those before it have them
        self._drawn_before = max(self._known, default=0)
        self._drawn: set[tuple[str, int]] = set()
        self._checkpoint: CheckpointWritten | None = None
        self._best_epoch: EpochEnded | None = None
        self._broken: EpochEnded | None = None  # the first whose loss is no number
        self._forget()

    @property
    def epochs(self) -> int:
        """How many epochs it has, over all attempts."""
        return len(self._known)

    def begin(self, experiment: str, parent: str | None, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Begins the run, with everything that is needed to train the trial again by hand.

        Args:
            experiment: Where it goes.
            parent: The run of its sweep, or None.
            tags: What every run of the sweep is tagged with. The whole config is one more tag.
            params: What people compare trials by; see `telling_params`.
        """
        config = dict(self.spec.config)
        self.run.begin(
            experiment,
            "training" if parent is None else f"trial-{self.spec.number:03d}",
            parent=parent,
            params=params,
            dataset=dataset_input(config.get("dataset", {}), tags.get("regatta.dataset_sha256", "")),
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
        """Begins the next attempt after the last one met with trouble."""
        self.run.log(tags={"regatta.attempt": str(spec.attempt), f"regatta.lost.{self.spec.attempt}": reason})
        self.spec = spec
        self._forget()

    def on_event(self, event: Event) -> Verdict:
        """Takes what the worker says; STOP where the training should end."""
        if event.attempt != self.spec.attempt:
            return Verdict.STOP  # an attempt that was given up is still talking
        match event:
            case Started(facts=facts):
                if "regatta.parameters" in facts:
                    self._parameters = float(facts["regatta.parameters"])
                resumed = {"regatta.resumed_at_epoch": str(event.first_epoch)} if event.first_epoch else {}
                self.run.log(tags={**facts, **resumed})
            case EpochEnded():
                return self._on_epoch(event)
            case CheckpointWritten(kind="best"):
                self._checkpoint = event
            case CheckpointWritten(path=path):
                self.run.keep(Path(path), self._folder_of(Path(path)))
            case CallbackActed():
                self._acts.add(event)
            case FileWritten(path=path, folder=folder):
                self.run.keep(Path(path), folder)
            case PictureDrawn():
                self._on_picture(event)
            case MachineSampled():
                self.run.log(event.metrics, step=event.second, time_ms=event.time_ms)
            case GpuSampled():
                self.run.log(event.metrics, step=event.epoch, time_ms=event.time_ms)
            case Ended():
                self.took(event.seconds, event.phases)
        return Verdict.GO_ON

    def took(self, seconds: float, phases: Mapping[str, float] | None = None) -> None:
        """Adds the time of an attempt, which one that lost its worker cannot tell itself."""
        self.seconds += seconds
        for phase, spent in (phases or {}).items():
            self._phases[phase] = self._phases.get(phase, 0.0) + spent

    def close(self, ended: Ended, log: str = "") -> TrialResult:
        """Decides what came of the trial, writes it down, and closes the run; `log` is what its worker printed last."""
        state, failure, reason = self._outcome(ended)
        if ended.traceback:
            self._keep_text("traceback.txt", ended.traceback)
        return self._conclude(state, failure, reason, log)

    def give_up(self, failure: Failure, reason: str, log: str = "") -> TrialResult:
        """Fails the trial because of what happened to it, and not because of what it said itself."""
        return self._conclude(TrialState.FAILED, failure, reason, log)

    def interrupt(self, why: str = "the sweep was interrupted") -> None:
        """Closes the run of a trial that a stopped sweep leaves unfinished; the next start takes it up again."""
        self.run.log(
            {"seconds": self.seconds}, tags={"regatta.reason": f"{why}; the trial goes on with the same command"}
        )
        self.run.end("KILLED")

    def _forget(self) -> None:
        """An attempt tells its whole story, also what an earlier one that it goes on from has done."""
        self._best, self._acts = Best(self.spec.direction), Acts()
        self._checkpoint = self._best_epoch = self._broken = None

    def _folder_of(self, path: Path) -> str:
        """Where a ModelCheckpoint's file goes among the artifacts: in the folders that its template named."""
        saved = Path(self.spec.folder) / "checkpoints"
        inside = path.parent.relative_to(saved).as_posix() if path.is_relative_to(saved) else "."
        return "checkpoints" if inside == "." else f"checkpoints/{inside}"

    def _on_epoch(self, event: EpochEnded) -> Verdict:
        if event.epoch not in self._known:  # a later attempt may come by epochs of an earlier one: one point an epoch
            self._known.add(event.epoch)
            self.run.log(event.metrics, step=event.epoch, time_ms=event.time_ms)
            for name, value in event.metrics.items():
                self.curves.setdefault(name, []).append((event.epoch, value))
        value = event.metrics.get(self.spec.objective, math.nan)
        if self._best.improved_by(value, event.epoch):
            self._best_epoch = event
        if not (math.isfinite(value) and math.isfinite(event.metrics.get("loss", 0.0))):
            self._broken = self._broken or event  # the worker stops by itself: nothing good comes of such weights
            return Verdict.GO_ON
        if event.retold:
            self._judge.report(self.spec.number, event.epoch, value)
            return Verdict.GO_ON
        stop = self._judge.should_stop(self.spec.number, event.epoch, value)
        return Verdict.STOP if stop else Verdict.GO_ON

    def _on_picture(self, event: PictureDrawn) -> None:
        """Keeps one picture an epoch, although a later attempt tells of those of the earlier one again."""
        if event.epoch >= self._drawn_before and (event.key, event.epoch) not in self._drawn:
            self._drawn.add((event.key, event.epoch))
            self.run.keep_picture(Path(event.path), event.key, event.epoch)

    def _outcome(self, ended: Ended) -> tuple[TrialState, Failure | None, str | None]:
        objective = self.spec.objective
        if ended.error is not None:
            return TrialState.FAILED, ended.failure or Failure.ERROR, ended.error
        broken = self._broken
        if broken is not None:
            named = {name: broken.metrics.get(name, math.nan) for name in ("loss", objective)}
            name, value = next((name, value) for name, value in named.items() if not math.isfinite(value))
            what = "not a number" if math.isnan(value) else "infinite"
            what = what if name in broken.metrics else "missing (no callback put it into the logs)"
            text = f"{name} was {what} in epoch {broken.epoch}"
            return TrialState.PRUNED, Failure.NOT_FINITE, text
        if self._best.value is None:
            return TrialState.PRUNED, Failure.NOT_FINITE, f"{objective} was never a finite number"
        if self._checkpoint is None or self._checkpoint.epoch != self._best.epoch:
            found = "none" if self._checkpoint is None else f"one of epoch {self._checkpoint.epoch}"
            text = f"the best epoch is {self._best.epoch}, but its checkpoint is missing ({found})"
            return TrialState.FAILED, Failure.ERROR, text
        if ended.pruned:
            return TrialState.PRUNED, None, f"{objective} was no better than the pruner asks for at that epoch"
        return TrialState.COMPLETE, None, None

    def _conclude(self, state: TrialState, failure: Failure | None, reason: str | None, log: str) -> TrialResult:
        best, checkpoint = self._best, self._checkpoint
        if checkpoint is not None and checkpoint.epoch != best.epoch:
            checkpoint = None  # one that was written on the way to a better epoch
        tags = {"regatta.state": state.value}
        if reason is not None or self.spec.attempt > 1:  # an interrupted attempt left its own reason behind
            tags["regatta.reason"] = reason or ""
        if failure is not None:
            tags["regatta.failure"] = failure.value
        metrics: dict[str, float] = {"seconds": self.seconds, "tracking_seconds": self._phases.get("tracking", 0.0)}
        # MLflow's page puts what begins with `system/` into a section behind the curves
        metrics |= {f"system/seconds_{phase}": spent for phase, spent in self._phases.items() if phase != "tracking"}
        values, violations = self._measured()
        if best.epoch is not None:
            metrics |= {f"best.{name}": value for name, value in values.items()}
            metrics["best.epoch"] = float(best.epoch)
        ranked = rank(state, [values.get(name) for name in self._wanted.objectives], violations)
        if ranked is not None:
            metrics[RANKED] = ranked
        if violations:
            tags["regatta.violations"] = json.dumps(violations)
            tags["regatta.feasible"] = json.dumps(all(broken <= 0 for broken in violations.values()))
        if checkpoint is not None and self._best_epoch is not None:
            tags["regatta.checkpoint_sha256"] = checkpoint.sha256
            self.run.keep_checkpoint(
                Path(checkpoint.path),
                name=CHECKPOINT,
                step=self._best_epoch.epoch,
                time_ms=self._best_epoch.time_ms,
                sha256=checkpoint.sha256,
                metrics={name: value for name, value in self._best_epoch.metrics.items() if math.isfinite(value)},
                delivered=checkpoint.delivered_bytes is not None,
            )
            with suppress(OSError):
                size = checkpoint.delivered_bytes
                metrics[CHECKPOINT_BYTES] = float(Path(checkpoint.path).stat().st_size if size is None else size)
        if self._acts:
            self._keep_text("callback_events.json", json.dumps(self._acts.listed(), indent=1))
        if state is TrialState.FAILED and log:
            self._keep_text("log_tail.txt", log)
        self.run.log(metrics | self._acts.metrics(), tags=tags | self._acts.tags())
        self.run.end("FAILED" if state is TrialState.FAILED else "FINISHED")
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
            failure,
            {name: values[name] for name in self._wanted.objectives if name in values},
            violations,
            None if checkpoint is None else checkpoint.delivered_bytes,
        )

    def _measured(self) -> tuple[dict[str, float], dict[str, float]]:
        """The best epoch's metrics, with costs that are objectives, and by how much they break bounds."""
        if self._best_epoch is None:
            return {}, {}
        of_epoch = {
            name: value
            for name, value in self._best_epoch.metrics.items()
            if name != "learning_rate" and not name.startswith(ASIDE)
        }
        costs = {"seconds": self.seconds}
        if self._parameters is not None:
            costs["parameters"] = self._parameters
        asked = {name: value for name, value in costs.items() if name in self._wanted.objectives}
        return {**of_epoch, **asked}, dict(self._wanted.violations({**costs, **of_epoch}))

    def _keep_text(self, name: str, text: str) -> None:
        path = Path(self.spec.folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.run.keep(path)


def keep_picture(run: Run, folder: Path, picture: bytes) -> None:
    """Adds the picture of the curves to a run, which may be closed already: nobody waits for a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PICTURE
    path.write_bytes(picture)
    run.keep(path)
