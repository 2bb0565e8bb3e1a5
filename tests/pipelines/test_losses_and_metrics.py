"""Losses and metrics against Keras's own, with every argument."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.losses import Loss, LossSpec, OwnLoss, default_loss
from pipelines.metrics import Metric, MetricSpec, default_metrics, direction_of
from pipelines.own.code import OwnCodeError
from pipelines.spec import kinds_of
from pipelines.tasks import Targets, Task

LOSSES: dict[str, Any] = {name: kind for name, kind in kinds_of(Loss).items() if kind is not OwnLoss}
"""Those of Keras."""
METRICS: dict[str, Any] = kinds_of(Metric)
NOT_OURS = {"name", "dtype", "reduction", "from_logits", "axis", "ignore_class"}
"""Keras's arguments that a recipe has no use for: outputs are probabilities, and Regatta names things."""


def loss(data: Any) -> LossSpec:
    read: LossSpec = TypeAdapter(Loss).validate_python(data)
    return read


def metric(data: Any) -> MetricSpec:
    read: MetricSpec = TypeAdapter(Metric).validate_python(data)
    return read


@pytest.mark.parametrize("name", LOSSES)
def test_every_argument_of_keras_is_a_field_with_keras_default(keras: Any, name: str) -> None:
    spec = LOSSES[name]
    signature = inspect.signature(getattr(keras.losses, spec.keras_name).__init__).parameters
    ours = {field: info.default for field, info in spec.model_fields.items() if field != "name"}
    theirs = {key: value.default for key, value in signature.items() if key not in NOT_OURS | {"self"}}
    assert ours == pytest.approx(theirs)


def truth_and_guess(targets: Targets, task: Task) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    if task is Task.MULTICLASS:
        guess = random.dirichlet(np.ones(4), 12).astype(np.float32)
        index = random.integers(0, 4, 12)
        return (index if targets == "index" else np.eye(4, dtype=np.float32)[index]), guess
    if task is Task.BINARY:
        return random.integers(0, 2, (12, 1)).astype(np.float32), random.random((12, 1)).astype(np.float32)
    return random.random((12, 1)).astype(np.float32) + 1, random.random((12, 1)).astype(np.float32) + 1


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_builds_and_takes_targets_in_the_form_it_names(keras: Any, name: str) -> None:
    spec = LOSSES[name]()
    truth, guess = truth_and_guess(spec.targets, spec.tasks[0])
    value = float(spec.build()(truth, guess))
    assert np.isfinite(value)
    assert value > 0


def test_the_arguments_of_a_loss_reach_keras(keras: Any) -> None:
    built = loss({"name": "categorical_crossentropy", "label_smoothing": "0.1"}).build()
    assert built.get_config()["label_smoothing"] == 0.1
    assert loss({"name": "huber", "delta": 2}).build().get_config()["delta"] == 2.0


CHANGED: dict[str, dict[str, Any]] = {
    "categorical_crossentropy": {"label_smoothing": 0.2},
    "categorical_focal_crossentropy": {"alpha": 0.5, "gamma": 1.0, "label_smoothing": 0.2},
    "binary_crossentropy": {"label_smoothing": 0.2},
    "binary_focal_crossentropy": {"apply_class_balancing": True, "alpha": 0.4, "gamma": 1.0, "label_smoothing": 0.2},
    "huber": {"delta": 0.1},
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_model_still_has_its_loss_with_every_argument(keras: Any, name: str, tmp_path: Path) -> None:
    spec = LOSSES[name](**CHANGED.get(name, {}))
    truth, guess = truth_and_guess(spec.targets, spec.tasks[0])
    model = keras.Sequential([keras.Input((guess.shape[1],)), keras.layers.Activation("linear")])
    model.compile(loss=spec.build())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = float(spec.build()(truth, guess))
    assert loaded.evaluate(guess, truth, verbose=0) == pytest.approx(expected, rel=1e-5)
    if name in CHANGED:
        assert expected != pytest.approx(float(LOSSES[name]().build()(truth, guess)), rel=1e-3)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("mse", "mean_squared_error"),
        ("mae", "mean_absolute_error"),
        ("mape", "mean_absolute_percentage_error"),
        ("msle", "mean_squared_logarithmic_error"),
    ],
)
def test_short_names_are_the_same_losses(short: str, full: str) -> None:
    assert loss(short) == loss({"name": short}) == loss(full)


@pytest.mark.parametrize(
    "wrong",
    [
        "crossentropy",
        {"name": "huber", "delta": 0},
        {"name": "categorical_crossentropy", "label_smoothing": 1},
        {"name": "sparse_categorical_crossentropy", "label_smoothing": 0.1},
    ],
)
def test_a_loss_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        loss(wrong)


@pytest.mark.parametrize("task", Task)
def test_the_defaults_of_a_task_are_for_that_task(task: Task) -> None:
    assert task in default_loss(task).tasks
    assert all(task in each.tasks for each in default_metrics(task))


MET = [
    (name, kind.targets, task)
    for name, spec in METRICS.items()
    for task in spec.tasks
    for kind in {kind.targets: kind for kind in LOSSES.values() if task in kind.tasks}.values()
]
"""Every metric with every form of targets that it can meet."""


