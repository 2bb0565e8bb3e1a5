"""Scores, held against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.packaging.scoring import score
from pipelines.tasks import Task


def test_scores_are_the_mean_cross_entropy_and_the_share_of_right_answers() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.1, 0.8, 0.1], [0.0, 0.75, 0.25]], np.float32)
    labels = np.array([0, 1, 2])

    found = score(Task.MULTICLASS, probabilities, labels).values

    assert found["test_loss"] == pytest.approx(-np.log([0.5, 0.8, 0.25]).mean())
    assert found["test_accuracy"] == pytest.approx(2 / 3)


def test_an_answer_that_was_held_impossible_costs_no_infinity() -> None:
    found = score(Task.MULTICLASS, np.array([[1.0, 0.0]], np.float32), np.array([1]))

    assert found.values["test_loss"] == pytest.approx(-np.log(1e-7))


def test_scores_of_a_binary_task_also_have_the_area_under_the_curve() -> None:
    probabilities = np.array([[0.9], [0.6], [0.4], [0.2]], np.float32)
    truth = np.array([1, 0, 1, 0])

    found = score(Task.BINARY, probabilities, truth).values

    assert list(found) == ["test_accuracy", "test_auc", "test_loss"]
    assert found["test_accuracy"] == 0.5
    assert found["test_auc"] == 0.75  # of the four pairs of one and the other, three are in the right order
    assert found["test_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.4, 0.8]).mean())


def test_scores_of_a_regression_are_in_the_targets_own_units() -> None:
    found = score(Task.REGRESSION, np.array([[10.0], [20.0], [33.0]], np.float32), np.array([10.0, 20.0, 30.0])).values

    assert found["test_mae"] == pytest.approx(1.0)
    assert found["test_mse"] == pytest.approx(3.0)
    assert found["test_rmse"] == pytest.approx(np.sqrt(3.0))
    assert found["test_r2"] == pytest.approx(1 - 9 / 200)
