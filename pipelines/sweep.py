"""The one controller: asks the study, hands trials to the executor, tells the results back.

It is single-threaded: everything happens in `run`, which pumps the executor. Budgets are exact because nobody else
asks.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from pydantic import ValidationError

from pipelines.config import SweepConfig, TrainingConfig
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import HomeError
from pipelines.executors.base import Executor
from pipelines.history import RunHistory
from pipelines.home import StudyFolder
from pipelines.pictures import loss_curve
from pipelines.records import Ended, EpochEnded, Event, Stop, TrialResult, TrialSpec, TrialState, Verdict
from pipelines.search_space import NOT_VARIED, SearchSpace, overlay
from pipelines.study import AskedTrial, Counts, Study
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run
from pipelines.trial import PICTURE, Curves, TrialLife, flat_params, keep_picture, telling_params


class Watcher(Protocol):
    """Who follows a sweep while it runs: the live display, or nobody."""

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        """The controller is about to ask for its first trial."""

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        """A worker was given a trial."""

    def epoch(self, worker: int, event: EpochEnded) -> None:
        """A worker has finished an epoch."""

    def ended(self, result: TrialResult, counts: Counts) -> None:
        """A trial is over."""

    def lost(self, worker: int, reason: str, trial: int | None, again: bool) -> None:
        """A worker died, with or without a trial that will be tried again."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep came to its end.

    Attributes:
        combinations: How many there are, where each of them was tried; None where the sweep did not come to that.
    """

    counts: Counts
    interrupted: bool
    too_many_failures: bool
    combinations: int | None = None


@dataclass
class _Busy:
    """What a worker is at."""

    life: TrialLife
    asked: AskedTrial


class Sweep:
    """One sweep, from the first trial to the last."""

    def __init__(
        self,
        config: SweepConfig,
        *,
        study: Study,
        data: PreparedData,
        executor: Executor,
        journal: Journal,
        folder: StudyFolder,
        uid: str,
        tags: Mapping[str, str],
        earlier: Mapping[str, RunHistory],
        watcher: Watcher,
        on_last_trials: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes everything that a sweep needs, opened.

        Args:
            config: The recipe.
            study: Decides what to try and when to stop it.
            data: What trials train on.
            executor: Where they train.
            journal: The record.
            folder: Where files go.
            uid: Of the parent run; runs of trials are called after it.
            tags: What every run of the sweep is tagged with.
            earlier: Runs that the journal holds already, by uid.
            watcher: Follows along.
            on_last_trials: Called when a worker is idle because no trial is left to hand out: a core is free now.
        """
        self._config = config
        self._space = SearchSpace(config.search_space)
        self._base = config.training()
        self._written = config.model_dump(mode="json", exclude_unset=True, include=set(TrainingConfig.model_fields))
        self._study = study
        self._data = data
        self._executor = executor
        self._journal = journal
        self._folder = folder
        self._uid = uid
        self._tags = tags
        self._earlier = earlier
        self._watcher = watcher
        self._on_last_trials = on_last_trials
        self._busy: dict[int, _Busy] = {}
        self._idle: list[int] = []
        self._again: deque[tuple[TrialLife, AskedTrial, str]] = deque()
        self._unfinished = deque(study.unfinished())
        self._pictures: list[tuple[Run, Path, Future[bytes]]] = []
        self._counts = study.counts()
        self._failed_before = self._counts.failed
        self._interrupts = 0

    def run(self, workers: int) -> Outcome:
        """Runs until the budget is used or everything is tried, too many trials have failed, or somebody interrupts."""
        wanted = min(self._config.budget.trials, self._study.combinations or self._config.budget.trials)
        self._watcher.began(workers, wanted, self._counts)
        with ThreadPoolExecutor(1, "pictures") as painter, _on_interrupt(self._interrupted):
            self._painter = painter
            self._draw_missing_pictures()
            try:
                while not self._interrupts and (self._busy or self._again or self._wants_more()):
                    self._executor.wait(0.2)
                    self._hand_out()
                    self._keep_pictures()
            finally:
                self._interrupt_trials()
        self._keep_pictures()
        counts = self._study.counts()
        all_tried = self._study.left() == 0 and not counts.running
        return Outcome(
            counts,
            bool(self._interrupts),
            self._has_failed_too_often(),
            self._study.combinations if all_tried else None,
        )

    # what the executor calls

    def on_idle(self, worker: int) -> None:
        """The worker can have a trial."""
        if worker not in self._idle:
            self._idle.append(worker)

    def on_message(self, worker: int, message: Event) -> Stop | None:
        """A trial's event; the answer stops its training."""
        busy = self._busy.get(worker)
        if busy is None or busy.life.spec.number != message.trial:
            return Stop(message.trial, message.attempt)
        verdict = busy.life.on_event(message)
        if isinstance(message, EpochEnded):
            self._watcher.epoch(worker, message)
        if isinstance(message, Ended) and message.attempt == busy.life.spec.attempt:
            del self._busy[worker]
            self._conclude(busy.life, busy.life.close(message))
        return Stop(message.trial, message.attempt) if verdict is Verdict.STOP else None

    def on_lost(self, worker: int, reason: str) -> None:
        """The worker died: its trial is tried again, unless that was done often enough."""
        if worker in self._idle:
            self._idle.remove(worker)
        busy = self._busy.pop(worker, None)
        again = busy is not None and busy.life.losses < self._config.execution.retries
        self._watcher.lost(worker, reason, busy.life.spec.number if busy else None, again)
        if busy is None:
            return
        if again:
            self._again.append((busy.life, busy.asked, reason))
        else:
            self._conclude(busy.life, busy.life.give_up(f"worker lost: {reason}"))

    # handing out

    def _wants_more(self) -> bool:
        counted = self._counts.complete + self._counts.pruned
        return (
            counted + len(self._busy) + len(self._again) < self._config.budget.trials
            and not self._has_failed_too_often()
            and (bool(self._unfinished) or self._study.left() != 0)
        )

    def _has_failed_too_often(self) -> bool:
        # failures of an earlier start do not count: what caused them may be mended
        return self._counts.failed - self._failed_before > self._config.budget.failed_trials

    def _hand_out(self) -> None:
        while self._idle and not self._interrupts:
            if self._again:
                life, asked, reason = self._again.popleft()
                life.retry(self._spec(asked.number, life.spec.attempt + 1, life.spec.config), reason)
                self._study.note_attempt(asked.number, life.spec.attempt)
            elif self._wants_more():
                taken = self._take_up() if self._unfinished else self._ask()
                if taken is None:
                    continue
                life, asked = taken
            else:
                self._on_last_trials()
                return
            worker = self._idle.pop(0)
            self._busy[worker] = _Busy(life, asked)
            self._watcher.working(worker, life.spec, life.params)
            self._executor.assign(worker, life.spec)

    def _ask(self) -> tuple[TrialLife, AskedTrial] | None:
        return self._begin(self._study.ask(), attempt=1)

    def _take_up(self) -> tuple[TrialLife, AskedTrial] | None:
        """A trial that an earlier controller left unfinished."""
        number, attempt = self._unfinished.popleft()
        return self._begin(self._study.ask_again(number), attempt + 1)

    def _begin(self, asked: AskedTrial, attempt: int) -> tuple[TrialLife, AskedTrial] | None:
        """Makes a trial of what was sampled; None where that is no valid config, which fails the trial alone."""
        changes = self._space.sample(asked.optuna_trial)
        number = asked.number
        raw = overlay({**self._base, "seed": self._base["seed"] + number}, changes)
        uid = f"{self._uid}-{number:05d}"
        earlier = self._earlier.get(uid)
        try:
            training = TrainingConfig.model_validate(raw)
            config, problem = training.model_dump(mode="json"), None
            params = telling_params(config, *map(_own, (training.said(), self._written, overlay({}, changes))))
        except ValidationError as error:
            config, problem = raw, f"not a valid training config: {error.errors()[0]['msg']}"
            params = flat_params(raw)
        life = TrialLife(
            self._spec(number, attempt, config),
            asked.params,
            Run(self._journal, uid),
            self._study,
            earlier.points() if earlier else None,
        )
        life.begin(self._config.study, self._uid, self._tags, params)
        if problem:
            self._conclude(life, life.give_up(problem))
            return None
        self._study.note_attempt(number, attempt)
        return life, asked

    def _spec(self, number: int, attempt: int, config: Mapping[str, Any]) -> TrialSpec:
        objective = self._config.objective
        folder = self._folder.trial(number, attempt)
        return TrialSpec(
            number, attempt, config, str(self._data.folder), str(folder), objective.metric, objective.sense
        )

    # taking in

    def _conclude(self, life: TrialLife, result: TrialResult) -> None:
        self._study.tell(result.number, result.state, result.value)
        counts = self._counts
        match result.state:
            case TrialState.COMPLETE:
                self._counts = replace(counts, complete=counts.complete + 1)
            case TrialState.PRUNED:
                self._counts = replace(counts, pruned=counts.pruned + 1)
            case _:
                self._counts = replace(counts, failed=counts.failed + 1)
        self._draw(result.number, life.spec.attempt, life.curves, result.epoch)
        self._watcher.ended(result, self._counts)

    def _interrupt_trials(self) -> None:
        """Closes the runs of trials that are not at their end, whatever stopped the sweep."""
        lives = [busy.life for busy in self._busy.values()] + [life for life, _, _ in self._again]
        with suppress(HomeError):  # a full disk may be what stopped it
            for life in lives:
                life.interrupt()

    # pictures

    def _draw(self, number: int, attempt: int, curves: Curves, best_epoch: int | None) -> None:
        """Has a trial's curves drawn in the background."""
        if curves:
            title = f"{self._config.study} trial {number}"
            picture = self._painter.submit(loss_curve, curves, title=title, best_epoch=best_epoch)
            run = Run(self._journal, f"{self._uid}-{number:05d}")
            self._pictures.append((run, self._folder.trial(number, attempt), picture))

    def _draw_missing_pictures(self) -> None:
        """Draws what an earlier controller did not come to: it died between a trial's end and its picture."""
        for run in self._earlier.values():
            drawn = any(path.endswith(PICTURE) for path in run.files)
            if run.number is not None and run.status != "RUNNING" and not drawn:
                trial = run.as_trial(self._config.objective.metric, None)
                self._draw(run.number, trial.attempt, run.points(), trial.best_epoch)

    def _keep_pictures(self) -> None:
        """Adds the pictures that are drawn to their runs; the controller never waits for one while trials run."""
        for item in [item for item in self._pictures if item[2].done()]:
            self._pictures.remove(item)
            run, folder, picture = item
            if picture.exception() is None:  # a picture that cannot be drawn must not cost its trial
                keep_picture(run, folder, picture.result())

    def _interrupted(self) -> None:
        self._interrupts += 1


def _own(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial may have to itself; what all trials of a sweep share is said once, on their parent run."""
    own = {key: value for key, value in said.items() if key not in NOT_VARIED}
    return own | {"dataset": {"name": ""}}  # people look for its name on every run


def all_tried(combinations: int) -> str:
    """Why a sweep may end before its budget is used."""
    return "the only combination is tried" if combinations == 1 else f"all {combinations} combinations are tried"


@contextmanager
def _on_interrupt(note: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) asks the sweep to stop in good order; a second one is as rude as ever."""

    def first(_number: int, _frame: FrameType | None) -> None:
        note()
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, first) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
