from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipelines.callbacks import DecisionSurface
from pipelines.callbacks.base import Surroundings
from pipelines.inputs import InputFacts
from pipelines.pictures.surface import surface_grid
from pipelines.tasks import Task

FACTS = InputFacts((2,), -6, 6, ("out", "in"), kind="points")
FORMS: dict[Task, tuple[int, str, str]] = {
    Task.BINARY: (1, "sigmoid", "binary_crossentropy"),
    Task.REGRESSION: (1, "linear", "mse"),
    Task.MULTICLASS: (3, "softmax", "sparse_categorical_crossentropy"),
}


def data(task: Task) -> tuple[Any, Any]:
    """Points float32 (60, 2), and their truth in the form that the task's loss takes."""
    x = np.random.default_rng(0).uniform(-5, 5, (60, 2)).astype(np.float32)
    column = x.sum(axis=1, keepdims=True)
    if task is Task.MULTICLASS:
        return x, np.digitize(column[:, 0], [-2, 2])
    return x, column if task is Task.REGRESSION else (column > 0).astype(np.float32)


def model(keras: Any, task: Task, *layers: Any) -> Any:
    """A compiled model, by default with everything in it that a call in the middle of a training might move."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(2)
    units, activation, loss = FORMS[task]
    usual = [
        keras.layers.Dense(5, "tanh", activity_regularizer="l2"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.4),
        keras.layers.GaussianNoise(0.1),
    ]
    hidden = [make() for make in layers] or usual
    made = keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(units, activation)])
    made.compile("adam", loss)
    return made


class Drawn(list[tuple[int, str, Image.Image]]):
    """Takes pictures, and opens them."""

    def __call__(self, epoch: int, key: str, png: bytes) -> None:
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG"
            self.append((epoch, key, image.convert("RGB")))


def around(task: Task, draw: Any, facts: InputFacts = FACTS, **changes: Any) -> Surroundings:
    x, y = data(task)
    usual = {"folder": Path(), "epochs": 3, "steps_per_epoch": 4, "x": x, "y": y, "x_val": x, "y_val": y}
    return Surroundings(facts=facts, task=task, draw=draw, **{**usual, **changes})


def fit(made: Any, task: Task, callbacks: list[Any], epochs: int = 3) -> dict[str, list[float]]:
    x, y = data(task)
    history = made.fit(
        x, y, batch_size=16, epochs=epochs, validation_data=(x, y), callbacks=callbacks, verbose=0, shuffle=False
    )
    return dict(history.history)


@pytest.mark.parametrize("task", FORMS)
def test_every_epoch_has_a_picture_of_the_promised_width(keras: Any, task: Task) -> None:
    drawn = Drawn()
    fit(model(keras, task), task, [DecisionSurface(size=250).build(around(task, drawn))])

    assert [(epoch, key) for epoch, key, _ in drawn] == [(epoch, "decision_surface") for epoch in range(3)]
    assert {image.width for _, _, image in drawn} == {250}
    assert len({image.tobytes() for _, _, image in drawn}) == 3


@pytest.mark.parametrize("task", FORMS)
def test_a_training_is_the_same_with_it_and_without_to_the_last_digit(keras: Any, task: Task) -> None:
    trained = []
    for callbacks in ([], [DecisionSurface().build(around(task, Drawn()))]):
        made = model(keras, task)
        curves = fit(made, task, callbacks)
        trained.append((curves, [np.asarray(variable) for variable in (*made.variables, *made.optimizer.variables)]))

    (curves, weights), (curves_with, weights_with) = trained
    assert curves == curves_with
    for one, other in zip(weights, weights_with, strict=True):
        assert np.array_equal(one, other)


def test_what_is_drawn_is_what_the_model_says_when_the_epoch_ends(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.callbacks import surfacing

    asked: list[dict[str, Any]] = []

    def noting(grid: Any, x: Any, y: Any, **how: Any) -> bytes:
        asked.append({"grid": grid, "x": x, "y": y, **how})
        return b""

    monkeypatch.setattr(surfacing, "surface", noting)
    said: list[Any] = []
    made = model(keras, Task.BINARY)
    answers = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: said.append(np.asarray(made(surface_grid(-6, 6, 20), training=False)))
    )
    callback = DecisionSurface(resolution=20, samples=40).build(around(Task.BINARY, lambda *picture: None))
    curves = fit(made, Task.BINARY, [answers, callback])

    x, y = data(Task.BINARY)
    for epoch, (one, answer) in enumerate(zip(asked, said, strict=True)):
        assert one["grid"] == pytest.approx(answer.reshape(20, 20), abs=1e-6)
        assert one["title"] == f"epoch {epoch}"
        assert one["note"] == f"val_loss {curves['val_loss'][epoch]:.3g}"
        assert np.array_equal(one["x"], x[:40])
        assert np.array_equal(one["y"], y[:40, 0])
        assert (one["low"], one["high"], one["labels"], one["task"]) == (-6, 6, ("out", "in"), Task.BINARY)


def test_one_hot_targets_are_the_same_dots_as_class_numbers(keras: Any) -> None:
    _, y = data(Task.MULTICLASS)
    pictures = []
    for targets in (y, np.eye(3, dtype=np.float32)[y]):
        drawn = Drawn()
        fit(model(keras, Task.MULTICLASS), Task.MULTICLASS, [
            DecisionSurface().build(around(Task.MULTICLASS, drawn, y=targets))
        ], epochs=1)  # fmt: skip
        pictures.append(drawn[0][2].tobytes())

    assert pictures[0] == pictures[1]


def test_pictures_come_every_so_many_epochs(keras: Any) -> None:
    drawn = Drawn()
    fit(model(keras, Task.BINARY), Task.BINARY, [DecisionSurface(every=3).build(around(Task.BINARY, drawn))], 8)

    assert [epoch for epoch, _, _ in drawn] == [0, 3, 6]


def test_the_model_is_compiled_once_for_all_epochs(keras: Any) -> None:
    traced: list[Any] = []

    @keras.saving.register_keras_serializable("regatta-tests")
    class Counting(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            traced.append(x)
            return x

    callback = DecisionSurface().build(around(Task.BINARY, Drawn()))
    made = model(keras, Task.BINARY, Counting)
    traced.clear()
    fit(made, Task.BINARY, [], epochs=1)
    without = len(traced)
    traced.clear()
    fit(made, Task.BINARY, [callback], epochs=6)

    assert len(traced) <= without + 1


def test_a_second_training_is_drawn_with_its_own_model(keras: Any) -> None:
    drawn, alone = Drawn(), Drawn()
    callback = DecisionSurface().build(around(Task.BINARY, drawn))
    narrow, wide = (lambda: keras.layers.Dense(2)), (lambda: keras.layers.Dense(9, "tanh"))
    for layer in (narrow, wide):
        fit(model(keras, Task.BINARY, layer), Task.BINARY, [callback], epochs=1)
    other = DecisionSurface().build(around(Task.BINARY, alone))
    fit(model(keras, Task.BINARY, wide), Task.BINARY, [other], epochs=1)

    assert drawn[1][2].tobytes() == alone[0][2].tobytes() != drawn[0][2].tobytes()


@pytest.mark.parametrize(
    ("x", "low", "high"),
    [
        ([[0.0, 10.0], [5.0, 2.0]], -0.8, 10.8),
        ([[3.0, 3.0]], 2.0, 4.0),
        ([[np.nan, 1.0], [np.inf, 0.0]], -0.08, 1.08),
        (np.zeros((0, 2)), -1.16, 1.16),
    ],
)
def test_data_without_a_range_of_its_own_is_drawn_as_far_as_its_samples_reach(
    keras: Any, x: Any, low: float, high: float
) -> None:
    from pipelines.callbacks.surfacing import borders

    assert borders(InputFacts((2,), None, None, ("a", "b"), kind="points"), np.array(x)) == pytest.approx((low, high))
    assert borders(FACTS, np.array(x)) == (-6, 6)


def test_a_model_that_has_blown_up_is_drawn_too(keras: Any) -> None:
    drawn = Drawn()
    made = model(keras, Task.REGRESSION)
    made.set_weights([np.full_like(weight, np.nan) for weight in made.get_weights()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(made, Task.REGRESSION, [DecisionSurface().build(around(Task.REGRESSION, drawn))], epochs=1)

    assert len(drawn) == 1


@pytest.mark.parametrize("shape", [(8, 8), (3,), (2, 1)])
def test_other_data_than_points_is_refused_with_the_way_out(keras: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"draws models of points in the plane.*Leave the callback out"):
        DecisionSurface().build(around(Task.BINARY, Drawn(), InputFacts(shape, 0, 1, ("a", "b"))))


@pytest.mark.parametrize("settings", [{"every": 0}, {"resolution": 7}, {"size": 100}, {"samples": -1}, {"colour": 1}])
def test_settings_out_of_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecisionSurface.model_validate(settings)
