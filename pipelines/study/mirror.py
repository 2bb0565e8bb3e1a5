"""A study's storage as its one writer needs it: every question is answered from memory, and writes go out together.

Optuna's own storage asks its database at every epoch of every trial what it has just been told, and makes a transaction
of every single number: 15 ms an epoch. Here a trial's numbers wait in memory until one transaction takes them all: when
its attempt begins, when it is over, and otherwise a second after the last time. Whoever has many trials begin and end
at once has their numbers wait a little longer, and be taken together. What is lost in a crash, the journal has;
`reconcile` tells it again.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._in_memory import _StudyInfo
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, bindparam, delete, insert, update

from pipelines.study.making import new_trial, utc
from pipelines.study.sturdy import write

_LONGEST_WAIT_S = 1.0
_Key = tuple[int, Any]
"""A trial's id, and which of its rows."""
_COLUMNS: dict[Any, str] = {
    models.TrialParamModel: "param_name",
    models.TrialUserAttributeModel: "key",
    models.TrialSystemAttributeModel: "key",
    models.TrialIntermediateValueModel: "step",
    models.TrialValueModel: "objective",
}
"""What tells the rows of one trial in a table from each other."""


class Mirror(InMemoryStorage):
    """A database in front of which its trials stand in memory. Nobody else may change trials that it has."""

    def __init__(self, backend: RDBStorage, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the database; a study is read when it is asked for by name."""
        super().__init__()
        self.backend = backend
        self._clock = clock
        self._rows: dict[Any, dict[_Key, dict[str, Any]]] = {model: {} for model in _COLUMNS}
        self._states: dict[int, FrozenTrial] = {}  # trials whose own row has changed
        self._there: dict[int, set[tuple[Any, Any]]] = defaultdict(set)  # rows of open trials that the database has
        self._written_at = clock()
        self._due = False  # something has gathered that is not to wait for long
        self.in_turns = False
        """Whether everything but new trials waits for the end of a turn, which `end_turn` is told."""

    # studies

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Makes it in the database, too."""
        study_id = self.backend.create_new_study(directions, study_name)
        self._read(study_id)
        return study_id

    def get_study_id_from_name(self, study_name: str) -> int:
        """Reads the study, at the first time."""
        study_id = self.backend.get_study_id_from_name(study_name)
        if study_id not in self._studies:
            self._read(study_id)
        return study_id

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets it in the database, too, at once."""
        self.backend.set_study_user_attr(study_id, key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Sets it in the database, too, at once."""
        self.backend.set_study_system_attr(study_id, key, value)
        super().set_study_system_attr(study_id, key, value)

    def get_all_studies(self) -> list[FrozenStudy]:
        """All in the database."""
        return self.backend.get_all_studies()

    # trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Makes it in the database, whose number of it counts: somebody else may have added trials meanwhile."""
        if template_trial is None:
            made = new_trial(self.backend, study_id)
        else:
            made = self.backend._create_new_trial(study_id, template_trial)
        trials = self._studies[study_id].trials
        if made.number > len(trials):
            last = trials[-1]._trial_id if trials else -1
            others = self.backend._get_trials(study_id, None, set(), last)
            self._take(study_id, [trial for trial in others if trial.number < made.number])
        self._take(study_id, [made])
        return int(made._trial_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Keeps what was drawn."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        told = {"param_value": param_value_internal, "distribution_json": distribution_to_json(distribution)}
        self._note(models.TrialParamModel, trial_id, param_name, told)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Begins a trial that waited, or ends one; with the end, all of it is to be written."""
        if not super().set_trial_state_values(trial_id, state, values):
            return False
        for objective, value in enumerate(values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            self._note(models.TrialValueModel, trial_id, objective, {"value": stored, "value_type": kind})
        self._states[trial_id] = self._get_trial(trial_id)
        if state.is_finished():
            self.settle()
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Keeps a value, which is written some time."""
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        model = models.TrialIntermediateValueModel
        stored, kind = model.intermediate_value_to_stored_repr(intermediate_value)
        self._note(model, trial_id, step, {"intermediate_value": stored, "intermediate_value_type": kind})
        if self._clock() - self._written_at > _LONGEST_WAIT_S:
            self.flush()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keeps an attribute."""
        super().set_trial_user_attr(trial_id, key, value)
        self._note(models.TrialUserAttributeModel, trial_id, key, {"value_json": json.dumps(value)})

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keeps an attribute."""
        super().set_trial_system_attr(trial_id, key, value)
        self._note(models.TrialSystemAttributeModel, trial_id, key, {"value_json": json.dumps(value)})

    # the database

    def settle(self) -> None:
        """Writes what has gathered, now or at the end of the turn."""
        self._due = True
        if not self.in_turns:
            self.flush()

    def end_turn(self) -> None:
        """Writes what has gathered, if anything in it is not to wait."""
        if self._due or self._clock() - self._written_at > _LONGEST_WAIT_S:
            self.flush()

    def flush(self) -> None:
        """Writes what has gathered, as a whole or not at all.

        Raises:
            StudyError: The database was away for too long. What has gathered is kept.
            StorageInternalError: The database will not take it.
        """
        if self._states or any(self._rows.values()):
            write(self.backend, self._write)
            for model, rows in self._rows.items():
                for trial_id, which in rows:
                    self._there[trial_id].add((model, which))
            for trial_id, trial in self._states.items():
                if trial.state.is_finished():
                    self._there.pop(trial_id, None)
            self._rows = {model: {} for model in _COLUMNS}
            self._states = {}
        self._due = False
        self._written_at = self._clock()

    def _note(self, model: Any, trial_id: int, which: Any, told: dict[str, Any]) -> None:
        self._rows[model][trial_id, which] = {"trial_id": trial_id, _COLUMNS[model]: which, **told}

    def _write(self, connection: Connection, again: bool) -> None:
        """Writes in a transaction; `again` says that an earlier try may have come through unseen."""
        for model, rows in self._rows.items():
            table, column = model.__table__, _COLUMNS[model]
            stale = [(of, which) for of, which in rows if again or (model, which) in self._there[of]]
            if stale:
                these = table.c.trial_id == bindparam("of"), table.c[column] == bindparam("which")
                connection.execute(delete(table).where(*these), [{"of": of, "which": which} for of, which in stale])
            if rows:
                connection.execute(insert(table), list(rows.values()))
        if self._states:
            trials = models.TrialModel.__table__
            columns: dict[str, Any] = {
                name: bindparam(f"new_{name}") for name in ("state", "datetime_start", "datetime_complete")
            }
            connection.execute(
                update(trials).where(trials.c.trial_id == bindparam("of")).values(columns),
                [
                    {
                        "of": of,
                        "new_state": trial.state,
                        "new_datetime_start": utc(trial.datetime_start),
                        "new_datetime_complete": utc(trial.datetime_complete),
                    }
                    for of, trial in self._states.items()
                ],
            )

    def _read(self, study_id: int) -> None:
        """Takes a study into memory, with all its trials."""
        backend = self.backend
        name = backend.get_study_name_from_id(study_id)
        info = self._studies[study_id] = _StudyInfo(name, backend.get_study_directions(study_id))
        info.user_attrs = backend.get_study_user_attrs(study_id)
        info.system_attrs = backend.get_study_system_attrs(study_id)
        self._study_name_to_id[name] = study_id
        self._prev_waiting_trial_number[study_id] = 0
        self._take(study_id, backend.get_all_trials(study_id, deepcopy=False))

    def _take(self, study_id: int, trials: Iterable[FrozenTrial]) -> None:
        """Takes trials that the database has into memory."""
        info = self._studies[study_id]
        for trial in sorted(trials, key=lambda trial: trial.number):
            self._trial_id_to_study_id_and_number[trial._trial_id] = (study_id, trial.number)
            info.trials.append(trial)
            info.param_distribution |= trial.distributions
            self._prev_waiting_trial_number[study_id] = min(self._prev_waiting_trial_number[study_id], trial.number)
            self._update_cache(trial._trial_id, study_id)
            if not trial.state.is_finished():
                named: dict[Any, Mapping[Any, Any]] = {
                    models.TrialParamModel: trial.params,
                    models.TrialUserAttributeModel: trial.user_attrs,
                    models.TrialSystemAttributeModel: trial.system_attrs,
                    models.TrialIntermediateValueModel: trial.intermediate_values,
                }
                self._there[trial._trial_id] |= {(model, key) for model, keys in named.items() for key in keys}
