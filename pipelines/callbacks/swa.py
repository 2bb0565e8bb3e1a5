"""Stochastic weight averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.callbacks.base import CallbackSpec, Surroundings

if TYPE_CHECKING:
    import keras

START_SHARE = 0.75
"""Of the training, as in the paper."""


class Swa(CallbackSpec):
    """Validates and keeps the mean of the weights at the ends of epochs (Izmailov et al. 2018); trains on the others.

    Every weight counts the same in the mean. It is meant for the last part of a training, with a rate that is constant
    or goes in cycles. Statistics of batch normalisation are averaged like weights; the paper computes them again on the
    training samples, which would cost another pass over them at every epoch.
    """

    name: Literal["swa"] = "swa"
    start_from_epoch: int | None = Field(None, ge=0)
    """The first epoch, from 0, whose weights go into the mean; three quarters of the training where left out."""
    every: int = Field(1, ge=1)
    """Epochs from one that goes into the mean to the next: the length of a cycle of the rate."""

    def swaps_weights(self) -> bool:
        """It does."""
        return True

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        from pipelines.callbacks.averaging import WeightAveraging  # imports Keras

        start = self.start_from_epoch
        return WeightAveraging(int(START_SHARE * around.epochs) if start is None else start, self.every)
