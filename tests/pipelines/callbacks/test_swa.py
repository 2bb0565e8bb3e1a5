from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.callbacks.swa import Swa
from tests.pipelines.small_training import READ, data, fit, model, surroundings


def layers(keras: Any) -> list[Any]:
    """With statistics that only training moves, and with random numbers."""
    return [
        keras.layers.Dense(4, "relu"),
        keras.layers.BatchNormalization(momentum=0.5),
        keras.layers.Dropout(0.25),
    ]


class Notes:
    """What a training was like at the end of each epoch, seen from before or from behind the averaging."""

    def __init__(self, keras: Any) -> None:
        self.before: list[list[Any]] = []
        self.behind: list[list[Any]] = []
        self.begun: list[list[Any]] = []
        note = keras.callbacks.LambdaCallback
        self.first = note(on_epoch_end=lambda epoch, logs: self.before.append(self.weights()))
        self.last = note(
            on_epoch_end=lambda epoch, logs: self.behind.append(self.weights()),
            on_train_batch_begin=lambda batch, logs: self.begun.append(self.weights()),
        )

    def weights(self) -> list[Any]:
        return [np.array(weight) for weight in self.last.model.get_weights()]


def trained(keras: Any, epochs: int = 6, **settings: Any) -> tuple[dict[str, list[float]], Notes, Any]:
    made, notes = model(keras, lambda: layers(keras)), Notes(keras)
    averaging = Swa(**settings).build(surroundings(Path(), epochs)) if settings else keras.callbacks.Callback()
    return fit(made, [notes.first, averaging, notes.last], epochs), notes, made


def equal(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("start", "every", "epochs"), [(2, 1, [2, 3, 4, 5]), (1, 2, [1, 3, 5]), (0, 4, [0, 4])])
def test_the_mean_is_that_of_the_weights_at_the_ends_of_the_chosen_epochs(
    keras: Any, start: int, every: int, epochs: list[int]
) -> None:
    _, plain, _ = trained(keras)
    curves, notes, made = trained(keras, start_from_epoch=start, every=every)
    for epoch in range(6):
        taken = [one for one in epochs if one <= epoch]
        for place, weight in enumerate(notes.behind[epoch]):
            expected = np.mean([plain.behind[one][place] for one in taken or [epoch]], axis=0, dtype=np.float64)
            assert weight == pytest.approx(expected, abs=1e-6)
    assert equal(notes.behind[-1], made.get_weights())  # and it stays in the model
    x, y = data()
    assert curves["val_loss"][-1] == pytest.approx(made.evaluate(x, y, verbose=0)[0], abs=1e-6)


def test_training_goes_on_from_the_very_weights_it_left(keras: Any) -> None:
    plain_curves, plain, _ = trained(keras)
    curves, notes, _ = trained(keras, start_from_epoch=1)
    assert curves["loss"] == plain_curves["loss"]
    assert curves["val_loss"][0] == plain_curves["val_loss"][0]
    assert curves["val_loss"][3:] != plain_curves["val_loss"][3:]
    assert all(equal(one, other) for one, other in zip(notes.begun, plain.begun, strict=True))


def test_whatever_looks_at_the_model_when_an_epoch_ends_sees_what_was_validated(keras: Any) -> None:
    _, notes, _ = trained(keras, start_from_epoch=0)
    assert all(equal(one, other) for one, other in zip(notes.before, notes.behind, strict=True))


def test_each_training_has_a_mean_of_its_own(keras: Any) -> None:
    averaging = Swa(start_from_epoch=0).build(surroundings(Path()))
    first = fit(model(keras), [averaging], 3)
    assert averaging.taken == 3
    assert fit(model(keras), [averaging], 3) == first


@pytest.mark.parametrize(("epochs", "start"), [(1, 0), (4, 3), (10, 7), (20, 15)])
def test_left_out_the_mean_begins_after_three_quarters_of_the_training(epochs: int, start: int) -> None:
    built = Swa().build(surroundings(Path(), epochs))
    assert (built._start, built._every) == (start, 1)


def test_it_tells_what_it_took(keras: Any) -> None:
    averaging = Swa(start_from_epoch=1).build(surroundings(Path()))
    fit(model(keras), [averaging], 3)
    assert averaging.notes == [
        "took epoch 1 into the mean, which is now over the weights of 1 epoch",
        "took epoch 2 into the mean, which is now over the weights of 2 epochs",
    ]


@pytest.mark.parametrize("settings", [{"start_from_epoch": -1}, {"every": 0}, {"until": 3}], ids=str)
def test_settings_out_of_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python({"name": "swa", **settings})
