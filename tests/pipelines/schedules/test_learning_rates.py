from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.optimizers import Optimizer
from pipelines.schedules import LearningRate, Length
from pipelines.spec import kinds_of
from tests.pipelines.small_training import STEPS, fit, model

READ: TypeAdapter[Any] = TypeAdapter(LearningRate)
OPTIMIZER: TypeAdapter[Any] = TypeAdapter(Optimizer)
LENGTH = Length(steps_per_epoch=10, epochs=21)
"""210 steps: the sevenths and thirds that defaults take are whole."""
KERAS_NAMES = {
    "step": "ExponentialDecay",
    "exponential": "ExponentialDecay",
    "polynomial": "PolynomialDecay",
    "cosine": "CosineDecay",
    "cosine_restarts": "CosineDecayRestarts",
    "inverse_time": "InverseTimeDecay",
    "piecewise": "PiecewiseConstantDecay",
    "warmup": "CosineDecay",
    "one_cycle": "CosineDecay",
}
FIXED = {"step": {"staircase"}, "warmup": {"decay_steps", "alpha"}}
"""Keras's arguments that make a kind what it is, and so are no settings."""

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "step"}, {"initial_learning_rate": 1e-3, "decay_steps": 70, "decay_rate": 0.5, "staircase": True}),
    (
        {"name": "step", "initial_learning_rate": 1, "decay_epochs": 2, "decay_rate": 0.25},
        {"initial_learning_rate": 1.0, "decay_steps": 20, "decay_rate": 0.25, "staircase": True},
    ),
    (
        {"name": "exponential"},
        {"initial_learning_rate": 1e-3, "decay_steps": 210, "decay_rate": 0.1, "staircase": False},
    ),
    (
        {"name": "exponential", "initial_learning_rate": "1e-2", "decay_steps": 7, "decay_rate": 3, "staircase": True},
        {"initial_learning_rate": 0.01, "decay_steps": 7, "decay_rate": 3.0, "staircase": True},
    ),
    (
        {"name": "polynomial"},
        {"initial_learning_rate": 1e-3, "decay_steps": 210, "end_learning_rate": 1e-4, "power": 1.0, "cycle": False},
    ),
    (
        {"name": "polynomial", "decay_epochs": 5, "end_learning_rate": 0, "power": 2, "cycle": True},
        {"initial_learning_rate": 1e-3, "decay_steps": 50, "end_learning_rate": 0.0, "power": 2.0, "cycle": True},
    ),
    (
        {"name": "cosine"},
        {"initial_learning_rate": 1e-3, "decay_steps": 210, "alpha": 0.0, "warmup_target": None, "warmup_steps": 0},
    ),
    (
        {"name": "cosine", "initial_learning_rate": 0, "warmup_target": 0.5, "warmup_epochs": 0.5, "alpha": 0.25},
        {"initial_learning_rate": 0.0, "decay_steps": 205, "alpha": 0.25, "warmup_target": 0.5, "warmup_steps": 5},
    ),
    (
        {"name": "cosine", "decay_steps": 9, "warmup_target": 0.5, "warmup_steps": 3},
        {"initial_learning_rate": 1e-3, "decay_steps": 9, "alpha": 0.0, "warmup_target": 0.5, "warmup_steps": 3},
    ),
    (
        {"name": "cosine_restarts"},
        {"initial_learning_rate": 1e-3, "first_decay_steps": 30, "t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0},
    ),
    (
        {"name": "cosine_restarts", "first_decay_epochs": 2, "t_mul": 1, "m_mul": 0.5, "alpha": 0.125},
        {"initial_learning_rate": 1e-3, "first_decay_steps": 20, "t_mul": 1.0, "m_mul": 0.5, "alpha": 0.125},
    ),
    (
        {"name": "inverse_time"},
        {"initial_learning_rate": 1e-3, "decay_steps": 210, "decay_rate": 1.0, "staircase": False},
    ),
    (
        {"name": "inverse_time", "decay_epochs": 3, "decay_rate": 0.5, "staircase": True},
        {"initial_learning_rate": 1e-3, "decay_steps": 30, "decay_rate": 0.5, "staircase": True},
    ),
    (
        {"name": "piecewise", "boundaries": [4, 8], "values": [1, 0.5, 0.25]},
        {"boundaries": [4, 8], "values": [1.0, 0.5, 0.25]},
    ),
    (
        {"name": "piecewise", "boundary_epochs": [1, 2.5], "values": [1, 0.5, 0.25]},
        {"boundaries": [9, 24], "values": [1.0, 0.5, 0.25]},
    ),
    (
        {"name": "warmup"},
        {"initial_learning_rate": 0.0, "decay_steps": 1, "alpha": 1.0, "warmup_target": 1e-3, "warmup_steps": 210},
    ),
    (
        {"name": "warmup", "initial_learning_rate": 0.25, "warmup_target": 0.5, "warmup_epochs": 2},
        {"initial_learning_rate": 0.25, "decay_steps": 1, "alpha": 1.0, "warmup_target": 0.5, "warmup_steps": 20},
    ),
    (
        {"name": "one_cycle"},
        {"initial_learning_rate": 4e-4, "decay_steps": 147, "alpha": 0.0, "warmup_target": 0.01, "warmup_steps": 63},
    ),
    (
        {"name": "one_cycle", "initial_learning_rate": 0, "warmup_epochs": 4, "decay_epochs": 6, "alpha": 0.125},
        {"initial_learning_rate": 0.0, "decay_steps": 60, "alpha": 0.125, "warmup_target": 0.01, "warmup_steps": 40},
    ),
]


