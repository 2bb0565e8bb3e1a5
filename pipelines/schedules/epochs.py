"""Learning rates as a function of the epoch, for the LearningRateScheduler callback.

They start from the optimizer's own learning rate, so that one number says how high the rate is. Lengths are in epochs;
where one is left out it follows from the length of the training.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.own.code import Arguments, Reference, load
from pipelines.schedules.one_cycle import START_SHARE, WARMUP_SHARE
from pipelines.spec import Spec, named

Schedule = Callable[[int, float], float]
"""Keras's form: (epoch from 0, the rate now) -> the rate of this epoch."""
Span = Annotated[int, Field(ge=1)] | None
Share = Annotated[float, Field(ge=0, le=1)]


class EpochScheduleSpec(Spec):
    """Settings of one schedule over epochs."""

    @abstractmethod
    def build(self, epochs: int) -> Schedule:
        """The function of epoch and rate, for a training of so many epochs at most."""


class Curve:
    """A formula at work in one training."""

    def __init__(self, formula: Formula, epochs: int) -> None:
        """Takes the formula, and the epochs of the training at most."""
        self._formula = formula
        self._epochs = epochs
        self._start: float | None = None

    def __call__(self, epoch: int, rate: float) -> float:
        """The rate of an epoch; the rate that it is first called with is the optimizer's own."""
        if self._start is None or epoch == 0:
            self._start = rate
        return self._formula.rate(epoch, self._start, self._epochs)

    def get_state(self) -> float | None:
        """The optimizer's own rate, for a training that goes on later."""
        return self._start

    def set_state(self, state: float | None) -> None:
        """Takes over from an earlier attempt, whose rate has moved since it began."""
        self._start = state


class Formula(EpochScheduleSpec):
    """A schedule that follows from the epoch and the optimizer's own rate."""

    def build(self, epochs: int) -> Schedule:
        """The function of epoch and rate."""
        return Curve(self, epochs)

    @abstractmethod
    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """The rate of an epoch, from 0; `start` is the optimizer's own, `epochs` how many there are at most."""


