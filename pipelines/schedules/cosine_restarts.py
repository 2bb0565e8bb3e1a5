"""Cosine with restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.schedules.base import Epochs, LearningRateSpec, Length, Positive, Steps, keras_schedule

if TYPE_CHECKING:
    import keras


class CosineRestarts(LearningRateSpec):
    """Half a cosine wave down, and up again at once (SGDR, Loshchilov and Hutter 2016)."""

    name: Literal["cosine_restarts"] = "cosine_restarts"
    initial_learning_rate: Positive = 1e-3
    """The rate at the first step."""
    first_decay_steps: Steps = None
    """Steps until the first restart."""
    first_decay_epochs: Epochs = None
    """The same in epochs. Where both are left out: a seventh of the training, so that with `t_mul: 2` three waves, of
    one, two and four sevenths, fill it."""
    t_mul: float = Field(2.0, ge=1)
    """How many times longer each wave is than the one before."""
    m_mul: Positive = 1.0
    """What each restart's rate is, as a multiple of the one before."""
    alpha: float = Field(0.0, ge=0, le=1)
    """The lowest rate, as a share of the first."""

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's CosineDecayRestarts."""
        return keras_schedule(
            "CosineDecayRestarts",
            initial_learning_rate=self.initial_learning_rate,
            first_decay_steps=self.steps("first_decay_steps", length, length.steps / 7),
            t_mul=self.t_mul,
            m_mul=self.m_mul,
            alpha=self.alpha,
        )
