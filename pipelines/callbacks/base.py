"""What every callback spec promises.

A recipe names callbacks in a mapping: `callbacks: {early_stopping: {patience: 5}}`. The key is a label; where it is the
name of a kind, `name` may be left out. Keras calls them in the order of the recipe, and first those that add metrics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipelines.inputs import InputFacts, Kind
from pipelines.spec import Spec
from pipelines.tasks import Task

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

Mode = Literal["auto", "min", "max"]


@dataclass(frozen=True)
class Surroundings:
    """What a callback may know of the training it is built for.

    Attributes:
        folder: Where the attempt may write files; everything in it becomes an artifact below `checkpoints`.
        facts: The form of a sample, and the classes.
        task: What is learned.
        epochs: Epochs at most.
        steps_per_epoch: Batches in an epoch.
        x: Raw training samples, float32 (n, *shape), the same at every call: at most a few hundred of them.
        y: Their targets, in the form that the model's loss takes.
        x_val: All raw validation samples, in the type in which they are stored, (n, *shape). Not to be changed, nor
            kept as an attribute of the callback, which would be written with every state: they may be on the disk.
        y_val: What is right of them, as the data set has it, (n,): classes by their places in `facts.labels`, or
            numbers.
        draw: Keeps a PNG as the picture of an epoch, in the series of a name: `draw(epoch, "decision_surface", png)`.
    """

    folder: Path
    facts: InputFacts
    task: Task
    epochs: int
    steps_per_epoch: int
    x: NDArray[Any]
    y: NDArray[Any]
    x_val: NDArray[Any]
    y_val: NDArray[Any]
    draw: Callable[[int, str, bytes], None]


class CallbackSpec(Spec):
    """Settings of one Keras callback."""

    kinds: ClassVar[tuple[Kind, ...] | None] = None
    """The samples that it is for; None for any."""

    def watched_metrics(self) -> tuple[str, ...]:
        """Metrics that must exist for this callback to do anything; checked when a recipe is read."""
        return ()

    def added_metrics(self) -> tuple[str, ...]:
        """Metrics that the callback puts into the logs of every epoch. Such a callback acts before all others."""
        return ()

    def owns_learning_rate(self) -> bool:
        """Whether the callback moves the learning rate. Two owners would undo each other."""
        return False

    def needs_ema(self) -> bool:
        """Whether the optimizer must keep a running mean of the weights (`use_ema`)."""
        return False

    def swaps_weights(self) -> bool:
        """Whether other weights stand in the model while it is validated and kept. Two such would swap each other's."""
        return False

    @abstractmethod
    def build(self, around: Surroundings) -> keras.callbacks.Callback:
        """The Keras callback, for one training."""


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
