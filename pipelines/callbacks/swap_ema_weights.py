"""SwapEMAWeights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from pipelines.callbacks.base import CallbackSpec, Surroundings

if TYPE_CHECKING:
    import keras


class SwapEmaWeights(CallbackSpec):
    """Validates and keeps the running mean of the weights that `use_ema` has the optimizer hold; trains on the others.

    Name it before callbacks that save or restore weights when an epoch ends: those before it still see the weights that
    are trained.
    """

    name: Literal["swap_ema_weights"] = "swap_ema_weights"
    swap_on_epoch: bool = True
    """Leave the mean in the model when an epoch ends, so that the checkpoint has the weights that were validated."""

    @field_validator("swap_on_epoch")
    @classmethod
    def _kept_as_validated(cls, value: bool) -> bool:
        if not value:
            raise ValueError(
                "must be true, got false: an epoch would be validated with the mean and kept with other weights, so "
                "that its checkpoint would not score what the run says"
            )
        return value

    def needs_ema(self) -> bool:
        """It does."""
        return True

    def swaps_weights(self) -> bool:
        """It does."""
        return True

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        import keras  # heavy, and not needed to read a recipe

        return keras.callbacks.SwapEMAWeights(swap_on_epoch=self.swap_on_epoch)
