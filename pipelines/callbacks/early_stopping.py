"""EarlyStopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.callbacks.base import MonitoringSpec, Surroundings

if TYPE_CHECKING:
    import keras


class EarlyStopping(MonitoringSpec):
    """Stops a training whose monitored metric has not improved for `patience` epochs."""

    name: Literal["early_stopping"] = "early_stopping"
    min_delta: float = Field(0.0, ge=0)
    """The least change that counts as an improvement."""
    patience: int = Field(0, ge=0)
    """Epochs without improvement that are waited for."""
    baseline: float | None = None
    """A value to beat; without it the first epoch sets it."""
    restore_best_weights: bool = False
    """Put the weights of the best epoch back at the end. Regatta's own checkpoint is the best epoch's either way."""
    start_from_epoch: int = Field(0, ge=0)
    """Epochs, from 0, before which nothing is watched."""

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        import keras  # heavy, and not needed to read a recipe

        return keras.callbacks.EarlyStopping(**self.model_dump(exclude={"name"}))
