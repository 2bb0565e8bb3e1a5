"""Every budget ends a sweep and is named for it; raised, the same study goes on. One study goes through all of them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.faults.scenarios import SMALL_EPOCHS, Budgets
from tests.faults.whole import assert_whole


@pytest.mark.parametrize("budget", ["target", "no_improvement_trials", "checkpoint_mb", "device_s", "wall_s", "trials"])
def test_a_budget_that_ends_a_sweep_is_named(budgets: Budgets, budget: str) -> None:
    summary = budgets.summaries[budget]

    assert summary["ended"]["by"] == budget
    assert summary["ended"]["text"]
    assert summary["journal"]["written"] == summary["journal"]["delivered"]


def complete(budgets: Budgets, budget: str) -> int:
    return int(budgets.summaries[budget]["trials"]["complete"])


def test_a_target_ends_with_the_trial_that_reaches_it(budgets: Budgets) -> None:
    assert budgets.summaries["target"]["trials"] == {"complete": 1, "pruned": 0, "failed": 0}


def test_no_improvement_ends_with_the_first_trial_that_is_no_new_best(budgets: Budgets) -> None:
    runs = [run for run in budgets.runs["no_improvement_trials"] if run.state == "COMPLETE"]
    values = [run.metrics["best.val_loss"] for run in runs]

    improves = [after < min(values[:count]) for count, after in enumerate(values) if count]
    assert improves == [True] * (len(improves) - 1) + [False]


def test_a_few_bytes_more_are_one_trial_more(budgets: Budgets) -> None:
    assert complete(budgets, "checkpoint_mb") == complete(budgets, "no_improvement_trials") + 1


def test_a_little_training_more_is_at_most_one_trial_more(budgets: Budgets) -> None:
    assert complete(budgets, "device_s") - complete(budgets, "checkpoint_mb") in {0, 1}


def test_a_raised_budget_goes_on_with_the_same_study_and_ends_whole(budgets: Budgets) -> None:
    for before, after in pairwise(budgets.runs.values()):
        ended = {run.trial: run.run_id for run in before if run.state == "COMPLETE"}
        assert ended.items() <= {run.trial: run.run_id for run in after if run.state == "COMPLETE"}.items()

    wanted = complete(budgets, "wall_s") + 1
    assert_whole(budgets.server, budgets.summaries["trials"], wanted, SMALL_EPOCHS)
