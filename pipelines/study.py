"""The Optuna door: asks for trials, weighs epochs, takes results. One process, one thread, one writer of the storage.

Ask and tell rather than `study.optimize`: the controller sees every worker's death, and no trial stays RUNNING behind
its back, where it would repel the sampler for ever (TPE's constant liar).
"""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from pipelines.config import SweepConfig
from pipelines.records import TrialState
from pipelines.samplers import Surroundings, highest, varying
from pipelines.samplers.exhaustive_engine import entries
from pipelines.samplers.ledger import Ledger
from pipelines.search_space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.ERROR)

_TOLD = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_ATTEMPT = "attempt"
_FEWEST_FOR_IMPORTANCES = 11
"""Complete trials below which the best tenth, that importances are told from, would be a single trial."""


@dataclass(frozen=True)
class Counts:
    """How many trials there are of each kind."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0


class AskedTrial:
    """A trial that was handed out: something to sample from, with a number."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.optuna_trial = trial
        self.number: int = trial.number
        # without a copy: copies of all trials would make each trial cost more than the one before
        self.reported: set[int] = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    @property
    def params(self) -> dict[str, Any]:
        """What was sampled, by parameter name."""
        return dict(self.optuna_trial.params)


class Study:
    """A study in its storage."""

    def __init__(self, config: SweepConfig, storage: Path | None) -> None:
        """Opens or makes the study of a recipe; `storage` is an SQLite file, None keeps it in memory."""
        with _no_experimental_warnings():
            self._backend = _sqlite(storage) if storage else None
            self._study = optuna.create_study(
                storage=self._backend, study_name=config.study, direction=config.objective.sense, load_if_exists=True
            )
        what_varies = varying(SearchSpace(config.search_space).parameters())
        self._study.pruner = config.pruner.build(highest(what_varies, "epochs", config.epochs))
        self._combinations = config.sampler.combinations(what_varies)
        self._ledger = None if self._combinations is None else Ledger(self._combinations)
        self._sampler = config.sampler
        self._around = Surroundings(config.seed, len(self._study.get_trials(deepcopy=False)), what_varies)
        self._asks = False
        self._open: dict[int, AskedTrial] = {}

    @property
    def combinations(self) -> int | None:
        """How many combinations there are to try, of a sampler that tries them all; None of any other."""
        return None if self._combinations is None else self._combinations.count()

    def left(self) -> int | None:
        """How many of them no trial has tried or is about to; one that failed is left. None of any other sampler."""
        if self._ledger is None:
            return None
        self._ledger.bring_up(entries(self._study.get_trials(deepcopy=False), self._ledger))
        return self._ledger.left()

    def unfinished(self) -> list[tuple[int, int]]:
        """Number and attempt of trials that an earlier controller handed out and never heard of again."""
        trials = self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,))
        return [(trial.number, int(trial.user_attrs.get(_ATTEMPT, 1))) for trial in trials]

    def ask(self) -> AskedTrial:
        """A new trial. Where nothing is `left`, it is one that was there before."""
        self._begin_to_ask()
        with _no_experimental_warnings():
            asked = AskedTrial(self._study.ask())
        self._open[asked.number] = asked
        return asked

    def ask_again(self, number: int) -> AskedTrial:
        """A trial of `unfinished`, with what was sampled for it."""
        self._begin_to_ask()
        # Optuna offers no other way to go on with an asked trial
        trial_id = self._study.get_trials(deepcopy=False)[number]._trial_id
        asked = AskedTrial(optuna.Trial(self._study, trial_id))
        self._open[number] = asked
        return asked

    def note_attempt(self, number: int, attempt: int) -> None:
        """Keeps which attempt a trial is at, for a controller that comes after this one."""
        self._open[number].optuna_trial.set_user_attr(_ATTEMPT, attempt)

    def should_stop(self, number: int, epoch: int, value: float) -> bool:
        """Reports an epoch's value and asks the pruner. An epoch of a repeated attempt is reported once."""
        asked = self._open[number]
        if epoch not in asked.reported:
            asked.reported.add(epoch)
            asked.optuna_trial.report(value, epoch)
        return bool(asked.optuna_trial.should_prune())

    def tell(self, number: int, state: TrialState, value: float | None) -> None:
        """Closes a trial."""
        asked = self._open.pop(number)
        values = value if state is TrialState.COMPLETE else None
        with _no_experimental_warnings():
            self._study.tell(asked.optuna_trial, values, state=_TOLD[state], skip_if_finished=True)

    def counts(self) -> Counts:
        """How many trials there are of each kind."""
        states = [trial.state for trial in self._study.get_trials(deepcopy=False)]
        return Counts(*(states.count(state) for state in (*_TOLD.values(), OptunaState.RUNNING)))

    def importances(self) -> dict[str, float]:
        """Share of the objective that each parameter explains; empty where too few trials are complete to say."""
        if self.counts().complete < _FEWEST_FOR_IMPORTANCES:
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of few trials; the report says how many there were
                return dict(optuna.importance.get_param_importances(self._study))
        except (ValueError, RuntimeError, ZeroDivisionError):
            return {}

    def _begin_to_ask(self) -> None:
        """Builds the sampler, which may need a package that whoever only looks at the study can do without."""
        if not self._asks:
            self._study.sampler = self._sampler.build(self._around)
            self._asks = True

    def close(self) -> None:
        """Lets go of the storage."""
        if self._backend is not None:
            self._backend.engine.dispose()


def _sqlite(path: Path) -> optuna.storages.RDBStorage:
    """A storage with one writer, for which a write-ahead log makes commits cost microseconds, not milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, timeout=20)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last commits, never the file
        return connection

    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})


@contextlib.contextmanager
def _no_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
