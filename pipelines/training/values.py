"""Everything that a training changes in its model, read and written as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np


class Values(Protocol):
    """The variables of a model and then those of its optimizer, wherever they are."""

    def form(self) -> list[Any]:
        """Shape, type, and whether it is trained, of each."""

    def read(self) -> list[np.ndarray]:
        """A copy of each."""

    def write(self, values: Sequence[np.ndarray]) -> None:
        """Sets all of them."""

    def save(self, path: Path) -> None:
        """Writes the `.keras` file of the model, its optimizer's state included."""

    def save_as(self, values: Sequence[np.ndarray], path: Path) -> None:
        """The same with other values, which the model may hold from then on."""


class ModelValues:
    """The values that a Keras model holds itself."""

    def __init__(self, model: keras.Model) -> None:
        """Takes a compiled model."""
        self._model = model

    def form(self) -> list[Any]:
        """See `Values`."""
        return form_of(self._variables())

    def read(self) -> list[np.ndarray]:
        """See `Values`."""
        return [variable.numpy() for variable in self._variables()]

    def write(self, values: Sequence[np.ndarray]) -> None:
        """See `Values`."""
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)

    def save(self, path: Path) -> None:
        """See `Values`."""
        self._model.save(path)

    def save_as(self, values: Sequence[np.ndarray], path: Path) -> None:
        """See `Values`."""
        self.write(values)
        self.save(path)

    def _variables(self) -> list[Any]:
        return variables_of(self._model)


def variables_of(model: keras.Model) -> list[Any]:
    """The variables of a model and of its optimizer, built if it was not: Keras would do that with the first batch."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def rate_of(model: Any) -> float:
    """The learning rate of a model's optimizer as it is now. An optimizer may know it without asking TensorFlow."""
    known = getattr(model.optimizer, "known_rate", None)
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) if known is None else float(known)


def movable_rate_of(model: Any) -> float | None:
    """The same where it is a number that a callback can move; a schedule moves by itself."""
    known = getattr(model.optimizer, "known_rate", None)
    if known is not None:
        return float(known)
    rate = model.optimizer.learning_rate
    return float(keras.ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else None


def form_of(variables: Sequence[Any]) -> list[Any]:
    """Shape, type, and whether it is trained, of each."""
    return [[list(one.shape), str(one.dtype), bool(one.trainable)] for one in variables]
