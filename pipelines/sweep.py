"""The one controller: asks the study, hands trials to the executor, tells the results back.

It is single-threaded: everything happens in `run`, which pumps the executor. Budgets are exact because nobody else
asks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.budgets import DISK, INTERRUPTED, Ending, Meter
from pipelines.config import SweepConfig
from pipelines.errors import HomeError
from pipelines.executors.base import Executor, Loss, LossKind
from pipelines.failures import Remedy, Setbacks
from pipelines.history import RunHistory, device_seconds
from pipelines.home import StudyFolder
from pipelines.keeping import Keeper
from pipelines.painting import Painter
from pipelines.records import Ended, EpochEnded, Event, Failure, Stop, TrialResult, TrialSpec, Verdict
from pipelines.signals import on_interrupt
from pipelines.study import AskedTrial, Counts, Study
from pipelines.tracking.journal import Journal
from pipelines.tracking.run import Run
from pipelines.trial import PICTURE, TrialLife, Wanted
from pipelines.trial_configs import TrialConfigs
from pipelines.watcher import Watcher

_ASLEEP_S = 10.0
"""A controller that comes by more seldom than this was itself stopped in between, by Ctrl-Z perhaps."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep came to its end."""

    counts: Counts
    ending: Ending

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return self.ending.by == INTERRUPTED


@dataclass
class _Trial:
    """A trial under way: its life, what Optuna knows of it, and what befell it."""

    life: TrialLife
    asked: AskedTrial
    setbacks: Setbacks
    begun: float = 0.0  # of this attempt
    sign: float = 0.0  # of life, the last one
    alone: bool = False
    trouble: str = ""


@dataclass
class _Queue:
    """Trials that are to be tried again, and those that an earlier controller left."""

    again: deque[_Trial] = field(default_factory=deque)
    unfinished: deque[tuple[int, int]] = field(default_factory=deque)


