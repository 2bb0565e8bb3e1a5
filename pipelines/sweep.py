"""The one controller: asks the study, hands trials to the executor, tells the results back.

It is single-threaded: everything happens in `run`, which pumps the executor. Budgets are exact because nobody else
asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.controller.budgets import DISK, INTERRUPTED, Ending, Meter
from pipelines.controller.crew import Crew, UnderWay, Vigil
from pipelines.controller.failures import Remedy
from pipelines.controller.intake import Intake
from pipelines.controller.keeping import Keeper
from pipelines.controller.painting import Painter
from pipelines.controller.watcher import Watcher
from pipelines.errors import HomeError
from pipelines.executors.base import Executor, Loss, LossKind
from pipelines.history import RunHistory
from pipelines.home import StudyFolder
from pipelines.placing import most_unheard
from pipelines.recipe.config import SweepConfig
from pipelines.records import Ended, EpochEnded, Event, Failure, Stop, TrialResult, Verdict
from pipelines.signals import on_interrupt
from pipelines.study import Counts, Study
from pipelines.tracking.journal import Journal
from pipelines.trial import TrialLife

_HAND_OUT_S = 0.05
"""For how long trials are handed out before workers are listened to again."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep came to its end."""

    counts: Counts
    ending: Ending

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return self.ending.by == INTERRUPTED


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
        self._study = study
        self._executor = executor
        self._journal = journal
        self._folder = folder
        self._earlier = tuple(earlier.values())
        self._meter = meter
        self._watcher = watcher
        self._on_last_trials = on_last_trials
        self._clock = clock
        several = len(config.objectives) > 1
        self._keeper = Keeper(config.checkpoints, config.objective, journal, study.front if several else tuple)
        self._keeper.take_up(earlier.values(), folder.root)
        self._painter = Painter(config.study)
        self._workers = 1
        self._most: int | None = None
        self._learns_on = False
        self._crew = Crew()
        self._intake = Intake(
            config, study=study, data=data, journal=journal, folder=folder, uid=uid, tags=tags, earlier=earlier
        )
        self._stopping: Ending | None = None  # what stops running trials, too
        self._vigil = Vigil(config.execution.hung_after_s, clock)

    def run(self, workers: int, most: int | None = None) -> Outcome:
        """Runs until the budget is used or everything is tried, too many trials have failed, or somebody interrupts.

        Args:
            workers: How many there are.
            most: Trials that may be under way at once, over all workers; as many as they have room for if left out.
        """
        self._workers, self._most = workers, most
        self._learns_on = most is not None and self._config.sampler.learns
        wanted = min(self._config.budget.trials, self._study.combinations or self._config.budget.trials)
        self._watcher.began(workers, wanted, self._meter.counts)
        with self._study.in_turns(), on_interrupt(self._interrupted):
            for run in self._earlier:
                self._painter.draw_missing(run, self._folder, self._config.objective.metric, self._journal)
            try:
                more = False
                while self._crew or (self._stopping is None and (self._intake.again or self._wants_more())):
                    self._executor.wait(0.0 if more else 0.2)
                    self._look_for_hung()
                    self._look_for_end()
                    more = self._hand_out()
                    self._study.end_turn()
            finally:
                self._interrupt_trials()
        ending = self._stopping or self._meter.ending(all_tried=self._study.left() == 0)
        assert ending is not None, "it went on until something ended it"
        return Outcome(self._study.counts(), ending)

    # what the executor calls

    def on_room(self, worker: int, places: int) -> None:
        """The worker can have so many more trials."""
        self._crew.has_room(worker, places)

    def on_rest(self, worker: int, tasks: int) -> None:
        """The worker does nothing more about these: whatever its code did, no trial must wait for ever for a word."""
        silent = self._crew.left_behind(worker, tasks)
        if silent:
            self._lose(worker, silent, Loss("it stopped working on its trial and did not say why"))

    def on_message(self, worker: int, message: Event) -> Stop | None:
        """A trial's event; the answer stops its training."""
        trial = self._crew.found(worker, message)
        if trial is None:
            return Stop(message.trial, message.attempt)  # of an attempt that was given up: it changes nothing any more
        trial.sign = self._clock()
        verdict = trial.life.on_event(message)
        if isinstance(message, EpochEnded):
            self._watcher.epoch(worker, message)
            self._look_for_end()  # in this process, dozens of trials may train on before `run` comes to look
        if isinstance(message, Ended):
            self._free(trial)
            self._on_ended(worker, trial, message)
            self._look_for_end()
            return None
        if verdict is Verdict.STOP:
            return Stop(message.trial, message.attempt)
        return Stop(message.trial, message.attempt, pause=True) if self._stopping else None

    def on_lost(self, worker: int, loss: Loss) -> None:
        """The worker is gone: its trials go on elsewhere, but for those of which that was tried often enough."""
        self._crew.lost(worker)
        lost = self._crew.with_worker(worker)
        if lost:
            self._lose(worker, lost, loss)
        else:
            self._watcher.trouble(worker, f"worker {worker} was lost: {loss.reason}", {})

    # handing out

    def _wants_more(self) -> bool:
        return self._meter.wants(len(self._crew) + len(self._intake.again)) and self._intake.has_more

    def _too_many_unheard(self) -> bool:
        counts, unheard = self._meter.counts, self._crew.unheard
        over = counts.complete + counts.pruned + counts.failed
        return unheard >= most_unheard(over + len(self._crew) - unheard, self._workers)

    def _hand_out(self) -> bool:
        """Hands out trials to those who have room for them.

        Returns:
            Whether there are more to hand out at once: what workers say is heard in between, as a sampler takes its
            time over many trials.
        """
        begun = self._clock()
        while self._stopping is None and not any(trial.alone for trial in self._crew):
            worker = self._crew.next_worker()
            if worker is None or (self._most is not None and len(self._crew) >= self._most):
                return False
            if self._clock() - begun > _HAND_OUT_S:
                return True
            trial = self._intake.next_again(nobody_at_work=not self._crew)
            if trial is None and self._intake.again:
                return False  # one that must be alone waits until all others are done
            if trial is None:
                if not self._wants_more():
                    self._on_last_trials()
                    return False
                if self._learns_on and self._too_many_unheard():
                    return False  # the next one is drawn when these have said something
                trial = self._intake.next()
                if trial.trouble:
                    self._conclude(trial.life, trial.life.give_up(Failure.INVALID, trial.trouble))
                    continue
            self._crew.give(worker, trial, self._clock())
            self._meter.assigned(worker)
            self._watcher.working(worker, trial.life.spec, trial.life.params)
            self._executor.assign(worker, trial.life.spec)
        return False

    # taking in

    def _free(self, trial: UnderWay) -> None:
        self._meter.freed(trial.worker)
        self._crew.take_back(trial)

    def _on_ended(self, worker: int, trial: UnderWay, ended: Ended) -> None:
        life = trial.life
        if ended.paused:
            life.interrupt(self._stopping.text if self._stopping else "the sweep stopped")
        elif ended.failure is Failure.DISK:
            self._stop(Ending(DISK, f"the disk is full: {ended.error}", at_once=True))
            life.interrupt("the disk was full")
        elif ended.failure in (Failure.MEMORY, Failure.LOST):  # perhaps through no fault of its own
            program_broke = ended.failure is Failure.LOST and not trial.alone
            remedy = self._remedy(trial, ended.failure, beside=program_broke)
            self._watcher.trouble(worker, f"trial {trial.number}: {ended.error}", {trial.number: remedy})
            if not self._again(trial, remedy, str(ended.error)):
                self._conclude(life, life.close(ended, self._executor.log_tail(worker)))
        else:
            failed = ended.error is not None
            self._conclude(life, life.close(ended, self._executor.log_tail(worker) if failed else ""))

    def _lose(self, worker: int, lost: Sequence[UnderWay], loss: Loss) -> None:
        """Finds a remedy for each of the trials that their worker let go of, without a word from them."""
        now, failures = self._clock(), {}
        for trial in lost:
            self._free(trial)
            trial.life.took((now - trial.begun) / len(lost))  # they had the worker together; it is no one's alone
            failures[trial.number] = trial.failure_of(loss)
        # the device or the whole machine broke, and none of them is to pay for it with an attempt
        no_fault = loss.kind in (LossKind.DEVICE, LossKind.NODE)
        remedies = {
            trial.number: Remedy.AGAIN
            if no_fault and trial.setbacks.excuses(trial.life.epochs)
            else self._remedy(trial, failures[trial.number], beside=len(lost) > 1)
            for trial in lost
        }
        self._watcher.trouble(worker, f"worker {worker} was lost: {loss.reason}", remedies)
        for trial in lost:
            failure, reason = failures[trial.number], loss.reason
            if not self._again(trial, remedies[trial.number], reason):
                told = {Failure.LOST: f"worker lost: {reason}", Failure.MEMORY: f"out of memory: {reason}"}
                log = self._executor.log_tail(worker)
                self._conclude(trial.life, trial.life.give_up(failure, told.get(failure, reason), log))

    def _remedy(self, trial: UnderWay, failure: Failure, *, beside: bool = False) -> Remedy:
        neighbours = beside or (failure is Failure.MEMORY and (self._workers > 1 or self._crew.crowded))
        return trial.setbacks.after(failure, epochs=trial.life.epochs, neighbours=neighbours)

    def _again(self, trial: UnderWay, remedy: Remedy, trouble: str) -> bool:
        """Queues a trial for another attempt, unless nothing helps."""
        if remedy is Remedy.FAIL:
            return False
        trial.alone, trial.trouble = remedy is Remedy.ALONE, trouble
        self._intake.again.append(trial)
        return True

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
        """Ends workers that have a trial which makes no step; `on_lost` sees to their trials."""
        for worker in self._vigil.look(self._crew):
            limit = self._config.execution.hung_after_s
            self._executor.end(worker, f"it made no step for {limit:g} s (execution.hung_after_s)")

    def _look_for_end(self) -> None:
        ending = self._meter.ending(all_tried=False)
        if self._stopping is None and ending is not None and ending.at_once:
            self._stop(ending)
        if self._stopping is not None:
            for trial in self._crew:
                if not trial.told:
                    trial.told = True
                    self._executor.tell(trial.worker, Stop(trial.number, trial.life.spec.attempt, pause=True))

    def _stop(self, ending: Ending) -> None:
        if self._stopping is None:
            self._stopping = ending
            if self._crew:
                self._watcher.ending(ending)

    def _interrupted(self) -> None:
        self._stop(Ending(INTERRUPTED, "the sweep was interrupted", at_once=True))

    def _interrupt_trials(self) -> None:
        """Closes the runs of trials that are not at their end, whatever stopped the sweep."""
        why = self._stopping.text if self._stopping else "the sweep broke off"
        with suppress(HomeError):  # a full disk may be what stopped it
            for trial in (*self._crew, *self._intake.again):
                trial.life.interrupt(why)
