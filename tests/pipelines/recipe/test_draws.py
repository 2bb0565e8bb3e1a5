from __future__ import annotations

from typing import Any

import pytest

from pipelines.recipe.draws import draws_all, fitting, matching, told
from pipelines.recipe.search_space import SearchSpace
from pipelines.samplers import varying
from tests.pipelines.samplers.spaces import NESTED
from tests.pipelines.scripted import recipe

SPACE: dict[str, Any] = {
    **NESTED,
    "callbacks.early_stopping": {"none": None, "early_stopping": {"patience": {"type": "int", "low": 2, "high": 9}}},
    "model.units": [[16], [32, 16]],
    "model.batch_normalization": [True, False],
    "model.dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "epochs": {"type": "int", "low": 1, "high": 64, "log": True},
}
VARIES = varying(SearchSpace(recipe(search_space=SPACE).search_space).parameters())


@pytest.mark.parametrize(
    ("wanted", "values"),
    [
        ({"batch_size": 32}, {"batch_size": 32}),
        ({"batch_size": "16"}, {"batch_size": 16}),
        ({"model.dropout": "1e-1"}, {"model.dropout": 0.1}),
        ({"model.dropout": 0}, {"model.dropout": 0.0}),
        ({"model.units": [32, 16]}, {"model.units": "[32, 16]"}),
        ({"model.batch_normalization": True}, {"model.batch_normalization": True}),
        ({"epochs": 33}, {"epochs": 33}),
        ({"optimizer": "adagrad"}, {"optimizer": "adagrad"}),
        ({"callbacks.early_stopping": None}, {"callbacks.early_stopping": "none"}),
        ({"optimizer.sgd.momentum": 0.1 + 0.2}, {"optimizer": "sgd", "optimizer.sgd.momentum": 0.3}),
        (
            {"optimizer.sgd.learning_rate.cosine.initial_learning_rate": 0.2},
            {
                "optimizer": "sgd",
                "optimizer.sgd.learning_rate": "cosine",
                "optimizer.sgd.learning_rate.cosine.initial_learning_rate": 0.2,
            },
        ),
        ({"batch_size": 48, "optimizer.adam.beta_1": 0.9},
         {"optimizer": "adam", "optimizer.adam.beta_1": 0.9, "batch_size": 48}),
    ],
)  # fmt: skip
def test_what_is_told_is_read_as_optuna_has_it_with_the_branches_that_lead_there(
    wanted: dict[str, Any], values: dict[str, Any]
) -> None:
    found, wrong = told(wanted, VARIES)

    assert wrong == {}
    assert found == values
    assert list(found) == [each.name for each in VARIES if each.name in values], "in the order of drawing"
    assert [type(value) for value in found.values()] == [type(values[name]) for name in found]


@pytest.mark.parametrize(
    ("wanted", "place", "words"),
    [
        ({"batch_sise": 32}, "batch_sise", "does not vary in the search space; did you mean 'batch_size'"),
        ({"optimizer.momentum": 0.1}, "optimizer.momentum", "what varies: optimizer, "),
        ({"batch_size": 20}, "batch_size", "must be 16, 32, … up to 48, got 20"),
        ({"batch_size": 64}, "batch_size", "from 16 to 48, got 64"),
        ({"epochs": 1.5}, "epochs", "must be a whole number from 1 to 64, got 1.5"),
        ({"epochs": True}, "epochs", "must be a number"),
        ({"model.dropout": 0.51}, "model.dropout", "must be a number from 0 to 0.5, got 0.51"),
        ({"model.dropout": "much"}, "model.dropout", "got 'much'"),
        ({"model.dropout": [0.1]}, "model.dropout", "must be a number"),
        ({"model.batch_normalization": 1}, "model.batch_normalization", "must be True or False, got 1"),
        ({"optimizer": "lion"}, "optimizer", "must be 'adam', 'sgd' or 'adagrad', got 'lion'"),
        ({"model.units": [8]}, "model.units", "got '[8]'"),
        ({"optimizer": "adam", "optimizer.sgd.momentum": 0.1}, "optimizer.sgd.momentum",
         "is drawn only where optimizer is sgd, and here it is adam"),
        ({"optimizer.adam.beta_1": 0.9, "optimizer.sgd.momentum": 0.1}, "optimizer.sgd.momentum",
         "only where optimizer is sgd, and optimizer.adam.beta_1 only where it is adam"),
        ({"callbacks.early_stopping": None, "callbacks.early_stopping.early_stopping.patience": 3},
         "callbacks.early_stopping.early_stopping.patience", "here it is none"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_a_mistake(wanted: dict[str, Any], place: str, words: str) -> None:
    _, wrong = told(wanted, VARIES)

    assert list(wrong) == [place]
    assert words in wrong[place]


WHOLE: dict[str, Any] = {
    "optimizer": "adagrad",
    "batch_size": 16,
    "callbacks.early_stopping": "none",
    "model.units": "[16]",
    "model.batch_normalization": False,
    "model.dropout": 0.25,
    "epochs": 3,
}


def test_a_whole_draw_fits_and_leaves_nothing_to_draw() -> None:
    assert fitting(WHOLE, VARIES) == WHOLE
    assert draws_all(WHOLE, VARIES)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 65},
        {"optimizer": "sgd"},
        {"optimizer.sgd.momentum": 0.1},
        {"unheard.of": 1},
        {"model.units": "[9]"},
    ],
)
def test_a_draw_of_another_space_does_not_fit(changes: dict[str, Any]) -> None:
    assert fitting({**WHOLE, **changes}, VARIES) is None
    assert matching({**WHOLE, **changes}, VARIES).keys() >= WHOLE.keys() - changes.keys()


@pytest.mark.parametrize("name", WHOLE)
def test_a_draw_with_something_missing_does_not_fit(name: str) -> None:
    assert fitting({key: value for key, value in WHOLE.items() if key != name}, VARIES) is None
