"""Warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class Warmup(LearningRateSpec):
    """Straight up from `initial_learning_rate` to `warmup_target` (Goyal et al. 2017), which then stays."""

    name: Literal["warmup"] = "warmup"
    initial_learning_rate: float = Field(0.0, ge=0)
    """The rate at the first step."""
    warmup_target: Positive = 1e-3
    """The rate after the warm-up."""
    warmup_steps: Steps = None
    """Steps of the warm-up."""
    warmup_epochs: Epochs = None
    """The same in epochs. Where both are left out: the whole training."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's CosineDecay, whose way down has the height 0 with `alpha` 1."""
        return keras_schedule(
            "CosineDecay",
            initial_learning_rate=self.initial_learning_rate,
            decay_steps=1,
            alpha=1.0,
            warmup_target=self.warmup_target,
            warmup_steps=self.steps("warmup_steps", length, length.steps),
        )
