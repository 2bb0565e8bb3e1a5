"""Whether compiled programs pay for a recipe, as far as its search space tells."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.programs import too_many
from tests.pipelines.scripted import recipe

SMALL, LARGE = 400, 48_000
UNITS = {"model.units": {"type": "categorical", "choices": [[units] for units in range(1, 41)]}}
SMOOTHING = {"loss": {"categorical_crossentropy": {"label_smoothing": {"type": "float", "low": 0.01, "high": 0.2}}}}
TWO = {"model.activation": ["relu", "tanh"]}
SHARED = {
    "optimizer": {
        "adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
        "sgd": {"momentum": {"type": "float", "low": 0.1, "high": 0.9}},
    },
    "callbacks.early_stopping.patience": {"type": "int", "low": 3, "high": 10},
    "epochs": {"type": "int", "low": 5, "high": 20, "step": 5},
}
PROCESSES = {"executor": "processes"}


def told(
    space: dict[str, Any], *, trials: int = 12, samples: int | None = SMALL, cores: int = 2, **changes: Any
) -> str | None:
    config = recipe(trials, search_space=space, **{"epochs": 20, "execution": PROCESSES, **changes})
    return too_many(config, cores=cores, samples=samples)


def test_where_hardly_two_trials_share_a_program_it_says_how_many_there_would_be() -> None:
    assert told({**UNITS, **TWO}) == (
        "12 trials would need about 12 programs, which take longer to compile than they save"
    )


@pytest.mark.parametrize("space", [{}, SHARED])
@pytest.mark.parametrize("trials", [1, 2, 12, 600])
def test_one_program_for_all_is_worth_it_however_few_they_are(space: dict[str, Any], trials: int) -> None:
    assert told(space, trials=trials, cores=64, epochs=1) is None


def test_what_never_comes_twice_makes_a_program_for_each_trial_however_many_there_are() -> None:
    assert told(SMOOTHING, trials=200, objective={"metric": "val_accuracy", "direction": "maximize"}) == (
        "200 trials would need about 200 programs, which take longer to compile than they save"
    )


def test_programs_pay_where_enough_trials_of_the_budget_share_each() -> None:
    assert told(UNITS, trials=20) is not None
    assert told(UNITS, trials=400) is None


def test_programs_pay_where_each_trial_is_long() -> None:
    assert told(UNITS, samples=LARGE) is None
    assert told(UNITS, epochs=400) is None
    assert told(UNITS, batch_size=1) is None


def test_the_more_trials_fit_trains_at_once_the_more_a_program_has_to_save() -> None:
    assert [told(TWO, trials=6, cores=cores) is None for cores in (1, 2, 4, 64)] == [True, True, False, False]
    # in one process there is one trial at a time, whatever the machine has
    assert told(TWO, trials=6, cores=64, execution={"executor": "inline"}) is None


def test_each_of_several_workers_makes_programs_of_its_own() -> None:
    alone, of_four = ({**PROCESSES, "workers": workers} for workers in (1, 4))
    assert told(UNITS, trials=160, execution=alone) is None
    assert told(UNITS, trials=160, execution=of_four) == (
        "40 trials would need about 27 programs, which take longer to compile than they save"
    )


def test_a_sampler_that_tries_each_combination_once_has_no_more_trials_than_there_are() -> None:
    space = {"model.activation": ["relu", "tanh", "sigmoid", "elu", "gelu", "selu"]}
    assert told(space, trials=200) is None
    assert told(space, trials=200, sampler="grid") == (
        "6 trials would need about 6 programs, which take longer to compile than they save"
    )


@pytest.mark.parametrize("lanes", [8, "off"])
def test_what_somebody_chose_is_not_judged(lanes: Any) -> None:
    assert told(UNITS, execution={**PROCESSES, "lanes": lanes}) is None


def test_the_answer_is_the_same_whenever_it_is_asked_for() -> None:
    said = {told({**UNITS, **TWO}, trials=30) for _ in range(3)}
    assert len(said) == 1


def test_data_that_nobody_has_looked_at_is_taken_to_be_small() -> None:
    assert told({**UNITS, **TWO}, samples=None) == told({**UNITS, **TWO})


def test_trials_that_will_be_no_valid_config_count_for_nothing() -> None:
    space = {"batch_size": {"type": "int", "low": -5, "high": 0}}
    assert told(space) is None
