"""Step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class Step(LearningRateSpec):
    """Multiply the rate by `decay_rate` at once every `decay_steps`: exponential decay in a staircase."""

    name: Literal["step"] = "step"
    initial_learning_rate: Positive = 1e-3
    """The rate at the first step."""
    decay_steps: Steps = None
    """Steps between two drops."""
    decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: a third of the training, so that the rate drops twice."""
    decay_rate: Positive = 0.5
    """What the rate is multiplied by."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's ExponentialDecay with `staircase`."""
        return keras_schedule(
            "ExponentialDecay",
            initial_learning_rate=self.initial_learning_rate,
            decay_steps=self.steps("decay_steps", length, length.steps / 3),
            decay_rate=self.decay_rate,
            staircase=True,
        )
