"""The Optuna door on real storages: exact counts, resuming, and no warnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.study import AskedTrial, Counts, Study
from tests.pipelines.scripted import RATE, recipe

TPE: dict[str, Any] = {"sampler": {"name": "tpe", "n_startup_trials": 4}}
MEDIAN: dict[str, Any] = {"pruner": {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 1}}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Study]]:
    """Opens studies on one SQLite file, as one controller after another does."""
    studies: list[Study] = []

    def open_study(config: SweepConfig | None = None, *, on_disk: bool = True) -> Study:
        while studies:
            studies.pop().close()
        studies.append(Study(config or recipe(), tmp_path / "studies" / "optuna.db" if on_disk else None))
        return studies[-1]

    yield open_study
    for study in studies:
        study.close()


def ask(study: Study, config: SweepConfig | None = None) -> AskedTrial:
    """A trial with its parameters drawn."""
    asked = study.ask()
    SearchSpace((config or recipe()).search_space).sample(asked.optuna_trial)
    return asked


def complete(study: Study, value: float, config: SweepConfig | None = None) -> AskedTrial:
    asked = ask(study, config)
    study.should_stop(asked.number, 0, value)
    study.tell(asked.number, TrialState.COMPLETE, {"val_loss": value})
    return asked


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_counts_tell_every_kind_of_trial_apart(opened: Callable[..., Study], on_disk: bool) -> None:
    study = opened(on_disk=on_disk)
    ends = [TrialState.COMPLETE] * 3 + [TrialState.PRUNED] * 2 + [TrialState.FAILED] + [TrialState.RUNNING] * 4

    for end in ends:
        asked = ask(study)
        if end is not TrialState.RUNNING:
            study.tell(asked.number, end, {"val_loss": 0.5} if end is TrialState.COMPLETE else None)

    assert study.counts() == Counts(complete=3, pruned=2, failed=1, running=4)


def test_trials_are_numbered_from_zero(opened: Callable[..., Study]) -> None:
    study = opened()

    assert [ask(study).number for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (TrialState.PRUNED, None),
        (TrialState.PRUNED, 0.5),
        (TrialState.FAILED, None),
        (TrialState.FAILED, 0.5),
        (TrialState.COMPLETE, 0.5),
    ],
)
def test_a_told_state_is_the_state_whatever_value_comes_with_it(
    opened: Callable[..., Study], state: TrialState, value: float | None
) -> None:
    study = opened()
    asked = ask(study)
    study.should_stop(asked.number, 0, 0.9)

    study.tell(asked.number, state, None if value is None else {"val_loss": value})

    counts = study.counts()
    assert {
        TrialState.COMPLETE: counts.complete, TrialState.PRUNED: counts.pruned, TrialState.FAILED: counts.failed
    }[state] == 1  # fmt: skip
    assert counts.running == 0


def test_a_pruned_trial_that_never_reported_is_told_all_the_same(opened: Callable[..., Study]) -> None:
    study = opened()

    study.tell(ask(study).number, TrialState.PRUNED, None)

    assert study.counts().pruned == 1


def test_a_restarted_study_finds_what_was_left_unfinished_with_its_attempt(opened: Callable[..., Study]) -> None:
    study = opened()
    complete(study, 0.5)
    lost, retried, just_asked = ask(study), ask(study), study.ask()
    study.note_attempt(lost.number, 1)
    study.note_attempt(retried.number, 3)

    study = opened()

    assert study.unfinished() == [(lost.number, 1), (retried.number, 3), (just_asked.number, 1)]
    assert study.counts() == Counts(complete=1, running=3)


def test_what_waited_for_the_end_of_a_turn_is_there_when_all_turns_are_over(opened: Callable[..., Study]) -> None:
    study = opened()
    backend = study._trials.backend
    assert backend is not None

    def kept() -> list[str]:
        return [trial.state.name for trial in backend.get_all_trials(study._study._study_id)]

    with study.in_turns():
        complete(study, 0.5)
        study.note_attempt(ask(study).number, 2)
        assert kept() == ["RUNNING", "RUNNING"]
    assert kept() == ["COMPLETE", "RUNNING"]

    assert opened().unfinished() == [(1, 2)]


def test_an_unfinished_trial_goes_on_with_what_was_sampled_for_it(opened: Callable[..., Study]) -> None:
    study = opened()
    before = ask(study)
    study.should_stop(before.number, 0, 0.9)
    study.should_stop(before.number, 1, 0.8)

    study = opened()
    again = study.ask_again(before.number)
    drawn = SearchSpace(recipe().search_space).sample(again.optuna_trial)

    assert again.number == before.number
    assert drawn == before.params == again.params
    assert again.reported == {0, 1}
    study.tell(again.number, TrialState.COMPLETE, {"val_loss": 0.7})
    assert study.counts() == Counts(complete=1)
    assert study.unfinished() == []


def test_a_trial_that_was_not_even_sampled_before_the_crash_is_sampled_then(opened: Callable[..., Study]) -> None:
    number = opened().ask().number

    again = opened().ask_again(number)

    assert 1e-3 <= SearchSpace(recipe().search_space).sample(again.optuna_trial)[RATE] <= 1e-1


@pytest.mark.parametrize("sampler", [{"sampler": "random"}, TPE], ids=["random", "tpe"])
def test_a_restarted_sampler_does_not_draw_its_first_trials_again(
    opened: Callable[..., Study], sampler: dict[str, Any]
) -> None:
    config = recipe(**sampler)
    drawn: list[float] = []
    for _ in range(4):
        study = opened(config)
        drawn += [complete(study, 0.5, config).params[RATE] for _ in range(3)]

    assert len(set(drawn)) == len(drawn) == 12


@pytest.mark.parametrize("sampler", [{"sampler": "random"}, TPE], ids=["random", "tpe"])
def test_the_same_seed_draws_the_same_trials(opened: Callable[..., Study], sampler: dict[str, Any]) -> None:
    config = recipe(**sampler)

    first, second = (
        [complete(study, number / 10, config).params[RATE] for number in range(8)]
        for study in (opened(config, on_disk=False), opened(config, on_disk=False))
    )
    other = complete(opened(recipe(**sampler, seed=101), on_disk=False), 0.5).params[RATE]

    assert first == second
    assert other != first[0]


def test_an_epoch_that_comes_again_is_reported_once_and_without_a_warning(opened: Callable[..., Study]) -> None:
    study = opened()
    asked = ask(study)

    for value in (0.9, 0.1):  # warnings are errors here
        study.should_stop(asked.number, 0, value)

    assert study.unfinished() == [(0, 1)]
    study = opened()
    again = study.ask_again(0)
    study.should_stop(0, 0, 0.2)
    assert again.optuna_trial.study.trials[0].intermediate_values == {0: 0.9}


def test_the_pruner_stops_a_trial_that_is_worse_than_the_median_after_its_warm_up(
    opened: Callable[..., Study],
) -> None:
    study = opened(recipe(**MEDIAN))
    for value in (0.3, 0.4, 0.5):
        asked = ask(study)
        for epoch in range(3):
            study.should_stop(asked.number, epoch, value)
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": value})
    bad, good = ask(study), ask(study)

    assert not study.should_stop(bad.number, 0, 0.9)
    assert study.should_stop(bad.number, 1, 0.9)
    assert not study.should_stop(good.number, 0, 0.2)
    assert not study.should_stop(good.number, 1, 0.2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_do_not_break_the_study(opened: Callable[..., Study], value: float) -> None:
    study = opened(recipe(**MEDIAN))
    asked = ask(study)

    for epoch in range(3):
        study.should_stop(asked.number, epoch, value)
    study.tell(asked.number, TrialState.PRUNED, None)

    assert opened(recipe(**MEDIAN)).counts() == Counts(pruned=1)


def test_the_direction_is_the_objectives(opened: Callable[..., Study]) -> None:
    study = opened(recipe(objective="val_accuracy", **MEDIAN))
    for value in (0.5, 0.6, 0.7):
        asked = ask(study)
        for epoch in range(2):
            study.should_stop(asked.number, epoch, value)
        study.tell(asked.number, TrialState.COMPLETE, {"val_accuracy": value})
    bad = ask(study)

    study.should_stop(bad.number, 0, 0.1)
    assert study.should_stop(bad.number, 1, 0.1)


@pytest.mark.parametrize(
    ("objective", "names", "columns"),
    [
        ("val_loss", None, {"value"}),
        (["val_loss", "parameters"], ["val_loss", "parameters"], {"values_val_loss", "values_parameters"}),
    ],
)
def test_whoever_opens_the_study_with_optuna_reads_the_objectives_names(
    opened: Callable[..., Study], tmp_path: Path, objective: Any, names: list[str] | None, columns: set[str]
) -> None:
    config = recipe(objective=objective)
    study = opened(config)
    study.tell(ask(study, config).number, TrialState.COMPLETE, {"val_loss": 0.5, "parameters": 3.0})

    loaded = optuna.load_study(study_name=config.study, storage=f"sqlite:///{tmp_path}/studies/optuna.db")

    assert loaded.metric_names == names
    assert columns <= set(loaded.trials_dataframe().columns)


@pytest.mark.parametrize("trials", [0, 1, 2, 10])
def test_importances_of_too_few_trials_are_empty_and_warn_nobody(opened: Callable[..., Study], trials: int) -> None:
    study = opened()
    for number in range(trials):
        complete(study, number / 10)

    assert study.importances() == {}


def test_importances_of_equal_trials_do_not_break(opened: Callable[..., Study]) -> None:
    study = opened()
    for _ in range(12):
        complete(study, 0.5)

    assert all(math.isfinite(share) for share in study.importances().values())


def test_importances_find_the_parameter_that_matters(opened: Callable[..., Study]) -> None:
    space = {
        RATE: {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
        "batch_size": {"type": "int", "low": 8, "high": 64},
    }
    config = recipe(search_space=space)
    study = opened(config)
    for _ in range(40):
        asked = ask(study, config)
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": abs(math.log10(asked.params[RATE]) + 2)})

    shares = study.importances()

    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares[RATE] > shares["batch_size"]


def test_asking_copies_no_trial_that_was_there_before(
    opened: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each of thousands of trials costs more than the one before."""

    def copies(study: optuna.Study) -> None:
        raise AssertionError("all trials were copied")

    study = opened()
    complete(study, 0.5)
    left = ask(study)
    monkeypatch.setattr(optuna.Study, "trials", property(copies))

    complete(study, 0.4)
    study.ask_again(left.number)
    assert study.counts() == Counts(complete=2, running=1)


