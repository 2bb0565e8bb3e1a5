from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from pipelines.callbacks import Callback, label_is_name
from pipelines.callbacks.model_checkpoint import ModelCheckpoint, placeholders
from pipelines.spec import kinds_of
from tests.pipelines.small_training import fit, model, surroundings

READ: TypeAdapter[Any] = TypeAdapter(Callback)
BY_LABEL: TypeAdapter[Any] = TypeAdapter(Annotated[dict[str, Callback], BeforeValidator(label_is_name)])
OUR_OWN = {"swa", "diagnostics", "class"}
"""They have tests of their own."""
KERAS_NAMES = {
    "early_stopping": "EarlyStopping",
    "reduce_lr_on_plateau": "ReduceLROnPlateau",
    "model_checkpoint": "ModelCheckpoint",
    "learning_rate_scheduler": "LearningRateScheduler",
    "terminate_on_nan": "TerminateOnNaN",
    "swap_ema_weights": "SwapEMAWeights",
}
NOT_KERAS_DEFAULTS = {"swap_on_epoch"}  # a checkpoint must have the weights that were validated
REQUIRED_BY_KERAS = {"filepath", "schedule"}
SETTINGS: dict[str, dict[str, Any]] = {
    "early_stopping": {
        "monitor": "val_accuracy",
        "mode": "max",
        "verbose": 1,
        "min_delta": 0.125,
        "patience": 7,
        "baseline": 0.5,
        "restore_best_weights": True,
        "start_from_epoch": 2,
    },
    "reduce_lr_on_plateau": {
        "monitor": "accuracy",
        "mode": "max",
        "verbose": 1,
        "factor": 0.25,
        "patience": 2,
        "min_delta": 0.125,
        "cooldown": 3,
        "min_lr": 0.0625,
    },
    "model_checkpoint": {
        "monitor": "accuracy",
        "mode": "max",
        "verbose": 1,
        "filepath": "{epoch}-{batch}.weights.h5",
        "save_best_only": True,
        "save_weights_only": True,
        "save_freq": 3,
        "initial_value_threshold": 0.5,
    },
    "learning_rate_scheduler": {"schedule": {"name": "step", "factor": 0.25}, "verbose": 1},
    "terminate_on_nan": {"raise_error": True},
    "swap_ema_weights": {"swap_on_epoch": True},
}


def keras_parameters(keras: Any, name: str) -> dict[str, inspect.Parameter]:
    """Keras's arguments of a callback, without `self` and the keywords it ignores."""
    found = inspect.signature(getattr(keras.callbacks, KERAS_NAMES[name]).__init__).parameters
    return {key: one for key, one in found.items() if key != "self" and one.kind is not one.VAR_KEYWORD}


def test_every_callback_is_tried_below() -> None:
    assert set(KERAS_NAMES) == set(SETTINGS)
    assert set(kinds_of(Callback)) - {"decision_surface"} == set(KERAS_NAMES) | OUR_OWN


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_every_argument_of_keras_can_be_set_in_a_recipe_and_no_other(keras: Any, name: str) -> None:
    fields = kinds_of(Callback)[name].model_fields.keys() - {"name"}
    assert fields == set(keras_parameters(keras, name)) == set(SETTINGS[name])


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_defaults_are_those_of_keras(keras: Any, name: str) -> None:
    fields = kinds_of(Callback)[name].model_fields
    for key, parameter in keras_parameters(keras, name).items():
        if key in REQUIRED_BY_KERAS:
            assert parameter.default is parameter.empty
        elif key not in NOT_KERAS_DEFAULTS:
            assert fields[key].default == parameter.default, key


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_every_setting_reaches_keras(keras: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, Any] = {}
    real: Any = getattr(keras.callbacks, KERAS_NAMES[name])

    class Noting(real):  # type: ignore[misc]
        def __init__(self, *positional: Any, **named: Any) -> None:
            passed.update(inspect.signature(real).bind(*positional, **named).arguments)
            super().__init__(*positional, **named)

    monkeypatch.setattr(keras.callbacks, KERAS_NAMES[name], Noting)
    built = READ.validate_python({"name": name, **SETTINGS[name]}).build(surroundings(tmp_path))
    assert isinstance(built, keras.callbacks.Callback)
    expected = dict(SETTINGS[name])
    if name == "model_checkpoint":
        expected["filepath"] = str(tmp_path / expected["filepath"])
    if name == "learning_rate_scheduler":
        assert [passed["schedule"](epoch, 1.0) for epoch in (0, 3, 6)] == [1.0, 0.25, 0.0625]
        del passed["schedule"]
        del expected["schedule"]
    assert passed == expected


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_each_spec_builds_with_its_defaults(keras: Any, name: str, tmp_path: Path) -> None:
    settings = {"schedule": "step"} if name == "learning_rate_scheduler" else {}
    built = READ.validate_python({"name": name, **settings}).build(surroundings(tmp_path))
    assert type(built).__name__ == KERAS_NAMES[name]


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_each_of_keras_trains_with_its_defaults(keras: Any, name: str, tmp_path: Path) -> None:
    settings = {"schedule": "step"} if name == "learning_rate_scheduler" else {}
    built = READ.validate_python({"name": name, **settings}).build(surroundings(tmp_path / "files", 2))
    curves = fit(model(keras, optimizer=keras.optimizers.Adam(use_ema=name == "swap_ema_weights")), [built], 2)
    assert len(curves["val_loss"]) == 2
    assert bool(list(tmp_path.rglob("*.keras"))) == (name == "model_checkpoint")


