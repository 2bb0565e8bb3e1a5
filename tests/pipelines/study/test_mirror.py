"""A study in memory in front of its database: both say the same, and the database is asked for little."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, event

from pipelines.study import making, mirror
from pipelines.study.mirror import Mirror
from pipelines.study.storage import open_storage
from pipelines.study.sturdy import write


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A mirror, and the database behind it as somebody else sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.opened: list[RDBStorage] = []
        self.mirror = self.open()
        self.study = optuna.create_study(storage=self.mirror, study_name="tiny")

    def open(self) -> Mirror:
        backend = open_storage(self.path)
        assert backend is not None
        self.opened.append(backend)
        return Mirror(backend, self.clock)

    def kept(self) -> list[FrozenTrial]:
        """What the database has."""
        return self.mirror.backend.get_all_trials(self.study._study_id)

    def known(self) -> list[FrozenTrial]:
        """What the study is told."""
        return self.study.get_trials()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "optuna.db")
    yield made
    for backend in made.opened:
        backend.engine.dispose()


def drawn(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1e-2, log=True)
    trial.suggest_categorical("units", [16, 32])
    return trial


def test_the_database_has_the_whole_trial_when_it_is_over(bench: Bench) -> None:
    trial = drawn(bench.study)
    for epoch, value in enumerate((0.5, math.nan, math.inf, -math.inf, 0.25)):
        trial.report(value, epoch)
    trial.set_user_attr("attempt", 2)
    trial.set_constraint("seconds", -1.0)
    bench.study.tell(trial, 0.25)

    (kept,), (known,) = bench.kept(), bench.known()
    assert repr(kept) == repr(known)  # a NaN is not equal to itself
    assert kept.state is TrialState.COMPLETE
    assert kept.value == 0.25
    assert kept.datetime_start is not None
    assert kept.datetime_complete is not None
    assert kept.datetime_start <= kept.datetime_complete


def test_epochs_make_no_transaction_each(bench: Bench) -> None:
    trial = drawn(bench.study)
    bench.mirror.flush()
    statements: list[str] = []
    event.listen(bench.mirror.backend.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))

    for epoch in range(50):
        trial.report(1.0, epoch)
        assert not trial.should_prune()
    assert statements == []
    assert bench.known()[0].intermediate_values == dict.fromkeys(range(50), 1.0)

    bench.study.tell(trial, 1.0)
    assert len(statements) == 3, "the epochs, the value, the state"


def test_epochs_of_a_slow_trial_are_written_as_they_come(bench: Bench) -> None:
    trial = drawn(bench.study)
    trial.report(0.5, 0)
    assert bench.kept()[0].intermediate_values == {}

    bench.clock.now += 1.5
    trial.report(0.4, 1)

    assert bench.kept()[0].intermediate_values == {0: 0.5, 1: 0.4}
    assert bench.kept()[0].params == trial.params


def test_what_is_told_again_replaces_what_was_written(bench: Bench) -> None:
    trial = drawn(bench.study)
    trial.set_user_attr("attempt", 1)
    bench.mirror.flush()
    trial.set_user_attr("attempt", 2)
    bench.mirror.flush()

    assert bench.kept()[0].user_attrs == {"attempt": 2}


def test_a_study_that_is_opened_again_goes_on_where_it_was(bench: Bench) -> None:
    done, waiting = drawn(bench.study), {"rate": 1e-3, "units": 16}
    bench.study.tell(done, 0.5)
    running = drawn(bench.study)
    running.report(0.7, 0)
    running.set_user_attr("attempt", 1)
    bench.study.enqueue_trial(waiting)
    bench.mirror.flush()

    again = bench.open()
    study = optuna.load_study(storage=again, study_name="tiny")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING]
    going_on = optuna.Trial(study, running._trial_id)
    going_on.set_user_attr("attempt", 2)
    going_on.report(0.6, 1)
    study.tell(going_on, 0.6)
    popped = drawn(study)
    study.tell(popped, 0.4)

    kept = again.backend.get_all_trials(study._study_id)
    assert kept == study.trials
    assert kept[1].user_attrs == {"attempt": 2}
    assert kept[1].intermediate_values == {0: 0.7, 1: 0.6}
    assert kept[2].params == waiting
    assert study.best_trial.number == 2


def test_a_write_that_came_through_unseen_is_there_once(bench: Bench) -> None:
    trial = drawn(bench.study)
    trial.report(0.5, 0)
    for again in (False, True):
        with bench.mirror.backend.engine.begin() as connection:
            bench.mirror._write(connection, again)

    assert bench.kept() == bench.known()


def test_what_the_database_would_not_take_is_not_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise StorageInternalError("disk full")

    trial = drawn(bench.study)
    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "_write", refuse)
        with pytest.raises(StorageInternalError):
            bench.study.tell(trial, 0.5)
    assert bench.kept()[0].state is TrialState.RUNNING

    bench.mirror.flush()

    assert bench.kept() == bench.known()
    assert bench.kept()[0].state is TrialState.COMPLETE


def test_a_parameter_whose_range_changed_its_kind_is_refused_as_by_optuna(bench: Bench) -> None:
    bench.study.tell(drawn(bench.study), 0.5)
    trial = bench.study.ask()

    with pytest.raises(ValueError, match="dynamic value space"):
        trial.suggest_categorical("units", ["few", "many"])


def test_a_trial_that_is_over_takes_nothing_more(bench: Bench) -> None:
    trial = drawn(bench.study)
    bench.study.tell(trial, 0.5)

    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        bench.mirror.set_trial_user_attr(trial._trial_id, "late", 1)
    bench.mirror.flush()
    assert bench.kept()[0].user_attrs == {}


def test_trials_that_somebody_else_added_are_noticed_with_the_next_one(bench: Bench) -> None:
    bench.study.tell(drawn(bench.study), 0.5)
    other = optuna.load_study(storage=bench.mirror.backend, study_name="tiny")
    other.enqueue_trial({"rate": 1e-3, "units": 32})

    assert drawn(bench.study).number == 2
    assert drawn(bench.study).params == {"rate": 1e-3, "units": 32}
    bench.mirror.flush()
    assert [trial.number for trial in bench.kept()] == [0, 1, 2]


def test_a_new_trial_is_the_one_that_the_database_has(bench: Bench) -> None:
    made = [bench.study.ask() for _ in range(3)]

    assert [trial.number for trial in made] == [0, 1, 2]
    assert bench.kept() == bench.known()
    theirs = bench.mirror.backend.get_trial(bench.mirror.backend.create_new_trial(bench.study._study_id))
    assert theirs.number == 3
    assert {name for name in vars(theirs) if type(vars(theirs)[name]) is not type(vars(bench.kept()[0])[name])} == set()


def test_a_new_trial_whose_making_came_through_unseen_is_made_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(backend: RDBStorage, do: Callable[[Connection, bool], None]) -> None:
        for again in (False, True):
            with backend.engine.begin() as connection:
                do(connection, again)

    bench.study.ask()
    monkeypatch.setattr(making, "write", twice)

    assert bench.study.ask().number == 1
    assert len(bench.kept()) == 2
    assert bench.kept() == bench.known()


def test_in_turns_everything_but_new_trials_waits_for_the_end_of_the_turn_and_is_one_transaction(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []

    def counted(backend: RDBStorage, do: Callable[[Connection, bool], None]) -> None:
        writes.append(1)
        write(backend, do)

    monkeypatch.setattr(mirror, "write", counted)
    bench.mirror.in_turns = True
    first, second = drawn(bench.study), drawn(bench.study)
    first.report(0.5, 0)
    bench.study.tell(first, 0.5)
    second.set_user_attr("attempt", 1)
    bench.mirror.settle()
    assert writes == []
    assert [trial.state for trial in bench.kept()] == [TrialState.RUNNING] * 2

    bench.mirror.end_turn()
    assert len(writes) == 1
    assert bench.kept() == bench.known()
    assert bench.kept()[0].value == 0.5

    bench.mirror.end_turn()
    second.report(0.4, 0)
    bench.mirror.end_turn()
    assert len(writes) == 1, "epochs alone can wait"
    bench.clock.now += 1.5
    bench.mirror.end_turn()
    assert bench.kept()[1].intermediate_values == {0: 0.4}
