"""What every callback spec promises.

A recipe names callbacks in a mapping: `callbacks: {early_stopping: {patience: 5}}`. The key is a label; where it is the
name of a kind, `name` may be left out. Keras calls them in the order of the recipe.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.spec import Spec

if TYPE_CHECKING:
    import keras

Mode = Literal["auto", "min", "max"]


class CallbackSpec(Spec):
    """Settings of one Keras callback."""

    def watched_metrics(self) -> tuple[str, ...]:
        """Metrics that must exist for this callback to do anything; checked when a recipe is read."""
        return ()

    def owns_learning_rate(self) -> bool:
        """Whether the callback moves the learning rate. Two owners would undo each other."""
        return False

    @abstractmethod
    def build(self, folder: Path) -> keras.callbacks.Callback:
        """The Keras callback; `folder` is where the attempt may write files."""


class MonitoringSpec(CallbackSpec):
    """A callback that watches one metric."""

    monitor: str = "val_loss"
    """The metric to watch, as it stands in Keras's logs."""
    mode: Mode = "auto"
    """Whether lower (`min`) or higher (`max`) is better; `auto` lets Keras tell from the metric's name."""
    verbose: Literal[0, 1] = 0
    """1 prints what the callback does to the worker's log."""

    def watched_metrics(self) -> tuple[str, ...]:
        """The monitored metric."""
        return (self.monitor,)


Patience = Field(ge=0)
