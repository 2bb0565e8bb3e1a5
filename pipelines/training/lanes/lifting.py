"""Settings that are numbers in Keras's objects and differ from lane to lane in one and the same program.

A number of the recipe is lifted where Keras only computes with it: it becomes one value a lane, given to the program as
it runs. What Keras decides by it (whether a momentum is zero) belongs to what a cohort has in common; see `grouping`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

OPTIMIZER = "optimizer."
DROPOUT, L1, L2 = "dropout.", "l1.", "l2."


class Lifted(float):
    """One lane's value of a setting, standing in for the number that Keras has there.

    It is a number for Keras, which treats numbers otherwise than tensors. Arithmetic with plain numbers is done in
    double precision, as Python does it, and only the outcome becomes a tensor of the type that is computed in; so
    `1 - beta` is rounded once, as it is with a number. It is never zero or None, and says so where Keras asks.

    As a Python number it is NaN: what would take it for that, and not ask what it stands for, cannot go unnoticed.
    """

    dtype = float
    """Keras asks for it, of numbers by their class."""

    value: tf.Tensor
    single: tf.Tensor | None

    def __new__(cls, value: tf.Tensor, single: tf.Tensor | None = None) -> Lifted:
        """Takes a float64 scalar, and the same rounded to float32 where somebody has that; see `both`."""
        made = super().__new__(cls, math.nan)
        made.value, made.single = value, single
        return made

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        """What TensorFlow makes of a number: float32, where nobody says which type is meant."""
        if self.single is not None and dtype in (None, tf.float32):
            return self.single
        return tf.cast(self.value, dtype or tf.float32)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __gt__(self, other: Any) -> bool:
        return bool(other == 0)  # nothing else is asked

    def __lt__(self, other: Any) -> bool:
        return not self.__gt__(other)

    def __ge__(self, other: Any) -> bool:
        return self.__gt__(other)

    __hash__ = object.__hash__

    def __neg__(self) -> Lifted:
        return Lifted(-self.value)

    def __add__(self, other: Any) -> Any:
        return Lifted(self.value + other) if _is_number(other) else self._like(other) + other

    def __sub__(self, other: Any) -> Any:
        return Lifted(self.value - other) if _is_number(other) else self._like(other) - other

    def __rsub__(self, other: Any) -> Any:
        return Lifted(other - self.value) if _is_number(other) else other - self._like(other)

    def __rtruediv__(self, other: Any) -> Any:
        return Lifted(other / self.value) if _is_number(other) else other / self._like(other)

    def __mul__(self, other: Any) -> Any:
        return Lifted(self.value * other) if _is_number(other) else self._like(other) * other

    __radd__, __rmul__ = __add__, __mul__

    def _like(self, other: Any) -> tf.Tensor:
        return tf.cast(self.value, other.dtype)


def both(settings: Sequence[Sequence[float]]) -> list[tf.Tensor]:
    """Values of lanes as a program takes them: each setting in float64 (lanes,), and then each in float32.

    Keras asks for some of them in float32 and makes float64 of that, as it does with a number in `fit`: 0.9 becomes
    0.89999998. Were they rounded inside the program, XLA would leave out the way there and back on a GPU, being allowed
    to be more exact, and a training in float64 would part from `fit` by 1e-5.
    """
    return [tf.constant(row, kind) for kind in (tf.float64, tf.float32) for row in settings]


def each_lifted(names: Sequence[str], settings: Sequence[tf.Tensor]) -> dict[str, Lifted]:
    """One lane's settings by their names, of what `both` has made."""
    return dict(zip(names, map(Lifted, settings[: len(names)], settings[len(names) :]), strict=True))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, Lifted)


@contextmanager
def lifted(model: keras.Model, optimizer: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Has the model and the optimizer compute with these values inside the block.

    Args:
        model: Its dropout and its penalties.
        optimizer: Any optimizer.
        values: By name, `Lifted` or plain numbers; see `places`.
    """
    found = places(model, optimizer)
    before = [(holder, attribute, getattr(holder, attribute)) for name in values for holder, attribute in found[name]]
    try:
        for name, value in values.items():
            for holder, attribute in found[name]:
                _set(holder, attribute, value)
        yield
    finally:
        for holder, attribute, value in before:
            _set(holder, attribute, value)


def places(model: keras.Model, optimizer: Any) -> dict[str, list[tuple[Any, str]]]:
    """Where the settings are that can be lifted, by name: objects and the names of their attributes.

    `optimizer.beta_1` is the optimizer's; `dropout.0` and `l2.0` are those of the first layer that has any, in order.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    found = {f"{OPTIMIZER}{name}": [(inner, name)] for name in vars(inner) if not name.startswith("_")}
    layers = list(model._flatten_layers(include_self=False))
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    found |= {f"{DROPOUT}{place}": [(layer, "rate")] for place, layer in enumerate(dropouts)}
    penalties = [getattr(layer, "kernel_regularizer", None) for layer in layers]
    for prefix, attribute in ((L1, "l1"), (L2, "l2")):
        held = [one for one in penalties if isinstance(one, keras.regularizers.L1L2) and getattr(one, attribute)]
        found |= {f"{prefix}{place}": [(one, attribute)] for place, one in enumerate(held)}
    return found


def _set(holder: Any, attribute: str, value: Any) -> None:
    object.__setattr__(holder, attribute, value)  # Keras's own tracks what is set, and refuses some of it
