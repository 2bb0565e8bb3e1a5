"""What the callbacks of one lane see in the place of a Keras model.

What callbacks ask for most is answered from the lane itself: the learning rate, `stop_training`, the weights. For all
else the cohort's one real model is lent to the lane: it gets the lane's values, and when the callbacks' turn is over,
what was changed in it goes back to the lane. So what a callback may do to a model in Keras, it may do here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.training.lanes.bank import Bank
from pipelines.training.lanes.mixing import View
from pipelines.training.lanes.template import Template

_WITHOUT_VALUES = {"name", "metrics", "metrics_names", "loss", "built", "compiled", "input_shape", "output_shape"}
"""What is asked of a model often, and is the same whatever values it holds."""


class _Rate(keras.Variable):  # type: ignore[misc]
    """A learning rate that notes when it is set: asking TensorFlow for its value takes longer than an epoch's hooks.

    Attributes:
        set: It was set since somebody last looked.
        known: What it is, where that is known.
    """

    set = True
    known: float | None = None

    def assign(self, value: Any) -> Any:
        """Sets it."""
        self.set, self.known = True, None
        return super().assign(value)


class LaneValues:
    """Everything that the training of one lane changes; see `pipelines.training.values.Values`."""

    def __init__(
        self, template: Template, bank: Bank | View, lane: int, settings: Mapping[str, float], *, watchful: bool = False
    ) -> None:
        """Takes its place.

        Args:
            template: The cohort's model.
            bank: The cohort's values, as lanes with this template see them.
            lane: Which lane it is.
            settings: Its lifted settings.
            watchful: Whether code may be about that sets a learning rate in ways of its own.
        """
        self.template = template
        self._watchful = watchful
        self.settings = settings
        self._bank = bank
        self._lane = lane
        self._lent: list[np.ndarray] | None = None  # what the real model held when it was lent
        self._rate: _Rate | None = None
        self._known_rate: np.ndarray | None = None

    def form(self) -> list[Any]:
        """See `Values`."""
        return self.template.form

    def read(self) -> list[np.ndarray]:
        """See `Values`."""
        self.settle()
        return self._bank.read_all(self._lane)

    def write(self, values: Sequence[np.ndarray]) -> None:
        """See `Values`."""
        self.settle()
        self._change(dict(enumerate(values)))

    def save(self, path: Path) -> None:
        """See `Values`."""
        self.save_as(self.read(), path)

    def save_as(self, values: Sequence[np.ndarray], path: Path) -> None:
        """See `Values`. The lane's own values stay what they are, and its place may have another trial by then."""
        self.template.save(path, values, self.settings)

    def rate(self) -> Any:
        """The learning rate: a variable or, where a schedule moves it, what it is at this step."""
        place = self.template.rate
        if place is None:
            self.settle()
            return self.template.scheduled_rate(self._bank.read(self._lane, self.template.iterations))
        if self._rate is None:
            self.settle()
            rate = self._bank.read(self._lane, place)
            self._rate = _Rate(rate, trainable=False, name="learning_rate")
            self._know(rate)
        return self._rate

    def known_rate(self) -> float | None:
        """The learning rate, where it is a number that callbacks may move and is known without asking TensorFlow."""
        if self.template.rate is None or self._watchful:
            return None
        if self._rate is not None:
            return self._rate.known
        if self._lent is not None:  # which is settled when the turn is over, not before: a graph may be in the making
            return None
        return float(self._bank.read(self._lane, self.template.rate))

    def lend(self) -> keras.Model:
        """The real model, with the lane's values, until it is settled what came of it."""
        if self._lent is None:
            self.settle()
            self._lent = self._bank.read_all(self._lane)
            self.template.put(self._lent, self.settings)
        return self.template.model

    def settle(self) -> None:
        """Takes over what was changed in the real model, if it was lent, and in the learning rate."""
        if self._lent is not None:
            before, self._lent = self._lent, None
            now = self.template.values()
            self._change({place: new for place, new in enumerate(now) if not _same(before[place], new)})
        if self._rate is not None and self.template.rate is not None and (self._rate.set or self._watchful):
            self._rate.set = False
            rate = np.asarray(self._rate.value)
            if not _same(rate, self._known_rate):
                self._bank.write(self._lane, {self.template.rate: rate})
            self._know(rate)

    def _change(self, values: dict[int, np.ndarray]) -> None:
        self._bank.write(self._lane, values)
        if self._rate is not None and self.template.rate in values:
            rate = np.array(values[self.template.rate], self._rate.dtype)
            self._rate.assign(rate)
            self._know(rate)

    def _know(self, rate: np.ndarray) -> None:
        """Notes what the learning rate is.

        The variable itself is to know it only where no code is about that may set it in ways of its own.
        """
        self._known_rate = rate
        if self._rate is not None and not self._watchful:
            self._rate.known = float(rate)


class LaneModel:
    """The model of one lane."""

    def __init__(self, values: LaneValues) -> None:
        """Takes the lane's values."""
        self.stop_training = False
        self.optimizer = LaneOptimizer(values)
        self._values = values

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights, as a Keras model gives them."""
        values = self._values.read()
        return [values[place] for place in self._values.template.weights]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Sets the weights."""
        values = self._values.read()
        for place, weight in zip(self._values.template.weights, weights, strict=True):
            values[place] = np.asarray(weight)
        self._values.write(values)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the real model."""
        return self._values.lend()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_values":
            raise AttributeError(name)
        values = self._values
        return getattr(values.template.model if name in _WITHOUT_VALUES else values.lend(), name)


class LaneOptimizer:
    """The optimizer of one lane: its learning rate, and everything else by the real one."""

    def __init__(self, values: LaneValues) -> None:
        """Takes the lane's values."""
        object.__setattr__(self, "_values", values)

    @property
    def known_rate(self) -> float | None:
        """See `LaneValues.known_rate`."""
        known: float | None = self._values.known_rate()
        return known

    @property
    def learning_rate(self) -> Any:
        """See `LaneValues.rate`."""
        return self._values.rate()

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        held = self._values.rate()
        if not isinstance(held, keras.Variable):
            raise TypeError(
                "This optimizer's learning rate is moved by a schedule, and cannot be set; give the optimizer a number "
                "as learning_rate."
            )
        held.assign(rate)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_values":
            raise AttributeError(name)
        return getattr(self._values.lend().optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "learning_rate":
            object.__setattr__(self, name, value)
        else:
            setattr(self._values.lend().optimizer, name, value)


def _same(one: np.ndarray, other: Any) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
