from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.mistakes import dotted, explain
from pipelines.optimizers import Adam, Length, Optimizer
from pipelines.spec import Spec, kinds_of

KERAS_NAMES = {
    "sgd": "SGD",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adamw": "AdamW",
    "adamax": "Adamax",
    "nadam": "Nadam",
    "ftrl": "Ftrl",
    "lion": "Lion",
    "adafactor": "Adafactor",
    "lamb": "Lamb",
    "muon": "Muon",
}
NOT_SETTINGS = {"loss_scale_factor"}
"""Only for training in half precision, which sets it by itself."""
READ: TypeAdapter[Any] = TypeAdapter(Optimizer)
LENGTH = Length(steps_per_epoch=10, epochs=20)
SETTINGS: list[dict[str, Any]] = [
    {"name": "sgd", "learning_rate": 0.25, "momentum": 0.5, "nesterov": True},
    {"name": "sgd", "learning_rate": 1, "momentum": 0},  # as YAML gives them
    {"name": "sgd", "learning_rate": "1e-4", "momentum": "0.5"},
    {"name": "adagrad", "learning_rate": 1, "initial_accumulator_value": 0, "epsilon": 1},
    {"name": "adagrad", "learning_rate": 0.5, "initial_accumulator_value": 0.25, "epsilon": 1e-5},
    {"name": "rmsprop", "learning_rate": 1, "rho": 0, "momentum": 0, "epsilon": 1, "centered": True},
    {"name": "rmsprop", "learning_rate": 0.5, "rho": 0.75, "momentum": 0.5, "epsilon": 1e-5},
    {"name": "adam", "learning_rate": 1, "beta_1": 0, "beta_2": 0, "epsilon": 1, "amsgrad": True},
    {"name": "adam", "learning_rate": 0.5, "beta_1": 0.25, "beta_2": 0.75, "epsilon": 1e-5},
    {"name": "adamw", "learning_rate": 1, "weight_decay": 0, "beta_1": 0, "beta_2": 0, "epsilon": 1, "amsgrad": True},
    {"name": "adamw", "learning_rate": 0.5, "weight_decay": 0.125, "beta_1": 0.25, "beta_2": 0.75, "epsilon": 1e-5},
    {"name": "adadelta", "learning_rate": 1, "rho": 0.5, "epsilon": 1e-5},
    {"name": "adamax", "learning_rate": 1, "beta_1": 0, "beta_2": 0.5, "epsilon": 1e-5},
    {"name": "nadam", "learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 1e-5},
    {"name": "ftrl", "learning_rate": 1, "learning_rate_power": -0.25, "l2_regularization_strength": 0, "beta": 1},
    {"name": "ftrl", "learning_rate": 0.5, "initial_accumulator_value": 1, "l1_regularization_strength": 0.125},
    {"name": "lion", "learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75},
    {"name": "adafactor", "learning_rate": 0.5, "beta_2_decay": -0.5, "clip_threshold": 2, "relative_step": False},
    {"name": "lamb", "learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75, "epsilon": 1e-5},
    {"name": "muon", "learning_rate": 0.5, "momentum": 0.5, "ns_steps": 3, "adam_lr_ratio": 2, "nesterov": False},
]


def test_every_optimizer_is_tried_below() -> None:
    assert set(kinds_of(Optimizer)) == set(KERAS_NAMES) == {settings["name"] for settings in SETTINGS}


@pytest.mark.parametrize("settings", [*SETTINGS, *KERAS_NAMES], ids=str)
def test_an_optimizer_is_built_and_every_argument_reaches_keras(keras: Any, settings: Any) -> None:
    spec = READ.validate_python(settings)
    built = spec.build(LENGTH)
    assert type(built) is getattr(keras.optimizers, KERAS_NAMES[spec.name])
    told = built.get_config()
    for name, value in spec.arguments().items():
        if isinstance(value, float):
            assert told[name] == pytest.approx(value, rel=1e-6), name
        else:
            assert told[name] == value or (value is None and not told[name]), name
    if isinstance(settings, dict):
        for name in settings.keys() - {"name"}:
            assert told[name] == pytest.approx(float(settings[name]), rel=1e-6)


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_every_argument_of_keras_can_be_set_in_a_recipe_and_no_other(keras: Any, name: str) -> None:
    theirs = inspect.signature(getattr(keras.optimizers, KERAS_NAMES[name]).__init__).parameters
    settings = {key for key, one in theirs.items() if key not in {"self", "name"} and one.kind is not one.VAR_KEYWORD}
    assert set(READ.validate_python(name).arguments()) == settings - NOT_SETTINGS


@pytest.mark.parametrize("name", KERAS_NAMES)
@pytest.mark.parametrize(
    "common",
    [
        {"weight_decay": 0.125, "clipnorm": 1, "use_ema": True, "ema_momentum": 0, "ema_overwrite_frequency": 3},
        {"clipvalue": 1, "gradient_accumulation_steps": 2},
        {"global_clipnorm": 2},
    ],
    ids=str,
)
def test_what_every_optimizer_takes_reaches_keras(keras: Any, name: str, common: dict[str, Any]) -> None:
    told = READ.validate_python({"name": name, **common}).build(LENGTH).get_config()
    for key, value in common.items():
        assert told[key] == value, key


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_an_optimizer_takes_a_step(keras: Any, settings: dict[str, Any]) -> None:
    weight = keras.Variable([1.0, 2.0])
    READ.validate_python(settings).build(LENGTH).apply([keras.ops.convert_to_tensor([0.5, -0.5])], [weight])
    after = keras.ops.convert_to_numpy(weight)
    assert after[0] < 1.0
    if settings["name"] not in {"adamw", "ftrl"}:  # decay and FTRL's own sums pull weights towards 0 besides
        assert after[1] > 2.0


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_defaults_are_those_of_keras(keras: Any, name: str) -> None:
    theirs = inspect.signature(getattr(keras.optimizers, KERAS_NAMES[name]).__init__).parameters
    for field, value in READ.validate_python(name).arguments().items():
        if (name, field) != ("adafactor", "epsilon_1"):  # see the next test
            assert theirs[field].default == value, field


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_a_weight_without_a_gradient_stays_a_number(keras: Any, name: str) -> None:
    """A pixel that is always 0, and a unit that is dead: a row and a column of a matrix whose gradients are 0."""
    weight = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
    READ.validate_python(name).build(LENGTH).apply([keras.ops.convert_to_tensor([[0.5, 0.0], [0.0, 0.0]])], [weight])
    assert keras.ops.all(keras.ops.isfinite(weight))


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"name": "sgd", "learning_rate": 0}, "learning_rate"),
        ({"name": "sgd", "momentum": 1}, "momentum"),
        ({"name": "sgd", "momentum": -0.1}, "momentum"),
        ({"name": "sgd", "nesterov": "perhaps"}, "nesterov"),
        ({"name": "rmsprop", "rho": 1.0}, "rho"),
        ({"name": "adam", "beta_1": 1}, "beta_1"),
        ({"name": "adam", "epsilon": 0}, "epsilon"),
        ({"name": "adamw", "weight_decay": -1e-3}, "weight_decay"),
        ({"name": "adagrad", "initial_accumulator_value": -1}, "initial_accumulator_value"),
        ({"name": "adam", "learning_rate": True}, "learning_rate"),
        ({"name": "sgd", "clipnorm": 0}, "clipnorm"),
        ({"name": "sgd", "gradient_accumulation_steps": 1}, "gradient_accumulation_steps"),
        ({"name": "ftrl", "learning_rate_power": 1}, "learning_rate_power"),
        ({"name": "adafactor", "beta_2_decay": 0}, "beta_2_decay"),
        ({"name": "muon", "ns_steps": 0}, "ns_steps"),
        ({"name": "adam", "ema_overwrite_frequency": 0}, "ema_overwrite_frequency"),
    ],
    ids=str,
)
def test_what_keras_or_sense_refuses_is_refused_at_once(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        READ.validate_python(settings)
    assert [[part for part in error["loc"] if part in settings] for error in caught.value.errors()] == [[path]]


class Recipe(Spec):
    """As much of a recipe as the learning rate stands in."""

    optimizer: Optimizer = Adam()


@pytest.mark.parametrize(
    ("rate", "read"),
    [(1e-3, 1e-3), ("1e-3", 1e-3), ("0.5", 0.5), (1, 1.0), ("1E-2", 1e-2), (" 1e-2 ", 1e-2)],
    ids=repr,
)
def test_a_number_is_a_rate_in_whatever_way_yaml_gives_it(rate: Any, read: float) -> None:
    spec = READ.validate_python({"name": "adam", "learning_rate": rate})
    assert spec.learning_rate == read
    assert isinstance(spec.learning_rate, float)
    assert not spec.owns_learning_rate()


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_every_optimizer_takes_a_schedule_and_survives_json(keras: Any, name: str) -> None:
    schedule = {"name": "cosine", "initial_learning_rate": "1e-2", "decay_epochs": 5}
    spec = READ.validate_python({"name": name, "learning_rate": schedule})
    assert spec.owns_learning_rate()
    assert READ.validate_python(spec.model_dump(mode="json")) == spec
    built = spec.build(LENGTH)
    again = type(built).from_config(built.get_config())  # as Keras does when it loads a checkpoint
    for optimizer in (built, again):
        assert float(optimizer.learning_rate) == pytest.approx(0.01)
        optimizer.iterations.assign(25)
        assert float(optimizer.learning_rate) == pytest.approx(0.005)


SCHEDULES = (
    "constant, step, exponential, polynomial, cosine, cosine_restarts, inverse_time, piecewise, warmup, one_cycle"
)


@pytest.mark.parametrize(
    ("rate", "place", "message"),
    [
        (-1, "learning_rate", "must be greater than 0, got -1"),
        ("-1e-3", "learning_rate", "must be greater than 0, got '-1e-3'"),
        ("nan", "learning_rate", "must be a finite number, got 'nan'"),
        (None, "learning_rate", "must be a valid number, got None"),
        ("fast", "learning_rate", f"must be a number greater than 0 or a schedule ({SCHEDULES}), got 'fast'"),
        (True, "learning_rate", f"must be a number greater than 0 or a schedule ({SCHEDULES}), got 'true'"),
        (
            "cosin",
            "learning_rate",
            f"must be a number greater than 0 or a schedule ({SCHEDULES}), got 'cosin'; did you mean 'cosine'?",
        ),
        (
            {"name": "cosin"},
            "learning_rate",
            f"is no known kind: 'cosin'; did you mean 'cosine'?; there are {SCHEDULES}",
        ),
        ({"decay_steps": 3}, "learning_rate", "needs a `name` that says which kind it is"),
        (
            {"name": "cosine", "decay_step": 3},
            "learning_rate.decay_step",
            (
                "is no known key; did you mean 'decay_steps'?; known here: name, initial_learning_rate, decay_steps, "
                "decay_epochs, alpha, warmup_target, warmup_steps, warmup_epochs"
            ),
        ),
        ({"name": "step", "decay_rate": -1}, "learning_rate.decay_rate", "must be greater than 0, got -1"),
        (
            {"name": "step", "decay_steps": 3, "decay_epochs": 2},
            "learning_rate",
            "takes decay_steps or decay_epochs, got both (3 and 2); keep one",
        ),
        ("piecewise", "learning_rate.values", "is missing"),
    ],
    ids=str,
)
def test_a_wrong_rate_is_one_mistake_that_a_person_can_mend(rate: Any, place: str, message: str) -> None:
    raw = {"optimizer": {"name": "sgd", "learning_rate": rate}}
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(raw)
    found = {dotted(path): text for path, text in explain(caught.value, Recipe, raw).items()}
    assert found == {f"optimizer.{place}": message}


def test_gradients_are_clipped_in_one_way() -> None:
    with pytest.raises(ValidationError, match="got clipnorm and global_clipnorm; keep one"):
        READ.validate_python({"name": "sgd", "clipnorm": 1, "global_clipnorm": 1})
