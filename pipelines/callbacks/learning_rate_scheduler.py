"""LearningRateScheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.callbacks.base import CallbackSpec, Surroundings
from pipelines.schedules import EpochSchedule

if TYPE_CHECKING:
    import keras


class LearningRateScheduler(CallbackSpec):
    """Sets the learning rate at the start of each epoch by a schedule."""

    name: Literal["learning_rate_scheduler"] = "learning_rate_scheduler"
    schedule: EpochSchedule
    """How the rate follows the epoch; see `pipelines/schedules/epochs.py`."""
    verbose: Literal[0, 1] = 0
    """1 prints each change to the worker's log."""

    def owns_learning_rate(self) -> bool:
        """It does."""
        return True

    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback."""
        import keras  # heavy, and not needed to read a recipe

        return keras.callbacks.LearningRateScheduler(self.schedule.build(around.epochs), verbose=self.verbose)
