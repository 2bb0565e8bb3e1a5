"""One trial in a lane: everything of it but the steps, which its cohort makes for all lanes at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras

from pipelines.callbacks.averaging import WeightAveraging
from pipelines.callbacks.own import OwnCallback
from pipelines.recipe.config import TrainingConfig
from pipelines.records import Failure, TrialSpec
from pipelines.training.attempt import Attempt, Outcome, facts_of
from pipelines.training.base import Emit
from pipelines.training.feeding import Feed
from pipelines.training.lanes.bank import Bank
from pipelines.training.lanes.comparing import compare_by_numpy
from pipelines.training.lanes.ending import Endings, Teller
from pipelines.training.lanes.grouping import Group
from pipelines.training.lanes.mixing import View
from pipelines.training.lanes.standin import LaneModel, LaneValues
from pipelines.training.lanes.template import Beginning, Template
from pipelines.training.machine import Machine
from pipelines.training.randomness import ProcessStreams, begin_operations_anew
from pipelines.training.witness import acts_in_batches, overrides

_ASK_ANEW = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
    keras.callbacks.TerminateOnNaN,
    WeightAveraging,
)
"""They go through `self.model` whenever they need something of it. Of others it is not known what they hold on to, so
the model is lent to the lane before they are called."""
HOOKS = ("on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end", "on_test_begin", "on_test_end")


class LaneStreams:
    """The random streams of one lane; see `pipelines.training.randomness.Streams`.

    Only code of the user's draws from the process's streams while a model trains. Where there is such, they are put to
    where the lane left them before its turn, and noted behind it.
    """

    def __init__(self, begins: Callable[[], dict[str, Any]], *, used: bool) -> None:
        """Takes what says where they stand at first, and whether anything draws from them."""
        self.used = used
        self._begins = begins
        self._kept: dict[str, Any] | None = None
        self._process = ProcessStreams()

    def read(self) -> dict[str, Any]:
        """See `Streams`."""
        if self.used:
            return self._process.read()
        if self._kept is None:
            self._kept = self._begins()
        return self._kept

    def write(self, kept: dict[str, Any]) -> None:
        """See `Streams`."""
        self._kept = kept
        if self.used:
            self._process.write(kept)

    def enter(self) -> None:
        """The lane's turn begins."""
        if self.used:
            if self._kept is None:
                begin_operations_anew()
            self._process.write(self._begins() if self._kept is None else self._kept)

    def leave(self) -> None:
        """And ends."""
        if self.used:
            self._kept = self._process.read()


