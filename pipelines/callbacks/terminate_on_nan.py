"""TerminateOnNaN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.callbacks.base import CallbackSpec, Surroundings

if TYPE_CHECKING:
    import keras


class TerminateOnNan(CallbackSpec):
    """Stops a training as soon as the loss of a batch is not a finite number."""

    name: Literal["terminate_on_nan"] = "terminate_on_nan"
    raise_error: bool = False
    """Raise, so that the trial fails, rather than stop it in good order with the best epoch before."""

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        import keras  # heavy, and not needed to read a recipe

        return keras.callbacks.TerminateOnNaN(raise_error=self.raise_error)
