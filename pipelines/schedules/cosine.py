"""Cosine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class Cosine(LearningRateSpec):
    """Half a cosine wave down (Loshchilov and Hutter 2016), after a linear warm-up where `warmup_target` is given."""

    name: Literal["cosine"] = "cosine"
    initial_learning_rate: float = Field(1e-3, ge=0)
    """The rate at the first step; the highest one where there is no warm-up."""
    decay_steps: Steps = None
    """Steps of the way down, after the warm-up."""
    decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: what the warm-up leaves of the training."""
    alpha: float = Field(0.0, ge=0, le=1)
    """The rate at the end, as a share of the highest."""
    warmup_target: Positive | None = None
    """The rate that the warm-up ends at; without it there is none."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of the warm-up."""
    warmup_epochs: float = Field(0.0, ge=0)
    """The same in epochs."""

    @model_validator(mode="after")
    def _a_warmup_goes_somewhere(self) -> Self:
        if self.warmup_target is None and (self.warmup_steps or self.warmup_epochs):
            raise ValueError("needs a warmup_target that the warm-up goes to, such as 1e-3")
        if self.warmup_target is None and self.initial_learning_rate == 0:
            raise ValueError("initial_learning_rate must be greater than 0 where no warmup_target follows, got 0")
        return self

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's CosineDecay."""
        warmup = self.warmup_steps or (length.of(self.warmup_epochs) if self.warmup_epochs else 0)
        return keras_schedule(
            "CosineDecay",
            initial_learning_rate=self.initial_learning_rate,
            decay_steps=self.steps("decay_steps", length, length.steps - warmup),
            alpha=self.alpha,
            warmup_target=self.warmup_target,
            warmup_steps=warmup,
        )