def rates(schedule: Any, steps: int) -> list[float]:
    return [float(schedule(step)) for step in range(steps)]


def test_every_schedule_is_tried_below() -> None:
    assert set(kinds_of(LearningRate)) == {"constant", *KERAS_NAMES}
    assert set(KERAS_NAMES) == {settings["name"] for settings, _ in CASES}


@pytest.mark.parametrize(("settings", "arguments"), CASES, ids=str)
def test_a_schedule_is_one_of_keras_and_every_setting_reaches_it(
    keras: Any, settings: dict[str, Any], arguments: dict[str, Any]
) -> None:
    built = READ.validate_python(settings).build(LENGTH)
    theirs = getattr(keras.optimizers.schedules, KERAS_NAMES[settings["name"]])
    assert type(built) is theirs
    told = {key: value for key, value in built.get_config().items() if key != "name"}
    assert told == {
        key: pytest.approx(value) if isinstance(value, float) else value for key, value in arguments.items()
    }
    assert rates(built, 220) == rates(theirs(**arguments), 220)


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_every_argument_of_keras_can_be_set_and_has_its_default(keras: Any, name: str) -> None:
    theirs = inspect.signature(getattr(keras.optimizers.schedules, KERAS_NAMES[name]).__init__).parameters
    fields = kinds_of(LearningRate)[name].model_fields
    settings = set(theirs) - {"self", "name"} - FIXED.get(name, set())
    assert settings <= set(fields)
    in_epochs = {key.replace("steps", "epochs") for key in settings} | {"boundary_epochs"}
    assert set(fields) - {"name"} <= settings | in_epochs
    if name not in ("warmup", "one_cycle"):  # these are kinds of their own, with Keras's means
        for key in settings:
            if theirs[key].default is not inspect.Parameter.empty:
                assert fields[key].default == theirs[key].default, key


def test_a_constant_rate_is_a_number_that_callbacks_can_move(keras: Any) -> None:
    optimizer = OPTIMIZER.validate_python({"name": "sgd", "learning_rate": {"name": "constant", "value": 0.5}})
    assert not optimizer.owns_learning_rate()
    built = optimizer.build(LENGTH)
    built.learning_rate = 0.25
    assert float(built.learning_rate) == 0.25


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # an epoch's boundary is where the epoch begins, in every schedule
        ({"name": "step", "initial_learning_rate": 1, "decay_epochs": 1}, {9: 1.0, 10: 0.5, 19: 0.5, 20: 0.25}),
        ({"name": "piecewise", "boundary_epochs": [1, 2], "values": [4, 2, 1]}, {9: 4.0, 10: 2.0, 19: 2.0, 20: 1.0}),
        ({"name": "warmup", "warmup_target": 1, "warmup_epochs": 1}, {0: 0.0, 5: 0.5, 10: 1.0, 200: 1.0}),
        ({"name": "one_cycle", "warmup_target": 1}, {0: 0.04, 63: 1.0, 210: 0.0, 300: 0.0}),
        ({"name": "cosine", "initial_learning_rate": 1}, {0: 1.0, 105: 0.5, 210: 0.0}),
        ({"name": "cosine_restarts", "initial_learning_rate": 1}, {0: 1.0, 15: 0.5, 31: 0.9993, 91: 0.9998}),
        ({"name": "exponential", "initial_learning_rate": 1}, {0: 1.0, 210: 0.1}),
        ({"name": "inverse_time", "initial_learning_rate": 1}, {0: 1.0, 210: 0.5}),
        ({"name": "polynomial", "initial_learning_rate": 1, "end_learning_rate": 0.5}, {0: 1.0, 105: 0.75, 210: 0.5}),
    ],
    ids=str,
)
def test_a_schedule_has_the_rate_that_its_settings_say(
    keras: Any, settings: dict[str, Any], expected: dict[int, float]
) -> None:
    built = READ.validate_python(settings).build(LENGTH)
    assert {step: float(built(step)) for step in expected} == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("name", [*KERAS_NAMES, "constant"])
