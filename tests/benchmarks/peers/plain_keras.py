"""What the peers share: the samples in memory, the dense classifier, and one training of it with plain `Model.fit`.

Written as a careful engineer would without Regatta, of which nothing is imported here. Of the usual ways to feed `fit`
this is the fastest that was found on small data: a `tf.data` pipeline that is made once for all trials. `fit(x, y)`
with arrays makes one for every trial, which costs a dense model on the digits half as much again; `jit_compile=True`,
which Keras chooses by itself where there is a GPU, costs each trial seconds of compiling; several steps an execution
gained nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """What is learned, and by which model.

    Attributes:
        data: Folder with train-x.npy, train-y.npy, validation-x.npy and validation-y.npy.
        low: Smallest raw value of a sample; `high` is the largest.
        units: Of the hidden layers.
    """

    data: str
    low: float
    high: float
    classes: int
    units: tuple[int, ...]
    batch_size: int
    epochs: int

    @classmethod
    def read(cls, path: Path) -> Problem:
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**told, "units": tuple(told["units"])})

    @cached_property
    def arrays(self) -> tuple[Any, Any, Any, Any]:
        """Training samples and labels, then those for validation; float32 and int64."""
        x, y, vx, vy = (
            np.load(Path(self.data) / f"{part}-{axis}.npy") for part in ("train", "validation") for axis in "xy"
        )
        return x.astype(np.float32), y, vx.astype(np.float32), vy

    @cached_property
    def pipelines(self) -> tuple[Any, Any]:
        """Shuffled batches to train on, and the batches for validation: `tf.data`, made once for all trials."""
        import tensorflow as tf

        x, y, vx, vy = self.arrays
        train = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x)).batch(self.batch_size)
        return train.prefetch(2), tf.data.Dataset.from_tensor_slices((vx, vy)).batch(1024).cache()


@dataclass(frozen=True)
class Choice:
    """One point of the search space. `optimizer` holds its kind as `name`, and its settings."""

    optimizer: dict[str, Any]
    patience: int

    @classmethod
    def drawn(cls, trial: Any) -> Choice:
        """Samples an Optuna trial: the kind first, then what only that kind has."""
        name = trial.suggest_categorical("optimizer", ["adam", "rmsprop", "sgd"])
        if name == "sgd":
            settings = {
                "learning_rate": trial.suggest_float("sgd_learning_rate", 1e-2, 0.3, log=True),
                "momentum": trial.suggest_float("momentum", 0.0, 0.95),
                "nesterov": True,
            }
        else:
            settings = {"learning_rate": trial.suggest_float(f"{name}_learning_rate", 3e-4, 1e-2, log=True)}
        return cls({"name": name, **settings}, trial.suggest_int("patience", 2, 6))


def compiled_model(problem: Problem, choice: Choice) -> Any:
    """The dense classifier on raw samples."""
    import keras

    kinds = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD}
    settings = dict(choice.optimizer)
    scale = 1.0 / (problem.high - problem.low)
    model = keras.Sequential(
        [
            keras.Input(problem.arrays[0].shape[1:]),
            keras.layers.Rescaling(scale, offset=-problem.low * scale),
            keras.layers.Flatten(),
            *(keras.layers.Dense(units, activation="relu") for units in problem.units),
            keras.layers.Dense(problem.classes, activation="softmax"),
        ]
    )
    optimizer = kinds[settings.pop("name")](**settings)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def train(problem: Problem, choice: Choice, seed: int, callbacks: list[Any], *, arrays: bool = False) -> Any:
    """Trains one model to its end; returns Keras's history, whose model has the weights of its best epoch.

    Args:
        problem: What is learned.
        choice: With which hyperparameters.
        seed: Of the initial weights and the order.
        callbacks: Further callbacks beside early stopping.
        arrays: Hand `fit` the arrays as they are, as most code does.
    """
    import keras

    keras.utils.set_random_seed(seed)
    model = compiled_model(problem, choice)
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=choice.patience, restore_best_weights=True)
    more: dict[str, Any] = {"epochs": problem.epochs, "callbacks": [stopping, *callbacks], "verbose": 0}
    if arrays:
        x, y, vx, vy = problem.arrays
        return model.fit(
            x, y, batch_size=problem.batch_size, validation_data=(vx, vy), validation_batch_size=1024, **more
        )
    batches, validation = problem.pipelines
    return model.fit(batches, validation_data=validation, shuffle=False, **more)  # the pipeline shuffles


def forget() -> None:
    """Lets go of the graphs of ended trials, which would pile up otherwise."""
    import keras

    keras.backend.clear_session()
