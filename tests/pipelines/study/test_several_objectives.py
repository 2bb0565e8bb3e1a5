"""Several objectives and constraints, as Optuna and the book have them."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe.config import SweepConfig
from pipelines.records import TrialState
from pipelines.study import Counts, Study
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import UNIT, ask, storage, tried

TWO: dict[str, Any] = {"objective": ["val_loss", "parameters"], "pruner": "none"}


def both(loss: float, parameters: float) -> dict[str, float]:
    return {"val_loss": loss, "parameters": parameters}


def optuna_trials(study: Study) -> list[Any]:
    trials: list[Any] = study._study.get_trials(deepcopy=False)
    return trials


def test_the_front_is_of_complete_trials_that_no_other_beats_and_survives_a_restart(tmp_path: Path) -> None:
    config = recipe(**TWO)
    with closing(Study(config, storage(tmp_path))) as study:
        for values in (both(0.5, 100), both(0.4, 200), both(0.6, 300), both(0.4, 150), both(0.4, 150)):
            tried(study, config, values)
        tried(study, config, both(0.1, 1), TrialState.PRUNED)
        tried(study, config, both(0.1, 1), TrialState.FAILED)
        front = study.front()

    assert front == (0, 3, 4)
    with closing(Study(config, storage(tmp_path))) as study:
        assert study.front() == front
        assert study.counts() == Counts(complete=5, pruned=1, failed=1)


def test_each_objective_has_a_direction_of_its_own(tmp_path: Path) -> None:
    config = recipe(objective=["val_loss", "val_accuracy", {"metric": "seconds", "direction": "maximize"}])
    with closing(Study(config, None)) as study:
        for loss, accuracy, seconds in ((0.5, 0.8, 10), (0.5, 0.9, 10), (0.6, 0.8, 9), (0.7, 0.7, 11)):
            tried(study, config, {"val_loss": loss, "val_accuracy": accuracy, "seconds": seconds})

        assert study.front() == (1, 3)


def test_the_front_of_one_objective_is_its_best_trials() -> None:
    config = recipe(objective="val_accuracy")
    with closing(Study(config, None)) as study:
        for accuracy in (0.8, 0.9, 0.7, 0.9):
            tried(study, config, {"val_accuracy": accuracy})

        assert study.front() == (1, 3)


@pytest.mark.parametrize(
    "sampler",
    [
        *("tpe", "random", "nsgaii", "nsgaiii", "qmc"),
        {"name": "nsgaiii", "population_size": 4, "reference_points": [[1, 0], [1, 1]]},
    ],
    ids=str,
)
def test_samplers_look_for_several_objectives_and_no_trial_is_stopped(sampler: Any) -> None:
    config = recipe(search_space=UNIT, sampler=sampler, objective=["val_loss", "seconds"])
    with closing(Study(config, None)) as study:
        for _ in range(20):
            asked = ask(study, config)
            dropout = asked.params["model.dropout"]
            for epoch in range(4):
                assert not study.should_stop(asked.number, epoch, 1e9)
            study.tell(asked.number, TrialState.COMPLETE, {"val_loss": dropout, "seconds": 1 - dropout})

        assert study.counts() == Counts(complete=20)
        assert len(study.front()) == 20


def test_importances_are_those_of_the_first_objective() -> None:
    space = {**UNIT, "batch_size": {"type": "int", "low": 1, "high": 64}}
    for metric, sign in (("val_loss", 1.0), ("val_accuracy", -1.0)):
        config = recipe(search_space=space, objective=[metric, "seconds"])
        with closing(Study(config, None)) as study:
            for _ in range(60):
                asked = ask(study, config)
                value = sign * abs(asked.params["model.dropout"] - 0.3)
                study.tell(asked.number, TrialState.COMPLETE, {metric: value, "seconds": asked.params["batch_size"]})
            shares = study.importances()

        assert shares["model.dropout"] > shares["batch_size"]


def test_a_trial_beyond_a_constraint_is_complete_and_never_on_the_front(tmp_path: Path) -> None:
    config = recipe(constraints={"val_accuracy": {"least": 0.9}, "parameters": {"most": 1000}})
    with closing(Study(config, storage(tmp_path))) as study:
        for loss, accuracy, parameters in ((0.1, 0.5, 10), (0.2, 0.95, 2000), (0.3, 0.9, 1000), (0.4, 0.99, 1)):
            measured = {"val_accuracy": accuracy, "parameters": parameters}
            tried(study, config, loss, violations=config.violations(measured))
        assert study.front() == (2,)
        told = [trial.constraints for trial in optuna_trials(study)]

    assert told[0] == {"val_accuracy": pytest.approx(0.4), "parameters": -990.0}
    assert told[1] == {"val_accuracy": pytest.approx(-0.05), "parameters": 1000.0}
    assert told[2] == {"val_accuracy": 0.0, "parameters": 0.0}
    with closing(Study(config, storage(tmp_path))) as study:
        assert study.counts() == Counts(complete=4)
        assert study.front() == (2,)
        assert study._study.best_trial.number == 2


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_constraint_of_which_nothing_is_known_is_broken(missing: float | None) -> None:
    config = recipe(constraints={"seconds": {"most": 10}})
    values = {} if missing is None else {"seconds": missing}

    assert config.violations(values)["seconds"] > 0


@pytest.mark.parametrize("second", [None, math.nan], ids=["missing", "not a number"])
def test_a_complete_trial_without_a_value_of_each_objective_counts_and_is_never_the_best(
    second: float | None, tmp_path: Path
) -> None:
    config = recipe(**TWO)
    values = {"val_loss": 0.1} if second is None else both(0.1, second)
    with closing(Study(config, storage(tmp_path))) as study:
        tried(study, config, values)
        tried(study, config, both(0.5, 9))
    with closing(Study(config, storage(tmp_path))) as study:
        assert study.counts() == Counts(complete=2)
        assert [record.state for record in study.records()] == [TrialState.COMPLETE] * 2
        assert study.front() == (1,)


def test_a_trial_that_ran_out_of_memory_counts_as_failed_also_after_a_restart(tmp_path: Path) -> None:
    config = recipe(**TWO)
    with closing(Study(config, storage(tmp_path))) as study:
        tried(study, config, both(0.1, 1), TrialState.FAILED, infeasible=True)
        tried(study, config, both(0.2, 2))
        assert study.counts() == Counts(complete=1, failed=1)
    with closing(Study(config, storage(tmp_path))) as study:
        assert study.counts() == Counts(complete=1, failed=1)
        assert [record.state for record in study.records()] == [TrialState.FAILED, TrialState.COMPLETE]
        assert study.front() == (1,)
        assert optuna_trials(study)[0].constraints == {"memory": 1.0}


def test_only_a_failed_trial_can_have_run_out_of_memory() -> None:
    config = recipe()
    with closing(Study(config, None)) as study, pytest.raises(ValueError, match="only a failed trial"):
        tried(study, config, 0.5, infeasible=True)


def beyond(config: SweepConfig, wall: float, trials: int, **told: Any) -> int:
    """How many of a study's later trials run into a wall behind which they would be best, and the memory ends."""
    with closing(Study(config, None)) as study:
        ran_into_it = 0
        for number in range(trials):
            asked = ask(study, config)
            dropout = asked.params["model.dropout"]
            if dropout > wall:
                ran_into_it += number >= trials // 2
                study.tell(asked.number, TrialState.FAILED, None, **told)
            else:
                values = {each.metric: 1 - dropout for each in config.objectives}
                study.tell(asked.number, TrialState.COMPLETE, values)
    return ran_into_it


@pytest.mark.parametrize("objective", ["val_loss", ["val_loss", "seconds"]], ids=["one", "two"])
def test_tpe_keeps_away_from_where_the_memory_ran_out(objective: Any) -> None:
    """A failed trial alone would be forgotten, and the sampler would walk into the wall again and again."""
    forgotten = kept = 0
    for seed in (1, 2, 3):
        config = recipe(search_space=UNIT, sampler="tpe", seed=seed, objective=objective)
        forgotten += beyond(config, 0.4, 60)
        kept += beyond(config, 0.4, 60, infeasible=True)

    assert kept < forgotten / 2


def test_tpe_keeps_away_from_what_breaks_a_constraint() -> None:
    config = recipe(search_space=UNIT, sampler="tpe", constraints={"parameters": {"most": 40}})
    with closing(Study(config, None)) as study:
        broken = []
        for _ in range(60):
            asked = ask(study, config)
            dropout = asked.params["model.dropout"]
            violations = config.violations({"parameters": 100 * dropout})
            study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 1 - dropout}, violations=violations)
            broken.append(violations["parameters"] > 0)
        assert study.front() != ()

    assert sum(broken[30:]) < sum(broken[:30])