def test_a_study_of_branches_asks_without_warnings(opened: Callable[..., Study]) -> None:
    space = {
        "optimizer": {
            "adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
            "sgd": {"momentum": {"type": "float", "low": 0.0, "high": 0.9}},
        }
    }
    config = recipe(search_space=space, **TPE)
    study = opened(config)

    kinds = {complete(study, 0.5, config).params["optimizer"] for _ in range(12)}

    assert kinds == {"adam", "sgd"}


def test_questions_about_trials_read_none_of_them_from_the_storage(
    opened: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each of thousands of trials costs more than the one before."""

    def reads(*_: Any, **__: Any) -> None:
        raise AssertionError("trials were read")

    config = recipe(search_space={"batch_size": [8, 16, 32]}, sampler="grid")
    study = opened(config)
    complete(study, 0.5, config)
    asked = ask(study, config)
    with monkeypatch.context() as patched:
        for storage in (study._study._storage, study._trials.backend):
            for name in ("get_all_trials", "_get_trials"):
                if hasattr(storage, name):
                    patched.setattr(storage, name, reads)
        study.report(asked.number, 0, 0.4)
        assert study.left() == 1
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.4})
        assert (study.counts(), study.front(), study.unfinished()) == (Counts(complete=2), (1,), [])
        assert [record.number for record in study.records()] == [0, 1]
        assert study.left() == 1
