"""A training small enough to run many of: a table of 96 samples, a few batches an epoch, and plain `model.fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from pipelines.callbacks import Callback
from pipelines.callbacks.base import Surroundings
from pipelines.inputs import InputFacts
from pipelines.records import CallbackActed, Event, TrialSpec, Verdict
from pipelines.tasks import Task

READ: TypeAdapter[Any] = TypeAdapter(Callback)
SAMPLES, COLUMNS, BATCH = 96, 6, 32
STEPS = SAMPLES // BATCH


def data() -> tuple[Any, Any]:
    """Samples float32 (96, 6), and whether their sum is positive, int64 (96,)."""
    x = np.random.default_rng(0).normal(size=(SAMPLES, COLUMNS)).astype(np.float32)
    return x, (x.sum(axis=1) > 0).astype(np.int64)


def surroundings(folder: Path, epochs: int = 8, **changes: Any) -> Surroundings:
    x, y = data()
    facts = InputFacts((COLUMNS,), None, None, ("no", "yes"), kind="table")
    found = {
        "folder": folder,
        "facts": facts,
        "task": Task.BINARY,
        "epochs": epochs,
        "steps_per_epoch": STEPS,
        "x": x[:50],
        "y": y[:50],
        "x_val": x[50:],
        "y_val": y[50:],
        "draw": lambda epoch, key, png: None,
    }
    return Surroundings(**{**found, **changes})


def attempt(folder: Path) -> TrialSpec:
    return TrialSpec(5, 1, {}, "", str(folder), "val_loss", "minimize")


def build(settings: Mapping[str, Any], around: Surroundings) -> dict[str, Any]:
    """The callbacks of a recipe's mapping, by label."""
    return {label: READ.validate_python(one).build(around) for label, one in settings.items()}


def model(
    keras: Any, layers: Sequence[Any] | Callable[[], Sequence[Any]] = (), optimizer: Any = "adam", classes: int = 2
) -> Any:
    """A compiled model: the same layers give the same weights."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    hidden = layers() if callable(layers) else list(layers) or [keras.layers.Dense(4, "tanh", name="hidden")]
    made = keras.Sequential([keras.Input((COLUMNS,)), *hidden, keras.layers.Dense(classes, "softmax", name="out")])
    made.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def fit(made: Any, callbacks: Iterable[Any], epochs: int = 8) -> dict[str, list[float]]:
    """Trains, and returns the curves."""
    x, y = data()
    history = made.fit(
        x, y, batch_size=BATCH, epochs=epochs, validation_data=(x, y), callbacks=list(callbacks), verbose=0
    )
    return dict(history.history)


class Heard(list[CallbackActed]):
    """Takes events, and keeps them."""

    def __call__(self, event: Event) -> Verdict:
        assert isinstance(event, CallbackActed)
        self.append(event)
        return Verdict.GO_ON

    def of(self, label: str, action: str | None = None) -> list[CallbackActed]:
        return [act for act in self if act.callback == label and action in (None, act.action)]

    def told(self, label: str) -> list[tuple[int, str]]:
        """Epoch and sentence of everything that one callback did."""
        return [(act.epoch, act.text) for act in self.of(label)]