class StepDecay(Formula):
    """Multiply the rate by `factor` at every `every`-th epoch."""

    name: Literal["step"] = "step"
    factor: float = Field(0.5, gt=0, le=1)
    """What the rate is multiplied by, in (0, 1]."""
    every: Span = None
    """Epochs between two drops; a third of the training where left out, so that the rate drops twice."""
    min_lr: float = Field(0.0, ge=0)
    """The rate is not taken below this."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Falls in steps."""
        return max(self.min_lr, start * self.factor ** (epoch // _span(self.every, epochs / 3)))


class ExponentialDecay(Formula):
    """Multiply the rate by exp(-`decay`) at each epoch from `start_from_epoch` on."""

    name: Literal["exponential"] = "exponential"
    decay: float = Field(0.1, gt=0)
    """Decay per epoch, in the exponent."""
    start_from_epoch: int = Field(0, ge=0)
    """Epochs, from 0, before which the rate stays."""
    min_lr: float = Field(0.0, ge=0)
    """The rate is not taken below this."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Falls by the same share at each epoch."""
        decays = max(0, epoch - max(self.start_from_epoch, 1) + 1)  # before epoch 0 there is nothing to decay from
        return max(self.min_lr, start * math.exp(-self.decay * decays))


class PolynomialDecay(Formula):
    """From the optimizer's rate to `end_learning_rate` along (1 - epoch / decay_epochs)^power."""

    name: Literal["polynomial"] = "polynomial"
    decay_epochs: Span = None
    """Epochs until the end rate is reached; the whole training where left out."""
    end_learning_rate: float = Field(1e-4, ge=0)
    """The rate at the end."""
    power: float = Field(1.0, gt=0)
    """1 is a straight line; more falls faster at first."""
    cycle: bool = False
    """Begin again, with a longer decay each time, where the training goes on past the end."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Falls to the end rate."""
        span = _span(self.decay_epochs, epochs)
        if self.cycle:
            span *= max(1, math.ceil(epoch / span))
        left = 1 - min(epoch, span) / span
        return (start - self.end_learning_rate) * math.pow(left, self.power) + self.end_learning_rate


class CosineDecay(Formula):
    """Half a cosine wave down from the optimizer's rate (Loshchilov and Hutter 2016)."""

    name: Literal["cosine"] = "cosine"
    decay_epochs: Span = None
    """Epochs of the way down; the whole training where left out."""
    alpha: Share = 0.0
    """The rate at the end, as a share of the first."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Falls along the wave, then stays."""
        span = _span(self.decay_epochs, epochs)
        return start * _wave(min(epoch, span) / span, self.alpha)


class CosineDecayRestarts(Formula):
    """Half a cosine wave down, and up again at once (SGDR, Loshchilov and Hutter 2016)."""

    name: Literal["cosine_restarts"] = "cosine_restarts"
    first_decay_epochs: Span = None
    """Epochs until the first restart; a seventh of the training where left out, so that with `t_mul: 2` three waves
    fill it."""
    t_mul: float = Field(2.0, ge=1)
    """How many times longer each wave is than the one before."""
    m_mul: float = Field(1.0, gt=0)
    """What each restart's rate is, as a multiple of the one before."""
    alpha: Share = 0.0
    """The lowest rate, as a share of the first."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Falls along the wave that the epoch is in."""
        span, height, passed = float(_span(self.first_decay_epochs, epochs / 7)), 1.0, float(epoch)
        while passed >= span:
            passed, span, height = passed - span, span * self.t_mul, height * self.m_mul
        return start * _wave(passed / span, self.alpha, height)


class Warmup(Formula):
    """Straight up to the optimizer's rate (Goyal et al. 2017), which then stays."""

    name: Literal["warmup"] = "warmup"
    warmup_epochs: Span = None
    """Epochs of the warm-up; the whole training where left out."""
    start: float = Field(0.1, gt=0, le=1)
    """The rate of the first epoch, as a share of the optimizer's."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Rises, then stays."""
        span = _span(self.warmup_epochs, epochs)
        return start * _rise(epoch / span, self.start) if epoch < span else start


class OneCycle(Formula):
    """Straight up to the optimizer's rate, and down to nothing along half a cosine wave (Smith and Topin 2017)."""

    name: Literal["one_cycle"] = "one_cycle"
    warmup_epochs: Span = None
    """Epochs up to the peak; 30 % of the training where left out."""
    decay_epochs: Span = None
    """Epochs down from the peak; the rest of the training where left out."""
    start: float = Field(START_SHARE, gt=0, le=1)
    """The rate of the first epoch, as a share of the peak."""
    alpha: Share = 0.0
    """The rate at the end, as a share of the peak."""

    def rate(self, epoch: int, start: float, epochs: int) -> float:
        """Rises, then falls."""
        warmup = _span(self.warmup_epochs, WARMUP_SHARE * epochs)
        if epoch < warmup:
            return start * _rise(epoch / warmup, self.start)
        span = _span(self.decay_epochs, epochs - warmup)
        return start * _wave(min(epoch - warmup, span) / span, self.alpha)


class OwnSchedule(EpochScheduleSpec):
    """A function of one's own, `module:function`, that takes (epoch, rate) and returns the rate."""

    name: Literal["function"] = "function"
    function: Reference
    """Where it is, as `module:function`; it gets the epoch, from 0, and the rate now, and returns a float."""
    arguments: Arguments = Field(default_factory=dict)
    """What it gets besides, by name; each can vary, as `callbacks.<label>.schedule.arguments.<argument>`."""

    def build(self, epochs: int) -> Schedule:
        """The function, imported from its module, with its arguments.

        Raises:
            TypeError: It is no function, or does not take these arguments.
        """
        found: Schedule = load(self.function)
        if not callable(found):
            raise TypeError(f"'{self.function}' must be a function of (epoch, rate), got {type(found).__name__}")
        if not self.arguments:
            return found  # Keras also takes a function of the epoch alone
        try:
            inspect.signature(found).bind(0, 0.0, **self.arguments)
        except TypeError as error:
            called = ", ".join(["epoch", "rate", *(f"{key}={value!r}" for key, value in self.arguments.items())])
            raise TypeError(f"'{self.function}' cannot be called with ({called}): {error}") from None
        return partial(found, **self.arguments)


def _span(given: int | None, otherwise: float) -> int:
    """A length in epochs, at least one."""
    return given or max(1, round(otherwise))


def _wave(passed: float, alpha: float, height: float = 1.0) -> float:
    """Half a cosine wave from `height` down to `alpha`, as Keras's CosineDecay has it."""
    return (1 - alpha) * height * 0.5 * (1 + math.cos(math.pi * passed)) + alpha


def _rise(passed: float, start: float) -> float:
    """A straight line from `start` up to 1."""
    return start + (1 - start) * passed


EpochSchedule = Annotated[
    Annotated[
        StepDecay
        | ExponentialDecay
        | PolynomialDecay
        | CosineDecay
        | CosineDecayRestarts
        | Warmup
        | OneCycle
        | OwnSchedule,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]
