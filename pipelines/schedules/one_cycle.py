"""One cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras

WARMUP_SHARE = 0.3
START_SHARE = 1 / 25
"""Of the peak; both shares are those of PyTorch's OneCycleLR."""


class OneCycle(LearningRateSpec):
    """Straight up to a high rate, and down to nothing along half a cosine wave (Smith and Topin 2017)."""

    name: Literal["one_cycle"] = "one_cycle"
    initial_learning_rate: float | None = Field(None, ge=0)
    """The rate at the first step; a 25th of the peak where left out."""
    warmup_target: Positive = 1e-2
    """The peak."""
    warmup_steps: Steps = None
    """Steps up to the peak."""
    warmup_epochs: Epochs = None
    """The same in epochs. Where both are left out: 30 % of the training."""
    decay_steps: Steps = None
    """Steps down from the peak."""
    decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: the rest of the training."""
    alpha: float = Field(0.0, ge=0, le=1)
    """The rate at the end, as a share of the peak."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's CosineDecay with a warm-up."""
        warmup = self.steps("warmup_steps", length, WARMUP_SHARE * length.steps)
        start = self.initial_learning_rate
        return keras_schedule(
            "CosineDecay",
            initial_learning_rate=self.warmup_target * START_SHARE if start is None else start,
            decay_steps=self.steps("decay_steps", length, length.steps - warmup),
            alpha=self.alpha,
            warmup_target=self.warmup_target,
            warmup_steps=warmup,
        )
