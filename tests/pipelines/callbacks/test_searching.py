"""Every setting of a callback and of a schedule may vary in a sweep, by Keras's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.callbacks import Callback
from pipelines.optimizers import Optimizer
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.search_space import SearchSpace, overlay
from pipelines.schedules import EpochSchedule, LearningRate
from pipelines.spec import kinds_of
from tests.pipelines.scripted import recipe

OWN = """
from keras.callbacks import Callback

class Mine(Callback):
    def __init__(self, alpha=0.5, names=()):
        super().__init__()

def rate(epoch, rate, factor=0.5):
    return rate * factor
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "searched_callbacks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def read(space: dict[str, Any], **base: Any) -> SweepConfig:
    return recipe(**base, search_space=space)


def wrong(space: dict[str, Any], **base: Any) -> dict[str, str]:
    config = read(space, **base)
    return SearchSpace(config.search_space).check(config.training())


@pytest.mark.parametrize(
    ("base", "path", "values"),
    [
        ({}, "callbacks.early_stopping.restore_best_weights", [True, False]),
        ({}, "callbacks.early_stopping.baseline", [0.5, 0.25]),
        ({}, "callbacks.reduce_lr_on_plateau.cooldown", [0, 3]),
        ({}, "callbacks.terminate_on_nan.raise_error", [True, False]),
        ({}, "callbacks.swa.start_from_epoch", [0, 3]),
        ({}, "callbacks.diagnostics.margin", [0.05, 0.1]),
        ({}, "callbacks.model_checkpoint.save_best_only", [True, False]),
        (
            {"callbacks": {"mine": {"name": "class", "path": "searched_callbacks:Mine"}}},
            "callbacks.mine.arguments.alpha",
            [0.25, 0.5],
        ),
        (
            {"callbacks": {"learning_rate_scheduler": {"schedule": "step"}}},
            "callbacks.learning_rate_scheduler.schedule.factor",
            [0.25, 0.5],
        ),
        (
            {
                "callbacks": {
                    "learning_rate_scheduler": {"schedule": {"name": "function", "function": "searched_callbacks:rate"}}
                }
            },
            "callbacks.learning_rate_scheduler.schedule.arguments.factor",
            [0.25, 0.5],
        ),
        ({"optimizer": {"name": "adam", "learning_rate": "cosine"}}, "optimizer.learning_rate.alpha", [0.0, 0.1]),
        (
            {"optimizer": {"name": "adam", "learning_rate": {"name": "one_cycle"}}},
            "optimizer.learning_rate.warmup_epochs",
            [1, 0.5],
        ),
    ],
    ids=str,
)
def test_a_setting_deep_inside_varies(base: dict[str, Any], path: str, values: list[Any]) -> None:
    assert wrong({path: values}, **base) == {}
    for value in values:
        raw = overlay(read({path: values}, **base).training(), {path: value})
        found: Any = TrainingConfig.model_validate(raw).model_dump()
        for part in path.split("."):
            found = found[part]
        assert found == value


@pytest.mark.parametrize(
    "space",
    [
        {
            "optimizer.learning_rate": {
                "constant": {"value": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
                "cosine": {"initial_learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
                "piecewise": {"boundary_epochs": [[1, 2]], "values": [[0.1, 0.01, 0.001], [0.2, 0.02, 0.002]]},
                "warmup": {},
            }
        },
        {
            "optimizer": {
                "sgd": {"learning_rate": {"one_cycle": {"warmup_target": {"type": "float", "low": 0.01, "high": 0.1}}}},
                "adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2}},
            }
        },
        {"callbacks.mine": {"none": {}, "class": {"path": "searched_callbacks:Mine", "arguments.alpha": [0.25, 0.5]}}},
        {"callbacks.averaging": {"none": {}, "swa": {"every": {"type": "int", "low": 1, "high": 3}}}},
    ],
    ids=str,
)
def test_kinds_vary_as_branches(space: dict[str, Any]) -> None:
    assert wrong(space) == {}


def test_a_schedule_and_a_callback_do_not_both_move_the_rate() -> None:
    found = wrong(
        {"optimizer.learning_rate": {"constant": {}, "cosine": {}}}, callbacks={"reduce_lr_on_plateau": {"patience": 1}}
    )
    assert len(found) == 1
    assert "'cosine'" in next(iter(found.values()))
    assert wrong({"optimizer.learning_rate": {"constant": {}}}, callbacks={"reduce_lr_on_plateau": {}}) == {}


def test_every_kind_is_a_word_or_says_what_it_needs() -> None:
    """So that a recipe, and a branch of a search, can name it alone."""
    for union, needs in (
        (Optimizer, {}),
        (LearningRate, {"piecewise": {"values"}}),
        (EpochSchedule, {"function": {"function"}}),
        (Callback, {"learning_rate_scheduler": {"schedule"}, "class": {"path"}}),
    ):
        found = {
            name: {key for key, one in kind.model_fields.items() if one.is_required()}
            for name, kind in kinds_of(union).items()
        }
        assert {name: required for name, required in found.items() if required} == needs
