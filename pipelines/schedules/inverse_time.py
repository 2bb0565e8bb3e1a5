"""Inverse time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class InverseTime(LearningRateSpec):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps)."""

    name: Literal["inverse_time"] = "inverse_time"
    initial_learning_rate: Positive = 1e-3
    """The rate at the first step."""
    decay_steps: Steps = None
    """Steps after which `decay_rate` has been added to the divisor once."""
    decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: the whole training."""
    decay_rate: Positive = 1.0
    """What is added to the divisor in `decay_steps`; 1 halves the rate in that time."""
    staircase: bool = False
    """Add at once at the end of `decay_steps`, not little by little."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's InverseTimeDecay."""
        return keras_schedule(
            "InverseTimeDecay",
            initial_learning_rate=self.initial_learning_rate,
            decay_steps=self.steps("decay_steps", length, length.steps),
            decay_rate=self.decay_rate,
            staircase=self.staircase,
        )
