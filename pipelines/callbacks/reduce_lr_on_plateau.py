"""ReduceLROnPlateau."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.callbacks.base import MonitoringSpec, Surroundings

if TYPE_CHECKING:
    import keras


class ReduceLrOnPlateau(MonitoringSpec):
    """Multiplies the learning rate by `factor` when the monitored metric has not improved for `patience` epochs."""

    name: Literal["reduce_lr_on_plateau"] = "reduce_lr_on_plateau"
    factor: float = Field(0.1, gt=0, lt=1)
    """What the rate is multiplied by, in (0, 1); Keras refuses 1 and more."""
    patience: int = Field(10, ge=0)
    """Epochs without improvement that are waited for."""
    min_delta: float = Field(1e-4, ge=0)
    """The least change that counts as an improvement."""
    cooldown: int = Field(0, ge=0)
    """Epochs to rest after a reduction."""
    min_lr: float = Field(0.0, ge=0)
    """The rate is not taken below this."""

    def owns_learning_rate(self) -> bool:
        """It does."""
        return True

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        import keras  # heavy, and not needed to read a recipe

        return keras.callbacks.ReduceLROnPlateau(**self.model_dump(exclude={"name"}))