class Sweep:
    """One sweep, from the first trial to the last."""

    def __init__(
        self,
        config: SweepConfig,
        *,
        study: Study,
        data: Path,
        executor: Executor,
        journal: Journal,
        folder: StudyFolder,
        uid: str,
        tags: Mapping[str, str],
        earlier: Mapping[str, RunHistory],
        meter: Meter,
        watcher: Watcher,
        on_last_trials: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes everything that a sweep needs, opened.

        Args:
            config: The recipe.
            study: Decides what to try and when to stop it.
            data: Folder with what trials train on.
            executor: Where they train.
            journal: The record.
            folder: Where files go.
            uid: Of the parent run; runs of trials are called after it.
            tags: What every run of the sweep is tagged with.
            earlier: Runs that the journal holds already, by uid.
            meter: Measures it against its budget.
            watcher: Follows along.
            on_last_trials: Called when a worker is idle because no trial is left to hand out: a core is free now.
            clock: Seconds that only go forward.
        """
        self._config = config
        self._configs = TrialConfigs(config)
        self._wanted = Wanted(tuple(each.metric for each in config.objectives), config.violations)
        self._study = study
        self._data = data
        self._executor = executor
        self._journal = journal
        self._folder = folder
        self._uid = uid
        self._tags = tags
        self._earlier = earlier
        self._meter = meter
        self._watcher = watcher
        self._on_last_trials = on_last_trials
        self._clock = clock
        several = len(config.objectives) > 1
        self._keeper = Keeper(config.checkpoints, config.objective, journal, study.front if several else tuple)
        self._keeper.take_up(earlier.values(), folder.root)
        self._workers = 1
        self._busy: dict[int, _Trial] = {}
        self._idle: list[int] = []
        self._queue = _Queue(unfinished=deque(study.unfinished()))
        self._stopping: Ending | None = None  # what stops running trials, too
        self._told: set[int] = set()
        self._looked = clock()

    def run(self, workers: int) -> Outcome:
        """Runs until the budget is used or everything is tried, too many trials have failed, or somebody interrupts."""
        self._workers = workers
        wanted = min(self._config.budget.trials, self._study.combinations or self._config.budget.trials)
        self._watcher.began(workers, wanted, self._meter.counts)
        with Painter(self._config.study) as self._painter, on_interrupt(self._interrupted):
            self._draw_missing_pictures()
            try:
                while self._busy or (self._stopping is None and (self._queue.again or self._wants_more())):
                    self._executor.wait(0.2)
                    self._look_for_hung()
                    self._look_for_end()
                    self._hand_out()
                    self._painter.keep()
            finally:
                self._interrupt_trials()
        self._painter.keep()
        ending = self._stopping or self._meter.ending(all_tried=self._study.left() == 0)
        assert ending is not None, "it went on until something ended it"
        return Outcome(self._study.counts(), ending)

    # what the executor calls

    def on_idle(self, worker: int) -> None:
        """The worker can have a trial."""
        if worker in self._busy:  # whatever its code did, a trial must not wait for ever for a word
            self.on_lost(worker, Loss("it stopped working on its trial and did not say why"))
        if worker not in self._idle:
            self._idle.append(worker)

    def on_message(self, worker: int, message: Event) -> Stop | None:
        """A trial's event; the answer stops its training."""
        trial = self._busy.get(worker)
        if trial is None or (trial.life.spec.number, trial.life.spec.attempt) != (message.trial, message.attempt):
            return Stop(message.trial, message.attempt)  # of an attempt that was given up: it changes nothing any more
        trial.sign = self._clock()
        verdict = trial.life.on_event(message)
        if isinstance(message, EpochEnded):
            self._watcher.epoch(worker, message)
        if isinstance(message, Ended):
            self._free(worker)
            self._on_ended(worker, trial, message)
            return None
        if verdict is Verdict.STOP:
            return Stop(message.trial, message.attempt)
        return Stop(message.trial, message.attempt, pause=True) if self._stopping else None

    def on_lost(self, worker: int, loss: Loss) -> None:
        """The worker is gone: its trial goes on elsewhere, unless that was tried often enough."""
        if worker in self._idle:
            self._idle.remove(worker)
        trial = self._free(worker)
        if trial is None:
            self._watcher.trouble(worker, f"worker {worker} was lost: {loss.reason}", None, None)
            return
        trial.life.took(self._clock() - trial.begun)
        kinds = {LossKind.MEMORY: Failure.MEMORY, LossKind.ENDED: Failure.HUNG}
        self._on_trouble(worker, trial, kinds.get(loss.kind, Failure.LOST), loss.reason)

    # handing out

    def _wants_more(self) -> bool:
        under_way = len(self._busy) + len(self._queue.again)
        return self._meter.wants(under_way) and (bool(self._queue.unfinished) or self._study.left() != 0)

    def _hand_out(self) -> None:
        while self._idle and self._stopping is None and not any(trial.alone for trial in self._busy.values()):
            trial = self._next_again()
            if trial is None and self._queue.again:
                return  # one that must be alone waits until all others are done
            if trial is None:
                if not self._wants_more():
                    self._on_last_trials()
                    return
                trial = self._take_up() if self._queue.unfinished else self._begin(self._study.ask(), attempt=1)
            if trial is None:
                continue
            worker = self._idle.pop(0)
            trial.begun = trial.sign = self._clock()
            self._busy[worker] = trial
            self._meter.assigned(worker)
            self._watcher.working(worker, trial.life.spec, trial.life.params)
            self._executor.assign(worker, trial.life.spec)

    def _next_again(self) -> _Trial | None:
        """The next trial that is to be tried again and may begin now."""
        again = self._queue.again
        ready = next((trial for trial in again if not trial.alone), None)
        if ready is None and again and not self._busy:
            ready = again[0]
        if ready is not None:
            again.remove(ready)
            life = ready.life
            life.retry(self._spec(life.spec.number, life.spec.attempt + 1, life.spec.config), ready.trouble)
            self._study.note_attempt(life.spec.number, life.spec.attempt)
        return ready

    def _take_up(self) -> _Trial | None:
        """A trial that an earlier controller left unfinished."""
        number, attempt = self._queue.unfinished.popleft()
        return self._begin(self._study.ask_again(number), attempt + 1)

    def _begin(self, asked: AskedTrial, attempt: int) -> _Trial | None:
        """Makes a trial of what was sampled; None where that is no valid config, which fails the trial alone."""
        number = asked.number
        uid = f"{self._uid}-{number:05d}"
        earlier = self._earlier.get(uid)
        made = self._configs.make(number, asked.optuna_trial)
        life = TrialLife(
            self._spec(number, attempt, made.config),
            asked.params,
            Run(self._journal, uid),
            self._study,
            earlier.points() if earlier else None,
            wanted=self._wanted,
            seconds=device_seconds(earlier) if earlier else 0.0,
        )
        life.begin(self._config.study, self._uid, self._tags, made.params)
        if made.problem:
            self._conclude(life, life.give_up(Failure.INVALID, made.problem))
            return None
        self._study.note_attempt(number, attempt)
        return _Trial(life, asked, Setbacks(self._config.execution.retries))

    def _spec(self, number: int, attempt: int, config: Mapping[str, Any]) -> TrialSpec:
        objective, folder = self._config.objective, self._folder
        return TrialSpec(
            number,
            attempt,
            config,
            str(self._data),
            str(folder.trial(number, attempt)),
            objective.metric,
            objective.sense,
            str(folder.states(number)),
        )

    # taking in

    def _free(self, worker: int) -> _Trial | None:
        self._meter.freed(worker)
        self._told.discard(worker)
        return self._busy.pop(worker, None)

    def _on_ended(self, worker: int, trial: _Trial, ended: Ended) -> None:
        life = trial.life
        if ended.paused:
            life.interrupt(self._stopping.text if self._stopping else "the sweep stopped")
        elif ended.failure is Failure.DISK:
            self._stop(Ending(DISK, f"the disk is full: {ended.error}", at_once=True))
            life.interrupt("the disk was full")
        elif ended.failure is Failure.MEMORY:
            self._on_trouble(worker, trial, Failure.MEMORY, str(ended.error), ended)
        else:
            failed = ended.error is not None
            self._conclude(life, life.close(ended, self._executor.log_tail(worker) if failed else ""))

    def _on_trouble(
        self, worker: int, trial: _Trial, failure: Failure, reason: str, ended: Ended | None = None
    ) -> None:
        """Finds a remedy for a trial whose attempt came to nothing."""
        life = trial.life
        remedy = trial.setbacks.after(failure, epochs=life.epochs, neighbours=self._workers > 1)
        text = f"trial {life.spec.number}: {reason}" if ended else f"worker {worker} was lost: {reason}"
        self._watcher.trouble(worker, text, life.spec.number, remedy)
        if remedy is not Remedy.FAIL:
            trial.alone, trial.trouble = remedy is Remedy.ALONE, reason
            self._queue.again.append(trial)
            return
        log = self._executor.log_tail(worker)
        told = {Failure.LOST: f"worker lost: {reason}", Failure.MEMORY: f"out of memory: {reason}"}.get(failure, reason)
        self._conclude(life, life.close(ended, log) if ended else life.give_up(failure, told, log))

    def _conclude(self, life: TrialLife, result: TrialResult) -> None:
        number = result.number
        self._study.tell(
            number,
            result.state,
            result.values,
            violations=result.violations,
            infeasible=result.failure is Failure.MEMORY,
        )
        self._meter.ended(result, self._keeper.ended(result, life.run.uid))
        self._folder.forget_states(number)
        self._painter.draw(life.run, self._folder.trial(number, life.spec.attempt), number, life.curves, result.epoch)
        self._watcher.ended(result, self._meter.counts)

    # ending

    def _look_for_hung(self) -> None:
        """Ends workers whose trial makes no step; `on_lost` sees to the trial."""
        limit, now = self._config.execution.hung_after_s, self._clock()
        slept, self._looked = now - self._looked, now
        for worker, trial in self._busy.items():
            if slept > _ASLEEP_S:  # this very process was stopped, and heard nothing; so were the workers, perhaps
                trial.sign += slept
            if now - trial.sign > limit:
                trial.sign = now  # once is enough
                self._executor.end(worker, f"it made no step for {limit:g} s (execution.hung_after_s)")

    def _look_for_end(self) -> None:
        ending = self._meter.ending(all_tried=False)
        if self._stopping is None and ending is not None and ending.at_once:
            self._stop(ending)
        if self._stopping is not None:
            for worker, trial in self._busy.items():
                if worker not in self._told:
                    self._told.add(worker)
                    self._executor.tell(worker, Stop(trial.life.spec.number, trial.life.spec.attempt, pause=True))

    def _stop(self, ending: Ending) -> None:
        if self._stopping is None:
            self._stopping = ending
            if self._busy:
                self._watcher.ending(ending)

    def _interrupted(self) -> None:
        self._stop(Ending(INTERRUPTED, "the sweep was interrupted", at_once=True))

    def _interrupt_trials(self) -> None:
        """Closes the runs of trials that are not at their end, whatever stopped the sweep."""
        why = self._stopping.text if self._stopping else "the sweep broke off"
        with suppress(HomeError):  # a full disk may be what stopped it
            for trial in (*self._busy.values(), *self._queue.again):
                trial.life.interrupt(why)

    # pictures

    def _draw_missing_pictures(self) -> None:
        """Draws what an earlier controller did not come to: it died between a trial's end and its picture."""
        for run in self._earlier.values():
            drawn = any(path.endswith(PICTURE) for path in run.files)
            if run.number is not None and run.status != "RUNNING" and not drawn:
                trial = run.as_trial(self._config.objective.metric, None)
                folder = self._folder.trial(run.number, trial.attempt)
                self._painter.draw(Run(self._journal, run.uid), folder, run.number, run.points(), trial.best_epoch)