class Lane:
    """One trial in one lane of a cohort.

    Attributes:
        spec: The attempt.
        settings: Its values of what is lifted.
        epoch: The epoch that it trains now, or next.
        over: It has trained its last epoch, and its place is free.
        stopped_at: The step of this epoch after which it stopped, where it did within the epoch.
    """

    def __init__(
        self,
        spec: TrialSpec,
        emit: Emit,
        config: TrainingConfig,
        group: Group,
        machine: Machine,
        clock: Callable[[], float] = time.monotonic,
        endings: Endings | None = None,
    ) -> None:
        """Takes up an attempt. It is told of by `begin`.

        Args:
            spec: What to do.
            emit: Who hears of it.
            config: What to train.
            group: What it may be trained with.
            machine: Knows what this process uses of the machine.
            clock: Seconds, for everything that is done every so often.
            endings: Writes its files beside the training of others.
        """
        self.spec = spec
        self.config = config
        self.settings = group.lifted
        self.group = group
        self.epoch = 0
        self.over = False
        self.stopped_at: int | None = None
        self._teller, self._endings = Teller(emit), endings
        self._attempt = Attempt(spec, self._teller, machine, clock=clock, shared=True)
        self._holding: set[str] = set()
        self._by_step = self._on_nan = self._sees_validation = False
        self._logs: dict[str, float] | None = None

    def begin(self, template: Template, bank: Bank | View, place: int, fed: Feed, trainer: str) -> None:
        """Takes its place in a cohort; what it needs is written into the bank."""
        attempt = self._attempt
        with attempt.watch.during("build"):
            beginning: Beginning = template.beginning(self.config.seed, self.group)
            bank.write(place, dict(enumerate(beginning.values)))
            own = any(isinstance(callback, OwnCallback) for callback in self.config.callbacks.values())
            self.values = LaneValues(template, bank, place, self.settings, watchful=own)
            self.model = LaneModel(self.values)
            self._streams = LaneStreams(beginning.streams, used=own)
            fed = replace(fed, config=self.config)
            facts = facts_of(template.model.count_params(), fed, trainer)
        self._turn(lambda: self._start(fed, facts, template.summary))

    @property
    def by_step(self) -> bool:
        """Whether a callback wants to be called at every step."""
        return self._by_step

    @property
    def sees_validation(self) -> bool:
        """Whether a callback may do something between the steps of an epoch and its validation."""
        return self._sees_validation

    @property
    def ends_on_nan(self) -> bool:
        """Whether a callback ends the training at the step at which the loss is no finite number."""
        return self._on_nan

    def share(self, seconds: float, among: int) -> None:
        """Counts its share of what its cohort's steps took for so many lanes, and shows that it lives."""
        self._attempt.pulse.lanes = among
        self._attempt.watch.add("fit", seconds)
        self.lives()

    def lives(self) -> None:
        """Shows that it is not forgotten."""
        if not self.over:
            self._attempt.pulse.stepped()

    def give_back(self, problem: Exception) -> None:
        """Ends the attempt because of what happened to its cohort; another attempt goes on from its last state."""
        if not self.over:
            self.over = True
            self._attempt.fail(problem, Failure.LOST)

    def begin_epoch(self) -> None:
        """Calls what is to be called before an epoch."""
        self.stopped_at, self._logs = None, None
        self._turn(lambda: self._attempt.course.on_epoch_begin(self.epoch), "on_epoch_begin")

    def begin_step(self, step: int) -> None:
        """Calls what is to be called before a step."""
        self._turn(lambda: self._attempt.course.on_train_batch_begin(step), "step")

    def end_step(self, step: int, logs: Mapping[str, float]) -> None:
        """Calls what is to be called after a step; it may end the epoch for this lane."""
        self._turn(lambda: self._attempt.course.on_train_batch_end(step, dict(logs)), "step")
        if self.model.stop_training:
            self.stopped_at = step

    def begin_validation(self, logs: Mapping[str, float]) -> None:
        """Takes the logs of the training part of the epoch, and calls what is to be called before it is validated."""
        self._logs = dict(logs)
        self._turn(self._attempt.course.on_test_begin, "on_test_begin")

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Takes the logs of the validation; the trial tells of the epoch and, if it was the last, of its end."""

        def ends() -> None:
            course, found = self._attempt.course, dict(logs)
            course.on_test_end(found)
            told = {**(self._logs or {}), **{f"val_{name}": value for name, value in found.items()}}
            course.on_epoch_end(self.epoch, told)
            self._logs = told
            self.epoch += 1
            if self.model.stop_training or self.epoch >= self.config.epochs:
                self._finish(told)

        self._turn(ends, "on_epoch_end")

    def _start(self, fed: Feed, facts: dict[str, str], summary: str) -> None:
        attempt = self._attempt
        if not attempt.begin(self.model, fed, facts, summary, values=self.values, streams=self._streams):
            self._end(Outcome(paused=True))
            return
        course = attempt.course
        callbacks = list(course.recipe.values())
        compare_by_numpy(callbacks)
        self._holding = {
            hook
            for hook in HOOKS
            for callback in callbacks
            if not isinstance(callback, _ASK_ANEW) and overrides(callback, hook)
        }
        self._sees_validation = any(overrides(callback, "on_test_begin") for callback in callbacks)
        in_steps = [callback for callback in callbacks if acts_in_batches(callback)]
        self._on_nan = any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in in_steps)
        self._by_step = any(not isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in in_steps)
        if "on_train_begin" in self._holding:
            self.values.lend()
        course.on_train_begin()
        self.epoch = attempt.first_epoch
        if self.epoch >= self.config.epochs:
            self._finish(None)

    def _finish(self, logs: dict[str, float] | None) -> None:
        if self.config.optimizer.use_ema:
            model = self.values.lend()
            model.optimizer.finalize_variable_values(model.trainable_weights)
        self.values.settle()
        if "on_train_end" in self._holding:
            self.values.lend()
        self._attempt.course.on_train_end(logs)
        self.values.settle()
        if self._endings is not None and self.values.template.saves_anywhere:
            self.over = True
            self._endings.begin(self._close, self._teller)
        else:
            self._end(self._attempt.finish())

    def _close(self) -> None:
        """Writes the files, and tells of the end."""
        try:
            self._attempt.end(self._attempt.finish())
        except Exception as problem:
            self._attempt.fail(problem)

    def _end(self, outcome: Outcome) -> None:
        self.over = True
        self._attempt.end(outcome)

    def _turn(self, act: Callable[[], None], hook: str = "") -> None:
        """Does something of the lane's own. What it raises ends this trial alone."""
        if self.over:
            return
        try:
            self._streams.enter()
            with self._attempt.watch.during("fit"):
                if hook in self._holding or (hook == "step" and self._by_step):
                    self.values.lend()
                act()
                self.values.settle()
            self._streams.leave()
        except Exception as problem:
            self.over = True
            self._attempt.fail(problem)
