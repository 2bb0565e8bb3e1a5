"""Exponential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class Exponential(LearningRateSpec):
    """initial_learning_rate * decay_rate^(step / decay_steps); with a `decay_rate` above 1 it is a range test."""

    name: Literal["exponential"] = "exponential"
    initial_learning_rate: Positive = 1e-3
    """The rate at the first step."""
    decay_steps: Steps = None
    """Steps in which the rate is multiplied by `decay_rate` once."""
    decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: the whole training."""
    decay_rate: Positive = 0.1
    """What the rate is multiplied by in `decay_steps`."""
    staircase: bool = False
    """Multiply at once at the end of `decay_steps`, not little by little."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's ExponentialDecay."""
        return keras_schedule(
            "ExponentialDecay",
            initial_learning_rate=self.initial_learning_rate,
            decay_steps=self.steps("decay_steps", length, length.steps),
            decay_rate=self.decay_rate,
            staircase=self.staircase,
        )