def test_a_folder_with_braces_in_its_name_is_no_template(keras: Any, tmp_path: Path) -> None:
    folder = tmp_path / "{odd} folder"
    fit(model(keras), [ModelCheckpoint(filepath="{epoch}.keras").build(surroundings(folder))], 1)
    assert [path.name for path in folder.iterdir()] == ["1.keras"]


def test_a_label_that_is_a_kind_needs_no_name_and_an_empty_one_has_its_defaults() -> None:
    read = BY_LABEL.validate_python({"early_stopping": None, "again": "reduce_lr_on_plateau"})
    assert [callback.name for callback in read.values()] == ["early_stopping", "reduce_lr_on_plateau"]


def test_a_label_that_is_a_kind_may_still_name_another() -> None:
    read = BY_LABEL.validate_python({"early_stopping": {"name": "reduce_lr_on_plateau"}})
    assert read["early_stopping"].name == "reduce_lr_on_plateau"


@pytest.mark.parametrize("label", ["my.stopper", "", "my stopper", "a/b", "-x", "x" * 101, "ü"])
def test_a_label_that_could_be_no_path_and_no_metric_is_refused(label: str) -> None:
    with pytest.raises(ValidationError, match="a label is made of letters, digits, '_' and '-', got '"):
        BY_LABEL.validate_python({label: "early_stopping"})


@pytest.mark.parametrize(
    ("kind", "owns", "ema", "swaps"),
    [
        ({"name": "early_stopping"}, False, False, False),
        ({"name": "reduce_lr_on_plateau"}, True, False, False),
        ({"name": "learning_rate_scheduler", "schedule": "step"}, True, False, False),
        ({"name": "model_checkpoint"}, False, False, False),
        ({"name": "terminate_on_nan"}, False, False, False),
        ({"name": "swap_ema_weights"}, False, True, True),
        ({"name": "swa"}, False, False, True),
        ({"name": "diagnostics"}, False, False, False),
    ],
    ids=str,
)
def test_a_callback_says_what_it_needs_for_itself(kind: dict[str, Any], owns: bool, ema: bool, swaps: bool) -> None:
    read = READ.validate_python(kind)
    assert (read.owns_learning_rate(), read.needs_ema(), read.swaps_weights()) == (owns, ema, swaps)


def test_weights_that_are_swapped_stay_in_the_model_when_an_epoch_ends() -> None:
    with pytest.raises(ValidationError, match="must be true, got false: an epoch would be validated with the mean"):
        READ.validate_python({"name": "swap_ema_weights", "swap_on_epoch": False})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"filepath": ""}, "must be a path inside the trial's folder"),
        ({"filepath": "/tmp/a.keras"}, "must be a path inside the trial's folder"),
        ({"filepath": "../a.keras"}, "'{epoch:02d}-{val_loss:.2f}.keras', got '../a.keras'"),
        ({"filepath": "a/../../b.keras"}, "must be a path inside the trial's folder"),
        ({"filepath": "{}.keras"}, "every brace needs a name"),
        ({"filepath": "{epoch.real}.keras"}, "every brace needs a name"),
        ({"filepath": "{epoch.keras"}, "is no path template"),
        ({"filepath": "epoch}.keras"}, "is no path template"),
        ({"filepath": "{val_loss:d}.keras"}, "is no path template"),
        ({"filepath": "{epoch:zz}.keras"}, "is no path template"),
        ({"filepath": "a.h5"}, "filepath must end in '.keras' with save_weights_only: false"),
        ({"filepath": "a.keras", "save_weights_only": True}, "must end in '.weights.h5'"),
        ({"save_freq": 5}, "filepath names val_loss, which is known when an epoch ends, not after 5 batches"),
        (
            {"filepath": "a.keras", "save_freq": 5, "save_best_only": True},
            "save_best_only watches val_loss, which is known when an epoch ends, not after 5 batches",
        ),
        ({"filepath": "{epoch}-{batch}.keras"}, "names batch, which is known with save_freq: N, a number of batches"),
        ({"save_freq": 0}, "greater than or equal to 1"),
        ({"save_freq": "batch"}, "'epoch'"),
    ],
    ids=str,
)
def test_a_checkpoint_that_could_not_be_written_is_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelCheckpoint.model_validate(settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "watched"),
    [
        ({}, {"val_loss"}),
        ({"filepath": "a.keras"}, set()),
        ({"filepath": "a.keras", "save_best_only": True}, {"val_loss"}),
        ({"filepath": "a.keras", "save_best_only": True, "monitor": "accuracy"}, {"accuracy"}),
        ({"filepath": "a.keras", "monitor": "nothing"}, set()),  # Keras does not look at it either
        ({"filepath": "{epoch}-{accuracy:.1f}.keras"}, {"accuracy"}),
        ({"filepath": "{epoch}-{batch}.keras", "save_freq": 5}, set()),
    ],
    ids=str,
)
def test_a_checkpoint_watches_what_it_needs(settings: dict[str, Any], watched: set[str]) -> None:
    assert set(ModelCheckpoint.model_validate(settings).watched_metrics()) == watched


def test_the_names_in_a_template_are_found() -> None:
    assert placeholders("{epoch:02d}-{val_loss:.2f}-{{not}}.keras") == ["epoch", "val_loss"]
