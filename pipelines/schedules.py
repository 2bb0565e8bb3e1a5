"""Learning rates as a function of the epoch, for the LearningRateScheduler callback."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipelines.spec import Spec, named

Schedule = Callable[[int, float], float]
"""Keras's form: (epoch from 0, the rate now) -> the rate of this epoch."""


class StepDecay(Spec):
    """Multiply the rate by `factor` at every `every`-th epoch."""

    name: Literal["step"] = "step"
    factor: float = Field(0.5, gt=0, le=1)
    """What the rate is multiplied by, in (0, 1]."""
    every: int = Field(10, ge=1)
    """Epochs between two drops."""

    def build(self) -> Schedule:
        """The function of epoch and rate."""
        return lambda epoch, rate: rate * self.factor if epoch and epoch % self.every == 0 else rate


class ExponentialDecay(Spec):
    """Multiply the rate by exp(-`decay`) at each epoch from `start_from_epoch` on."""

    name: Literal["exponential"] = "exponential"
    decay: float = Field(0.1, gt=0)
    """Decay per epoch, in the exponent."""
    start_from_epoch: int = Field(0, ge=0)
    """Epochs, from 0, before which the rate stays."""

    def build(self) -> Schedule:
        """The function of epoch and rate."""
        return lambda epoch, rate: rate * math.exp(-self.decay) if epoch and epoch >= self.start_from_epoch else rate


class OwnSchedule(Spec):
    """A function of one's own, `module:function`, that takes (epoch, rate) and returns the rate."""

    name: Literal["function"] = "function"
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Where it is, as `module:function`."""

    def build(self) -> Schedule:
        """The function itself, imported from its module."""
        module, _, function = self.function.partition(":")
        found: Schedule = getattr(importlib.import_module(module), function)
        return found


EpochSchedule = Annotated[
    Annotated[StepDecay | ExponentialDecay | OwnSchedule, Field(discriminator="name")], BeforeValidator(named)
]
