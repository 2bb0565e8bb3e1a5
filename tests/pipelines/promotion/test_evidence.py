"""What a model gets wrong, and how far its word can be taken: against scikit-learn, and on cases made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_recall_fscore_support

from pipelines.promotion.evidence import MOST_MISTAKES, calibration_of, gather_evidence, worst_mistakes
from pipelines.tasks import Task

LABELS = ("a", "b", "c")


@pytest.fixture
def many() -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(1)
    truth = chance.integers(0, 3, 500)
    return truth, (chance.dirichlet(np.ones(3), 500) * 0.6 + np.eye(3)[truth] * 0.4).astype(np.float32)


def test_the_matrix_and_the_scores_by_class_are_scikit_learns(many: tuple[np.ndarray, np.ndarray]) -> None:
    truth, outputs = many

    found = gather_evidence(Task.MULTICLASS, truth, outputs, LABELS)

    named = outputs.argmax(axis=1)
    assert np.array(found.confusion).tolist() == confusion_matrix(truth, named).tolist()
    precision, recall, f1, support = precision_recall_fscore_support(truth, named)
    for place, each in enumerate(found.classes):
        assert (each.label, each.support) == (LABELS[place], support[place])
        assert (each.precision, each.recall, each.f1) == pytest.approx((precision[place], recall[place], f1[place]))


def test_a_class_that_is_not_there_and_that_nobody_names_has_no_scores() -> None:
    outputs = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], np.float32)

    found = gather_evidence(Task.MULTICLASS, np.array([0, 1]), outputs, LABELS)

    assert (found.classes[2].precision, found.classes[2].recall, found.classes[2].f1) == (None, None, None)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_model_that_is_as_often_right_as_it_says_is_calibrated() -> None:
    truth = np.array([0] * 8 + [1] * 2)
    outputs = np.tile(np.array([[0.8, 0.2, 0.0]], np.float32), (10, 1))

    found = calibration_of(Task.MULTICLASS, truth, outputs)

    assert found.of == "confidence"
    assert found.ece == pytest.approx(0.0, abs=1e-6)
    (filled,) = [each for each in found.bins if each.samples]
    assert (filled.samples, filled.found) == (10, 0.8)
    assert filled.said == pytest.approx(0.8)


def test_a_model_that_is_too_sure_is_off_by_as_much() -> None:
    truth = np.array([0, 1, 1, 1])
    outputs = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))

    found = calibration_of(Task.MULTICLASS, truth, outputs)

    assert found.ece == pytest.approx(0.75)
    assert found.brier == pytest.approx(1.5)
    assert found.bins[-1].samples == 4  # a probability of 1 is in the last bin


def test_of_two_classes_the_probability_of_the_second_is_looked_at() -> None:
    chance = np.random.default_rng(2)
    said = chance.random(1000).astype(np.float32)
    truth = (chance.random(1000) < said).astype(np.int64)

    found = calibration_of(Task.BINARY, truth, said[:, None])

    assert found.of == "probability"
    assert found.ece < 0.05
    assert found.brier == pytest.approx(2 * brier_score_loss(truth, said), rel=1e-5)


def test_predicted_numbers_come_in_bins_of_equal_size() -> None:
    truth = np.arange(100, dtype=np.float32)

    found = calibration_of(Task.REGRESSION, truth, (truth + 5.0)[:, None])

    assert [each.samples for each in found.bins] == [10] * 10
    assert found.ece == pytest.approx(5.0)
    assert found.brier is None


@pytest.mark.parametrize("outputs", [np.full((5, 1), 3.0), np.full((5, 1), np.nan)])
def test_a_model_that_says_one_thing_only_or_no_number_breaks_nothing(outputs: np.ndarray) -> None:
    found = gather_evidence(Task.REGRESSION, np.arange(5.0), outputs, ())

    assert found.classes == ()
    assert len(found.mistakes) == 5


def test_the_worst_mistakes_are_wrong_and_come_worst_first() -> None:
    truth = np.array([0, 1, 2, 0])
    outputs = np.array([[0.1, 0.9, 0.0], [0.3, 0.4, 0.3], [0.5, 0.1, 0.4], [0.0, 1.0, 0.0]], np.float32)

    assert worst_mistakes(Task.MULTICLASS, truth, outputs).tolist() == [3, 0, 2]


def test_there_are_no_more_mistakes_than_people_look_at(many: tuple[np.ndarray, np.ndarray]) -> None:
    truth, outputs = many

    assert len(worst_mistakes(Task.MULTICLASS, (truth + 1) % 3, outputs)) == MOST_MISTAKES
    assert len(worst_mistakes(Task.MULTICLASS, truth, np.eye(3)[truth])) == 0


def test_of_numbers_the_largest_differences_are_the_worst_and_no_number_is_worse_than_any() -> None:
    outputs = np.array([[1.0], [5.0], [np.nan], [2.0]])

    assert worst_mistakes(Task.REGRESSION, np.array([1.0, 1.0, 1.0, 1.0]), outputs).tolist() == [2, 1, 3, 0]