@pytest.mark.parametrize(("name", "targets", "task"), MET)
def test_every_metric_takes_every_form_of_targets_that_it_can_meet(
    keras: Any, name: str, targets: Targets, task: Task
) -> None:
    spec = METRICS[name]()
    truth, guess = truth_and_guess(targets, task)
    built = spec.build(targets)
    built.update_state(truth, guess)
    assert built.name == spec.label
    assert np.isfinite(float(built.result()))


@pytest.mark.parametrize("targets", ["index", "one_hot"])
def test_top_k_counts_the_k_likeliest(keras: Any, targets: Targets) -> None:
    spec = metric({"name": "top_k_accuracy", "k": 2})
    truth, guess = truth_and_guess(targets, Task.MULTICLASS)
    index = truth if targets == "index" else truth.argmax(axis=1)
    expected = np.mean([label in row.argsort()[-2:] for label, row in zip(index, guess, strict=True)])
    built = spec.build(targets)
    built.update_state(truth, guess)
    assert spec.label == built.name == "top_2_accuracy"
    assert float(built.result()) == pytest.approx(expected)


def test_r2_and_auc_are_those_of_scikit_learn(keras: Any) -> None:
    from sklearn.metrics import r2_score, roc_auc_score

    truth, guess = truth_and_guess("column", Task.REGRESSION)
    r2 = metric("r2").build("column")
    r2.update_state(truth, guess)
    assert float(r2.result()) == pytest.approx(r2_score(truth, guess), abs=1e-5)
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, (500, 1)).astype(np.float32)
    guess = np.clip(truth * 0.2 + random.random((500, 1)), 0, 1).astype(np.float32)
    auc = metric({"name": "auc", "num_thresholds": 2000}).build("column")
    auc.update_state(truth, guess)
    assert float(auc.result()) == pytest.approx(roc_auc_score(truth, guess), abs=1e-2)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_loss", "minimize"),
        ("loss", "minimize"),
        ("val_mae", "minimize"),
        ("test_rmse", "minimize"),
        ("val_crossentropy", "minimize"),
        ("val_accuracy", "maximize"),
        ("val_top_5_accuracy", "maximize"),
        ("test_r2", "maximize"),
        ("val_auc", "maximize"),
    ],
)
def test_the_direction_is_told_from_the_name(name: str, direction: str) -> None:
    assert direction_of(name) == direction


@pytest.mark.parametrize("name", METRICS)
def test_the_direction_of_every_metric_is_told_right_from_its_label(name: str) -> None:
    spec = METRICS[name]()
    assert direction_of(f"val_{spec.label}") == spec.better


OWN = """
import keras

def misses(y_true, y_pred, power=1.0):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** power, axis=-1)

class Misses(keras.losses.Loss):
    def __init__(self, power=1.0):
        super().__init__()
        self.power = power

    def call(self, y_true, y_pred):
        return misses(y_true, y_pred, self.power)

class Nothing:
    def __init__(self, power=1.0): ...

def of_one(y_true): ...

CONSTANT = 3.0
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_losses"


@pytest.mark.parametrize("name", ["misses", "Misses"])
def test_a_loss_of_one_s_own_is_a_function_or_a_class(keras: Any, own: str, name: str) -> None:
    truth, guess = truth_and_guess("column", Task.REGRESSION)
    for power in (1.0, 2.0):
        spec = loss({"name": "function", "function": f"{own}:{name}", "arguments": {"power": power}})
        expected = np.mean(np.abs(truth - guess) ** power)
        assert float(spec.build()(truth, guess)) == pytest.approx(expected, rel=1e-5)
        assert spec.label == f"{own}:{name}"


@pytest.mark.parametrize(
    ("task", "one_hot", "targets"),
    [
        (Task.MULTICLASS, False, "index"),
        (Task.MULTICLASS, True, "one_hot"),
        (Task.BINARY, False, "column"),
        (Task.REGRESSION, False, "column"),
    ],
)
def test_the_form_of_targets_of_a_loss_of_one_s_own_follows_the_task(
    own: str, task: Task, one_hot: bool, targets: Targets
) -> None:
    spec = loss({"name": "function", "function": f"{own}:misses", "one_hot": one_hot})
    assert spec.targets_of(task) == targets
    assert task in spec.tasks


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"function": "of_one"}, r"is called with \(y_true, y_pred\), and own_losses:of_one takes \(y_true\)"),
        ({"function": "misses", "arguments": {"pwer": 2}}, "'pwer' is no argument of own_losses:misses; did you mean"),
        ({"function": "Misses", "arguments": {"pwer": 2}}, "'pwer' is no argument of own_losses:Misses; did you mean"),
        ({"function": "mises"}, "misses"),
    ],
    ids=str,
)
def test_what_cannot_be_called_as_a_loss_is_refused_as_the_recipe_is_read(
    own: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        loss({"name": "function", **settings, "function": f"{own}:{settings['function']}"})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CONSTANT", "must be a function or a class, got float"),
        ("Nothing", r"must make a keras\.losses\.Loss, got one of Nothing"),
    ],
)
def test_what_turns_out_to_be_no_loss_says_so(keras: Any, own: str, name: str, words: str) -> None:
    spec = loss({"name": "function", "function": f"{own}:{name}"})
    with pytest.raises(OwnCodeError, match=words):
        spec.build()
