"""Trials whose end the journal knows and the storage does not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.study import Counts, Study, StudyRecord
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import BRANCHES, ask, storage, tried

CONFIG = recipe(search_space=BRANCHES)
SGD: dict[str, Any] = {"optimizer": "sgd", "optimizer.sgd.momentum": 0.25, "batch_size": 32}


def opened(home: Path, config: SweepConfig = CONFIG) -> Study:
    return Study(config, storage(home))


def optuna_trial(study: Study, number: int) -> Any:
    return study._study.get_trials(deepcopy=False)[number]


def test_records_tell_state_attempt_and_params_of_every_trial(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as study:
        tried(study, CONFIG, 0.5)
        tried(study, CONFIG, 0.5, TrialState.PRUNED)
        running = ask(study, CONFIG)
        study.note_attempt(running.number, 4)
        before = study.records()
    with closing(opened(tmp_path)) as study:
        assert study.records() == before
        assert [(record.number, record.state, record.attempt) for record in before] == [
            (0, TrialState.COMPLETE, 1), (1, TrialState.PRUNED, 1), (2, TrialState.RUNNING, 4),
        ]  # fmt: skip
        assert before[2].params == running.params


@pytest.mark.parametrize(
    ("state", "told", "counts"),
    [
        (TrialState.COMPLETE, {}, Counts(complete=1)),
        (TrialState.PRUNED, {}, Counts(pruned=1)),
        (TrialState.FAILED, {}, Counts(failed=1)),
        (TrialState.FAILED, {"infeasible": True}, Counts(failed=1)),
    ],
)
def test_a_trial_whose_end_the_journal_knows_is_settled_once(
    tmp_path: Path, state: TrialState, told: dict[str, Any], counts: Counts
) -> None:
    with closing(opened(tmp_path)) as study:
        ask(study, CONFIG)
    for _ in range(2):
        with closing(opened(tmp_path)) as study:
            study.tell(0, state, {"val_loss": 0.25}, violations={"seconds": -1.0}, **told)
            study.tell(0, TrialState.FAILED, None)
            assert study.counts() == counts
            assert study.unfinished() == []


def test_settling_keeps_values_and_violations(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as study:
        ask(study, CONFIG)
        ask(study, CONFIG)
    with closing(opened(tmp_path)) as study:
        study.tell(0, TrialState.COMPLETE, {"val_loss": 0.25}, violations={"seconds": 2.0})
        study.tell(1, TrialState.COMPLETE, {"val_loss": 0.75}, violations={"seconds": -2.0})
        assert study.front() == (1,)
        assert optuna_trial(study, 0).value == 0.25
        assert optuna_trial(study, 0).constraints == {"seconds": 2.0}


def test_a_storage_that_is_gone_altogether_is_made_from_the_journal_again(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as study:
        study.restore(0, SGD, TrialState.COMPLETE, {"val_loss": 0.5}, {0: 0.9, 1: 0.5}, attempt=2)
        study.restore(1, SGD, TrialState.PRUNED, None, {0: 0.9})
        study.restore(2, SGD, TrialState.FAILED, None, {}, infeasible=True)
        study.restore(3, SGD, TrialState.COMPLETE, {"val_loss": 0.1}, {}, violations={"seconds": 3.0})
        study.restore(4, SGD, TrialState.RUNNING, None, {0: 0.7}, attempt=3)
        before = study.records()
    with closing(opened(tmp_path)) as study:
        assert study.records() == before
        assert study.counts() == Counts(complete=2, pruned=1, failed=1, running=1)
        assert study.front() == (0,)
        assert study.unfinished() == [(4, 3)]
        assert before[0] == StudyRecord(0, TrialState.COMPLETE, 2, SGD)
        assert optuna_trial(study, 0).intermediate_values == {0: 0.9, 1: 0.5}
        again = study.ask_again(4)
        assert again.params == SGD
        assert again.reported == {0}
        assert ask(study, CONFIG).number == 5


def test_numbers_that_are_missing_are_handed_out_later_and_none_is_lost(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as study:
        tried(study, CONFIG, 0.5)
        study.restore(4, SGD, TrialState.COMPLETE, {"val_loss": 0.25}, {})
        study.restore(2, SGD, TrialState.PRUNED, None, {})
        assert study.counts() == Counts(complete=2, pruned=1)
    with closing(opened(tmp_path)) as study:
        assert [ask(study, CONFIG).number for _ in range(4)] == [1, 3, 5, 6]
        assert optuna_trial(study, 4).params == SGD
        assert optuna_trial(study, 2).state.name == "PRUNED"


def test_a_trial_that_lost_only_a_part_gets_that_part_back(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as study:
        study.ask()  # nothing of what it drew has come to the disk
    with closing(opened(tmp_path)) as study:
        study.restore(0, SGD, TrialState.RUNNING, None, {0: 0.5, 1: 0.4}, attempt=2)
        again = study.ask_again(0)
        drawn = SearchSpace(CONFIG.search_space).sample(again.optuna_trial)
        assert drawn == {"optimizer": {"name": "sgd", "momentum": 0.25}, "batch_size": 32}
        assert again.reported == {0, 1}
        study.report(0, 1, 0.9)
        study.tell(0, TrialState.COMPLETE, {"val_loss": 0.4})
        assert optuna_trial(study, 0).intermediate_values == {0: 0.5, 1: 0.4}


def test_a_trial_that_is_over_stays_as_it_is(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as study:
        params = tried(study, CONFIG, 0.5).params
        study.restore(0, SGD, TrialState.FAILED, None, {7: 1.0})
        assert study.counts() == Counts(complete=1)
        assert optuna_trial(study, 0).params == params


@pytest.mark.parametrize("objective", ["val_loss", ["val_loss", "seconds"]], ids=["one", "two"])
def test_the_sampler_goes_on_from_restored_trials(tmp_path: Path, objective: Any) -> None:
    config = recipe(search_space=BRANCHES, sampler={"name": "tpe", "n_startup_trials": 3}, objective=objective)
    with closing(opened(tmp_path, config)) as study:
        for number in range(6):
            params = {**SGD, "optimizer.sgd.momentum": number / 10, "unheard.of": 3}
            values = {"val_loss": number / 10, "seconds": 1.0}
            study.restore(number, params, TrialState.COMPLETE, values, {0: 0.5})
        study.restore(6, SGD, TrialState.PRUNED, None, {0: 0.5})
        for _ in range(5):
            tried(study, config, {"val_loss": 0.5, "seconds": 2.0})
        assert study.counts() == Counts(complete=11, pruned=1)


def test_what_was_enqueued_and_restored_is_not_enqueued_again(tmp_path: Path) -> None:
    config = recipe(search_space=BRANCHES, enqueue=[{"batch_size": 32}, {"batch_size": 64}])
    with closing(opened(tmp_path, config)) as study:
        study.restore(0, SGD, TrialState.COMPLETE, {"val_loss": 0.5}, {})
        assert [ask(study, config).params["batch_size"] for _ in range(1)] == [64]
        study.begin()
        assert study._book.waiting() == []


def test_a_combination_that_was_restored_is_tried(tmp_path: Path) -> None:
    config = recipe(search_space={"batch_size": [16, 32, 64]}, sampler="grid")
    with closing(opened(tmp_path, config)) as study:
        study.restore(0, {"batch_size": 32}, TrialState.COMPLETE, {"val_loss": 0.5}, {})
        study.restore(1, {"batch_size": 16}, TrialState.RUNNING, None, {})
        assert study.left() == 1
        assert ask(study, config).params["batch_size"] == 64
