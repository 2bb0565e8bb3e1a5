"""The study, as the controller sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState as OptunaState

from pipelines.errors import StudyError
from pipelines.home import Home
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.samplers import Surroundings, highest, varying
from pipelines.study.beginning import enqueue, note_purpose, warm_up
from pipelines.study.book import Counts, Known, StudyRecord
from pipelines.study.endings import told_of
from pipelines.study.mattering import FEWEST, importances
from pipelines.study.mirror import Mirror
from pipelines.study.older import directed
from pipelines.study.restoring import restore_running
from pipelines.study.storage import no_experimental_warnings, open_storage
from pipelines.study.trials import ATTEMPT, Trials

optuna.logging.set_verbosity(optuna.logging.ERROR)


class AskedTrial:
    """A trial that was handed out: something to sample from, with a number."""

    def __init__(self, trial: optuna.Trial, reported: set[int]) -> None:
        self.optuna_trial = trial
        self.number: int = trial.number
        self.reported = reported

    @property
    def params(self) -> dict[str, Any]:
        """What was sampled, by parameter name."""
        return dict(self.optuna_trial.params)


class Study:
    """A study in its storage. Only one controller at a time opens it to ask."""

    def __init__(self, config: SweepConfig, storage: Path | str | None, uid: str = "") -> None:
        """Opens or makes the study of a recipe.

        Args:
            config: The recipe.
            storage: An SQLite file, the URL of a database, or None to keep it in memory.
            uid: Of the study, which tells it from others of its name in a database that many share.

        Raises:
            StudyError: The database cannot be reached or used.
        """
        self.name = config.study
        self._config = config
        self._storage = storage
        self._several = len(config.objectives) > 1
        objectives, backend = directed(config), open_storage(storage)
        self._mirror = None if backend is None else Mirror(backend)
        shared = isinstance(storage, str) and bool(uid)
        with no_experimental_warnings():
            self._study = optuna.create_study(
                storage=self._mirror,
                study_name=f"{config.study}-{uid}" if shared else config.study,
                directions=[objective.sense for objective in config.objectives],
                load_if_exists=True,
            )
        varies = varying(SearchSpace(config.search_space).parameters())
        self._study.pruner = config.pruner.build(highest(varies, "epochs", config.epochs))
        self._combinations = config.sampler.combinations(varies)
        self._trials = Trials(self._study, backend, objectives, varies, self._combinations)
        self._book = self._trials.book
        self._around = Surroundings(config.seed, len(self._book.records()), varies)
        self._open: dict[int, AskedTrial] = {}
        self._asks = self._begun = False

    # asking

    def begin(self, home: Home | None = None) -> list[str]:
        """Takes in what the recipe gives a study to begin with: older trials, and what is to be tried first.

        Called before the first trial is asked for, at each start; what was taken in before is not taken in again.

        Args:
            home: Where older studies have their folders; told from the storage where it is a file.

        Returns:
            What there is to say about it, in sentences.

        Raises:
            ConfigError: The older study is not there, or looked for something else.
        """
        said = warm_up(self._trials, self._config, self._storage, home)
        enqueue(self._trials, self._config)
        self._write_down()
        self._begun = True
        return said

    @property
    def combinations(self) -> int | None:
        """How many combinations there are to try, of a sampler that tries them all; None of any other."""
        return None if self._combinations is None else self._combinations.count()

    def left(self) -> int | None:
        """How many of them no trial has tried or is about to; None of any other sampler.

        One that failed before this start is left, as what caused it may be mended; one that fails in it is tried.
        """
        return self._book.left()

    def unfinished(self) -> list[tuple[int, int]]:
        """Number and attempt of trials that an earlier controller handed out and never heard of again."""
        return [(known.number, known.attempt) for known in self._book.running()]

    def ask(self) -> AskedTrial:
        """A new trial. Where nothing is `left`, it is one that was there before."""
        self._begin_to_ask()
        with no_experimental_warnings():
            trial = self._study.ask()
        if trial.number in self._book:
            return self._hand_out(self._book.begin(trial.number), trial)
        if trial.number > len(self._book):
            self._trials.catch_up(trial.number)
        known = Known(trial.number, trial._trial_id, TrialState.RUNNING)
        self._book.enter(known)
        return self._hand_out(known, trial)

    def ask_again(self, number: int) -> AskedTrial:
        """A trial of `unfinished`, with what was sampled for it."""
        self._begin_to_ask()
        known = self._book[number]
        return self._hand_out(known, self._trials.of(known))

    def note_attempt(self, number: int, attempt: int) -> None:
        """Keeps which attempt a trial is at, for a controller that comes after this one."""
        self._open[number].optuna_trial.set_user_attr(ATTEMPT, attempt)
        self._book[number].attempt = attempt
        if self._mirror is not None:
            self._mirror.settle()

    def _begin_to_ask(self) -> None:
        """Builds the sampler, which may need a package that whoever only looks at the study can do without."""
        if not self._begun:
            self.begin()
        if not self._asks:
            note_purpose(self._trials, self._config)
            self._study.sampler = self._config.sampler.build(self._around)
            self._asks = True

    def _hand_out(self, known: Known, trial: optuna.Trial) -> AskedTrial:
        asked = AskedTrial(trial, known.reported)
        known.drawn = lambda: asked.params
        self._open[known.number] = asked
        return asked

    # weighing

    def report(self, number: int, epoch: int, value: float) -> None:
        """Keeps an epoch's value; one that comes again is kept once. With several objectives nothing is kept."""
        asked = self._open[number]
        if not self._several and epoch not in asked.reported:
            asked.optuna_trial.report(value, epoch)
            asked.reported.add(epoch)

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        """Reports an epoch's value and asks the pruner; with several objectives no trial is stopped."""
        self.report(number, epoch, value)
        return not self._several and bool(self._open[number].optuna_trial.should_prune())

    # taking results

    def tell(
        self,
        number: int,
        state: TrialState,
        values: Mapping[str, float] | None,
        *,
        violations: Mapping[str, float] = {},
        infeasible: bool = False,
    ) -> None:
        """Closes a trial, also one that an earlier controller handed out. One that is over already stays as it is.

        Args:
            number: The trial's.
            state: What came of it.
            values: Of a complete trial, every objective by name; more than these do no harm.
            violations: By constraint, how far beyond it the trial is; at most 0 where it is kept.
            infeasible: Whether a failed trial ran out of memory: the sampler shall keep away from there.
        """
        asked = self._open.pop(number, None)
        known = self._book[number]
        if known.state is not TrialState.RUNNING:
            return
        told = told_of(state, values or {}, violations, self._trials.objectives, infeasible=infeasible)
        trial = self._trials.of(known) if asked is None else asked.optuna_trial
        for name, violation in told.constraints.items():
            trial.set_constraint(name, violation)
        for name, value in told.attributes.items():
            trial.set_user_attr(name, value)
        with no_experimental_warnings():
            self._study.tell(trial, told.values, state=told.state, skip_if_finished=True)
        again = told.state is OptunaState.FAIL and not self._asks  # of an earlier start, which the journal tells
        self._book.end(number, state, told.point, again=again)

    def restore(
        self,
        number: int,
        params: Mapping[str, Any],
        state: TrialState,
        values: Mapping[str, float] | None,
        reported: Mapping[int, float],
        *,
        violations: Mapping[str, float] = {},
        infeasible: bool = False,
        attempt: int = 1,
    ) -> None:
        """Makes a trial what the journal says it is, where the storage has lost it, or a part of it, in a power cut.

        Numbers that are missing before it are handed out by `ask` later on, unless they are restored, too. A trial that
        is over stays as it is. Called before the first trial is asked for.

        Args:
            number: The trial's.
            params: What it drew, by parameter name; what the search space does not have is left out.
            state: What came of it; RUNNING for one that goes on.
            values: As for `tell`.
            reported: The first objective's value by epoch.
            violations: As for `tell`.
            infeasible: As for `tell`.
            attempt: The attempt that it was at.
        """
        warm_up(self._trials, self._config, self._storage, None)  # whose numbers come first
        kept = {} if self._several else reported
        if restore_running(self._trials, number, params, kept, attempt) and state is not TrialState.RUNNING:
            self.tell(number, state, values, violations=violations, infeasible=infeasible)
        self._write_down()

    # telling about it

    def counts(self) -> Counts:
        """How many trials of its own there are of each kind."""
        return self._book.counts()

    def records(self) -> list[StudyRecord]:
        """Every trial of its own that was ever handed out, in order."""
        return self._book.records()

    def front(self) -> tuple[int, ...]:
        """Numbers of the complete trials that keep all constraints, and that no other of them beats."""
        return self._book.front()

    def importances(self) -> dict[str, float]:
        """Share of the first objective that each parameter explains; empty where too few trials are complete to say."""
        if self.counts().complete < FEWEST:
            return {}
        sense = self._config.objective.sense if self._several else None
        return importances(self._study, sense)

    # writing it down

    @contextmanager
    def in_turns(self) -> Iterator[None]:
        """Lets what is noted and told wait for `end_turn`, and for the end of all turns.

        A controller that is killed in the middle of a turn loses that much of the storage; the journal has it all.
        """
        if self._mirror is None:
            yield
            return
        self._mirror.in_turns = True
        try:
            yield
        finally:
            self._mirror.in_turns = False
        self._write_down()

    def end_turn(self) -> None:
        """Has written what was noted and told in this turn, in one transaction."""
        if self._mirror is not None:
            self._mirror.end_turn()

    def close(self) -> None:
        """Lets go of the storage."""
        if self._trials.backend is not None:
            with suppress(
                StudyError, StorageInternalError
            ):  # the end of a trial is there, and the journal has the rest
                self._write_down()
            self._trials.backend.engine.dispose()

    def _write_down(self) -> None:
        """Has everything that waits in memory written."""
        if self._mirror is not None:
            self._mirror.flush()