def test_a_word_is_enough_where_everything_has_a_default(keras: Any, name: str) -> None:
    if name == "piecewise":
        with pytest.raises(ValidationError, match="values"):
            READ.validate_python(name)
    else:
        assert READ.validate_python(name) == READ.validate_python({"name": name})
        built = READ.validate_python(name).build(Length(1, 1))  # a training of one step has room for each of them
        assert np.isfinite(built if name == "constant" else rates(built, 3)).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"name": "cosine", "decay_steps": 3, "decay_epochs": 2},
            "takes decay_steps or decay_epochs, got both (3 and 2)",
        ),
        (
            {"name": "cosine", "warmup_target": 1, "warmup_steps": 3, "warmup_epochs": 0.5},
            "takes warmup_steps or warmup_epochs, got both (3 and 0.5); keep one",
        ),
        ({"name": "cosine", "warmup_epochs": 1}, "needs a warmup_target"),
        ({"name": "cosine", "initial_learning_rate": 0}, "must be greater than 0 where no warmup_target follows"),
        (
            {"name": "cosine_restarts", "first_decay_steps": 3, "first_decay_epochs": 2},
            "or first_decay_epochs, got both",
        ),
        ({"name": "one_cycle", "warmup_steps": 3, "warmup_epochs": 2}, "or warmup_epochs, got both"),
        ({"name": "step", "decay_steps": 0}, "greater than or equal to 1"),
        ({"name": "step", "decay_epochs": 0}, "greater than 0"),
        ({"name": "exponential", "initial_learning_rate": 0}, "greater than 0"),
        ({"name": "cosine", "alpha": 1.5}, "less than or equal to 1"),
        ({"name": "cosine_restarts", "t_mul": 0.5}, "greater than or equal to 1"),
        ({"name": "piecewise", "values": [1, 0.5]}, "takes boundaries or boundary_epochs, got neither"),
        ({"name": "piecewise", "boundaries": [1], "boundary_epochs": [1], "values": [1, 0.5]}, "got both; keep one"),
        (
            {"name": "piecewise", "boundaries": [1, 2], "values": [1, 0.5]},
            "one value more than boundaries, got 2 and 2",
        ),
        ({"name": "piecewise", "boundaries": [2, 2], "values": [1, 0.5, 0.25]}, "boundaries must grow, got 2, 2"),
        ({"name": "piecewise", "boundaries": [], "values": [1, 0.5]}, "at least 1 item"),
    ],
    ids=str,
)
def test_lengths_that_contradict_each_other_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        READ.validate_python(settings)
    assert words in str(caught.value)


TRAINED = [settings for settings, _ in CASES[::2]] + [{"name": "constant"}]


@pytest.mark.parametrize("settings", TRAINED, ids=str)
def test_a_schedule_trains_and_its_checkpoint_loads_in_plain_keras_and_trains_on(
    keras: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    length = Length(STEPS, 2)
    spec = OPTIMIZER.validate_python({"name": "sgd", "learning_rate": settings})
    expected = spec.learning_rate.build(length)
    used: list[float] = []
    optimizer = spec.build(length)
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: used.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    )
    made = model(keras, optimizer=optimizer)
    fit(made, [note], epochs=2)
    assert used == pytest.approx([expected] * 6 if isinstance(expected, float) else rates(expected, 2 * STEPS))
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")  # in safe mode, without any of our code
    assert loaded.optimizer.get_config() == made.optimizer.get_config()
    fit(loaded, [], epochs=1)
    assert int(loaded.optimizer.iterations) == 3 * STEPS


def test_steps_are_batches_also_where_gradients_of_several_are_gathered(keras: Any) -> None:
    settings = {"name": "sgd", "learning_rate": {"name": "step", "initial_learning_rate": 1, "decay_epochs": 1}}
    optimizer = OPTIMIZER.validate_python({**settings, "gradient_accumulation_steps": 3}).build(Length(STEPS, 2))
    fit(model(keras, optimizer=optimizer), [], epochs=1)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.5
