"""Optuna's study and the book on it, which must say the same."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from pipelines.front import Directed
from pipelines.samplers import Combinations, Varying
from pipelines.samplers.base import BORROWED
from pipelines.study.book import Book, Known
from pipelines.study.endings import point_of, state_of

ATTEMPT, RESTORED = "attempt", "regatta.restored"
"""User attributes of a trial: the attempt that it is at, and whether it was taken from the journal."""


class Trials:
    """All trials of one study."""

    def __init__(
        self,
        study: optuna.Study,
        backend: RDBStorage | None,
        objectives: Directed,
        varies: Sequence[Varying],
        combinations: Combinations | None,
    ) -> None:
        """Reads all that the storage has.

        Args:
            study: Optuna's.
            backend: Its database, or None where it is in memory.
            objectives: What it looks for.
            varies: Its search space.
            combinations: Those of a sampler that tries them all.
        """
        self.study = study
        self.backend = backend
        self.objectives = objectives
        self.varies = varies
        self.book = Book(combinations)
        for trial in study.get_trials(deepcopy=False):
            self.enter(trial)

    def add(self, trial: FrozenTrial) -> None:
        """Adds a trial to the storage and to the book."""
        self.study.add_trial(trial)
        self.enter_last()

    def enter_last(self) -> None:
        """Takes a trial that was just added to the storage into the book."""
        self.enter(self.storage.get_trial(self.id_of(len(self.book))))

    def enter(self, trial: FrozenTrial) -> None:
        """Takes a trial of the storage into the book."""
        known = Known(
            trial.number,
            trial._trial_id,
            state_of(trial),
            attempt=int(trial.user_attrs.get(ATTEMPT, 1)),
            params=trial.params,
            reported=set(trial.intermediate_values),
            told=trial.system_attrs.get("fixed_params"),
            borrowed=BORROWED in trial.user_attrs,
            restored=RESTORED in trial.user_attrs,
            again=trial.state is optuna.trial.TrialState.FAIL,
        )
        self.book.enter(known, point_of(trial, self.objectives))

    def catch_up(self, number: int) -> None:
        """Takes trials below that number into the book that somebody else has made, with Optuna's dashboard say."""
        for trial in self.study.get_trials(deepcopy=False)[len(self.book) : number]:
            self.enter(trial)

    @property
    def storage(self) -> optuna.storages.BaseStorage:
        """Optuna's storage, with its cache of trials that are over."""
        return self.study._storage

    def of(self, known: Known) -> optuna.Trial:
        """Optuna's side of a trial; it offers no other way to go on with one that was asked for before."""
        return optuna.Trial(self.study, known.trial_id)

    def id_of(self, number: int) -> int:
        """The storage's own number for a trial."""
        trial_id: int = self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return trial_id
