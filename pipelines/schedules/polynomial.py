"""Polynomial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class Polynomial(LearningRateSpec):
    """From `initial_learning_rate` to `end_learning_rate` along (1 - step / decay_steps)^power."""

    name: Literal["polynomial"] = "polynomial"
    initial_learning_rate: Positive = 1e-3
    """The rate at the first step."""
    decay_steps: Steps = None
    """Steps until the end rate is reached."""
    decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: the whole training."""
    end_learning_rate: float = Field(1e-4, ge=0)
    """The rate at the end."""
    power: Positive = 1.0
    """1 is a straight line; more falls faster at first."""
    cycle: bool = False
    """Begin again, with a longer decay each time, where the training goes on past the end."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's PolynomialDecay."""
        return keras_schedule(
            "PolynomialDecay",
            initial_learning_rate=self.initial_learning_rate,
            decay_steps=self.steps("decay_steps", length, length.steps),
            end_learning_rate=self.end_learning_rate,
            power=self.power,
            cycle=self.cycle,
        )
