"""The Keras callback behind `decision_surface`. Importing it imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.callbacks.base import Surroundings
from pipelines.inputs import InputFacts
from pipelines.pictures.surface import DECISION_SURFACE, surface, surface_grid
from pipelines.tasks import Task


class SurfaceDrawer(keras.callbacks.Callback):  # type: ignore[misc]
    """Asks the model for the whole plane in one compiled call, and draws its answers.

    It does so in inference mode and inside a stateless scope, so that no weight, statistic, loss or random state moves.
    """

    def __init__(self, around: Surroundings, every: int, resolution: int, size: int, samples: int) -> None:
        """Takes the training's surroundings, and what `DecisionSurface` says about each of the others."""
        super().__init__()
        self._around = around
        self._every = every
        self._side = resolution
        self._size = size
        self._x, self._y = around.x[:samples], class_numbers(around.y[:samples], around.task)
        self._low, self._high = borders(around.facts, around.x)
        self._grid = tf.constant(surface_grid(self._low, self._high, resolution))
        self._compiled: Any = None

    def get_state(self) -> None:
        """There is nothing that one picture hands on to the next."""

    def set_state(self, state: None) -> None:
        """Nothing to take over."""

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forgets the model of an earlier training."""
        self._compiled = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Draws."""
        if epoch % self._every:
            return
        if self._compiled is None:
            self._compiled = tf.function(self._answers, autograph=False)
        answers = np.asarray(self._compiled(self._grid), np.float32)
        form = (self._side, self._side, -1) if self._around.task is Task.MULTICLASS else (self._side, self._side)
        name = next((name for name in ("val_loss", "loss") if name in (logs or {})), None)
        picture = surface(
            answers.reshape(form),
            self._x,
            self._y,
            task=self._around.task,
            low=self._low,
            high=self._high,
            size_px=self._size,
            title=f"epoch {epoch}",
            note=f"{name} {float((logs or {})[name]):.3g}" if name else "",
            labels=self._around.facts.labels,
        )
        self._around.draw(epoch, DECISION_SURFACE, picture)

    def _answers(self, grid: tf.Tensor) -> tf.Tensor:
        with keras.StatelessScope():
            return self.model(grid, training=False)


def class_numbers(y: np.ndarray, task: Task) -> np.ndarray:
    """Targets in any form that a loss takes, as (n,) class numbers, or as the numbers that they are."""
    if task is Task.MULTICLASS and y.ndim == 2 and y.shape[1] > 1:
        return np.asarray(y.argmax(axis=1))
    return np.asarray(y).reshape(-1)


def borders(facts: InputFacts, x: np.ndarray) -> tuple[float, float]:
    """The square to draw: the data set's own range or, where it has none, a little more than what the samples fill."""
    if facts.low is not None and facts.high is not None and facts.high > facts.low:
        return facts.low, facts.high
    known = x[np.isfinite(x)]
    low, high = (float(known.min()), float(known.max())) if known.size else (-1.0, 1.0)
    room = (high - low) * 0.08 or 1.0
    return low - room, high + room
