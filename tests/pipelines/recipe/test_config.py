from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.recipe.config import Objective, SweepConfig, TrainingConfig


def test_a_config_survives_json_unchanged() -> None:
    config = TrainingConfig.model_validate(
        {
            "model": {"units": [5], "activation": ["tanh"]},
            "optimizer": {"name": "sgd", "momentum": 0},
            "callbacks": {
                "learning_rate_scheduler": {"schedule": {"name": "function", "function": "math:fmod"}},
                "model_checkpoint": None,
                "mine": {"name": "early_stopping", "baseline": 0.5},
            },
        }
    )
    again = TrainingConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert list(again.callbacks) == ["learning_rate_scheduler", "model_checkpoint", "mine"]


@pytest.mark.parametrize(
    ("metric", "direction", "sense"),
    [
        ("val_loss", None, "minimize"),
        ("val_accuracy", None, "maximize"),
        ("loss", None, "minimize"),
        ("accuracy", "minimize", "minimize"),
    ],
)
def test_the_direction_is_told_from_the_metric(metric: str, direction: Any, sense: str) -> None:
    assert Objective(metric=metric, direction=direction).sense == sense


@pytest.mark.parametrize("name", ["a", "fashion-mnist_2.1", "A" * 100, "0"])
def test_a_study_may_be_called(name: str) -> None:
    assert SweepConfig(study=name).study == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "-a", "ä", "a\n", "A" * 101, "a:b"])
def test_a_study_may_not_be_called(name: str) -> None:
    with pytest.raises(ValidationError, match="begin with a letter or digit"):
        SweepConfig(study=name)


def test_the_training_part_of_a_recipe_is_a_training_config() -> None:
    recipe = SweepConfig.model_validate({"study": "a", "epochs": 3, "search_space": {"epochs": [3]}})
    assert TrainingConfig.model_validate(recipe.training()).epochs == 3
    assert set(recipe.training()) == set(TrainingConfig.model_fields)
