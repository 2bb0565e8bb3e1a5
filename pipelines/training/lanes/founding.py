"""Makes cohorts: the model of a group of trials, its program, and how many lanes it has."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import keras
import psutil
import tensorflow as tf

from pipelines.collecting import nothing_to_collect
from pipelines.compiled import forget
from pipelines.recipe.config import TrainingConfig
from pipelines.training.feeding import VALIDATION_BATCH, Feed, Held
from pipelines.training.lanes import obstacles
from pipelines.training.lanes.bank import Bank
from pipelines.training.lanes.cohort import Cohort, sample_orders, settings_of
from pipelines.training.lanes.grouping import program_of
from pipelines.training.lanes.mixing import Mixture
from pipelines.training.lanes.program import Program
from pipelines.training.lanes.rooms import Newcomer
from pipelines.training.lanes.template import NotLaneable, Template
from pipelines.training.lanes.widths import (
    Choice,
    Measured,
    Memory,
    choose,
    first_choice,
    most_in_memory,
    seconds_a_step,
    worth_measuring,
)

_log = logging.getLogger(__name__)
FIRST = 16
"""Trials to begin with where the number of lanes is still to be measured."""
_MOST_MIXED = 4
"""Optimizers in one program: each makes it slower to compile."""
_TWINS = 2
"""Cohorts of one program: XLA's for CPUs use little more than one core, and while one is computed, the callbacks of the
other have their turn."""
_WORTH_TWINS = 16
"""Trials at once from which on that is so: a step of very few lanes takes as long as one of some more."""
_REST_PAYS = 2000
"""Epochs of a cohort from which on it pays to compile the parts of an epoch that are small; measured on two cores."""


class Founder:
    """Founds the cohorts of one worker.

    Attributes:
        trials: Trials that are to come, as far as is known.
        twins: Cohorts that one program may have, as far as is known.
    """

    def __init__(
        self,
        *,
        lanes: int | Literal["auto"],
        most: int,
        trials: int,
        memory_bytes: int,
        cache: Path | None,
        lives: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes the worker's means.

        Args:
            lanes: Lanes of a cohort; `auto` for as many as are fastest.
            most: Lanes at most.
            trials: Trials that are to come.
            memory_bytes: Memory that the worker's process may fill.
            cache: Where choices are kept for the next sweep; None for nowhere.
            lives: Called again and again while a program is made, which may take long.
        """
        self.trials = trials
        self._lives = lives
        self._lanes = lanes
        self._most = most
        self._memory_bytes = memory_bytes
        self._memory = Memory(cache)
        self.twins = 1
        self._choices: dict[str, Choice] = {}
        self._separate: set[str] = set()
        self._held: dict[tuple[str, str], tuple[Held, Held]] = {}

    @property
    def width(self) -> int:
        """Lanes of a cohort, as far as is known by now."""
        usual = min(self._most, FIRST if self._lanes == "auto" else self._lanes)
        return max((choice.width for choice in self._choices.values()), default=usual)

    def found(self, first: Newcomer, others: Callable[[], Iterable[Newcomer]] = tuple) -> Cohort:
        """Makes the program of a group, and of others with it that differ from it in the optimizer alone.

        Args:
            first: A trial of the group.
            others: Gives trials of such groups; called when the first model has been built, by when more have come.

        Raises:
            NotLaneable: It has none.
        """
        try:
            with nothing_to_collect():
                members, mixture = self._mixed(first, others)
                try:
                    choice, program = self._programmed(members, mixture)
                except Exception:
                    if len(members) == 1:
                        raise
                    members, mixture = self._mixed(first, tuple)
                    choice, program = self._programmed(members, mixture)
        except NotLaneable:
            raise
        except Exception as problem:
            _log.warning("A program could not be made", exc_info=True)
            line = next((line.strip() for line in str(problem).splitlines() if line.strip()), "no message")
            raise NotLaneable(f"no program could be made of it ({type(problem).__name__}: {line[:200]})") from problem
        about = f"; {choice.told}" if choice.told else ""
        how = "compiled by XLA" if choice.compiled else "without XLA"
        return Cohort(mixture, program, first.fed, f"lanes: {choice.width} at once, {how}{about}")

    def separate(self, keys: Iterable[str]) -> None:
        """Has these groups have programs of their own from now on."""
        self._separate.update(keys)

    def _mixed(self, first: Newcomer, others: Callable[[], Iterable[Newcomer]]) -> tuple[list[Newcomer], Mixture]:
        """A trial of each group that is to have part in a program, and their templates."""
        key = first.group.key
        members, templates = {key: first}, {key: self._template(first)}
        for other in others() if self._mixes(first, templates[key]) else ():
            if other.group.key not in {*members, *self._separate} and len(members) < _MOST_MIXED:
                with suppress(Exception):  # which it is told when a program of its own is to be made
                    templates[other.group.key] = self._template(other, templates[key])
                    members[other.group.key] = other
        order = sorted(members)  # as they come, the same program would be another one to XLA, and compiled again
        return [members[one] for one in order], Mixture({one: templates[one] for one in order})

    def _template(self, one: Newcomer, like: Template | None = None) -> Template:
        keras.backend.clear_session(free_memory=False)  # layers without a name are then called as `fit` has them
        template = Template(one.config, one.group, one.fed, like)
        why = obstacles.of_model(template.model)
        if why is not None:
            raise NotLaneable(why)
        return template

    def _mixes(self, first: Newcomer, template: Template) -> bool:
        """Whether others may have part in its program: without XLA, each rule would pass over all values by itself."""
        compiled = first_choice(template.model, self._most, xla=first.config.xla).compiled
        return compiled and first.group.key not in self._separate

    def narrow(self, cohort: Cohort) -> bool:
        """Has cohorts like this one be of fewer lanes from now on, as the memory was too small; False where it has one.

        The trials are not to blame: one alone may well fit.
        """
        for what, choice in self._choices.items():
            if choice.width == cohort.width:
                self._choices[what] = replace(choice, width=max(1, choice.width // 4))
        self._most = max(1, cohort.width // 4)
        return cohort.width > 1

    def _programmed(self, members: Sequence[Newcomer], mixture: Mixture) -> tuple[Choice, Program]:
        """The same as `_measured`, also where what XLA kept of an earlier sweep is spoilt."""
        try:
            return self._measured(members, mixture)
        except tf.errors.OpError:
            if not forget():
                raise
            return self._measured(members, mixture)

    def _measured(self, members: Sequence[Newcomer], mixture: Mixture) -> tuple[Choice, Program]:
        """How wide the program is, and the program."""
        config, group, fed = members[0].config, members[0].group, members[0].fed
        model = mixture.main.model
        what = program_of([one.config for one in members], group)
        make = partial(self._made, config, fed, mixture)
        known = self._choices.get(what) or (self._memory.recall(what) if self._lanes == "auto" else None)
        most = min(self._most, most_in_memory(model, VALIDATION_BATCH, mixture.value_bytes, self._free()))
        if self._lanes != "auto":
            known = Choice(min(self._lanes, most), first_choice(model, most, xla=config.xla).compiled)
        begin = first_choice(model, most, value_bytes=mixture.value_bytes, xla=config.xla)
        if self._lanes == "auto" and self._has_twins(begin, most):
            self.twins, most = _TWINS, -(-most // _TWINS)
            begin = replace(begin, width=min(begin.width, most))
        if known is not None and known.width <= most:
            self._choices[what] = known
            return known, make(known.width, known.compiled, measure=False).program
        steps = float(self._epochs_left(config) * fed.steps)
        if not worth_measuring(model.count_params(), config.batch_size, steps):
            self._choices[what] = begin
            return begin, make(begin.width, begin.compiled, measure=False).program
        choice, found = choose(make, begin, most, steps, config.xla)
        self._choices[what] = choice
        if self._most >= 256 or choice.width < most:  # a sweep that may have few at once says little of others
            self._memory.keep(what, choice)
        return choice, found.program

    def _has_twins(self, choice: Choice, most: int) -> bool:
        """Whether two cohorts of one program are faster than one of twice as many lanes."""
        alone = tf.config.threading.get_intra_op_parallelism_threads() == 1 or tf.config.list_logical_devices("GPU")
        return choice.compiled and most >= _WORTH_TWINS and not alone

    def _made(
        self,
        config: TrainingConfig,
        fed: Feed,
        mixture: Mixture,
        width: int,
        compiled: bool,
        *,
        measure: bool = True,
    ) -> Measured:
        self._lives()
        began = time.perf_counter()
        train, validation = self._on_device(config, fed)
        program = Program(
            mixture,
            train,
            validation,
            width=width,
            batch_size=config.batch_size,
            validation_batch=VALIDATION_BATCH,
            compiled=compiled,
            rest_compiled=config.xla == "on" or self._epochs_left(config) >= _REST_PAYS * width,
        )
        values = Bank(width, mixture.first).stacks()
        settings = settings_of(mixture, [{}] * width, [0] * width)
        order = sample_orders([0] * width, [0] * width, len(train))
        why = obstacles.of_graphs(program.traces(values, settings, order), compiled=compiled)
        if why is not None:
            raise NotLaneable(why)
        self._lives()
        if not measure:
            return Measured(program, 0.0, math.nan)

        def run(first: int, count: int) -> None:
            program.train(values, program.fresh(), settings, order, first, count)[2].numpy()

        step = seconds_a_step(run, max(1, program.whole))
        return Measured(program, time.perf_counter() - began, step / width)

    def _epochs_left(self, config: TrainingConfig) -> int:
        """Epochs of all trials that are to come, this one included."""
        return max(1, self.trials) * config.epochs

    def _free(self) -> int:
        """Bytes that this process may still fill."""
        left = self._memory_bytes - psutil.Process().memory_info().rss
        return max(0, min(psutil.virtual_memory().available, left))

    def _on_device(self, config: TrainingConfig, fed: Feed) -> tuple[Held, Held]:
        kept = (str(fed.data.folder), f"{fed.goal.targets} {config.class_weight}")
        if kept not in self._held:
            self._held[kept] = fed.held()
        return self._held[kept]
