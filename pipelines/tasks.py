"""What can be learned: classes told apart, one thing told from another, or a number."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Targets = Literal["index", "one_hot", "column"]
"""The form in which a loss takes the truth: class numbers int64 (n,), one-hot float32 (n, classes), or a column of
numbers float32 (n, 1)."""


class Task(StrEnum):
    """What a training learns. It follows from the data; the output layer and the default loss follow from it."""

    MULTICLASS = "multiclass"  # one of several classes: a softmax with one unit a class
    BINARY = "binary"  # the second of two classes, or the first: one sigmoid unit
    REGRESSION = "regression"  # a number: one linear unit


CLASSES = (Task.MULTICLASS, Task.BINARY)
OUTPUT_NAMES = {Task.MULTICLASS: "probabilities", Task.BINARY: "probability", Task.REGRESSION: "prediction"}
SCORES = {
    Task.MULTICLASS: ("test_accuracy", "test_loss"),
    Task.BINARY: ("test_accuracy", "test_auc", "test_loss"),
    Task.REGRESSION: ("test_r2", "test_mae", "test_rmse", "test_mse"),
}
"""What a model is judged by on sealed samples, by task; the first is what champions are compared by unless the recipe
says otherwise. `test_loss` is plain cross-entropy in nats, whatever loss a model was trained with."""
ACTIVATIONS = {Task.MULTICLASS: "softmax", Task.BINARY: "sigmoid", Task.REGRESSION: "linear"}


def task_of(labels: tuple[str, ...]) -> Task:
    """The task that data with these classes asks for; no classes mean a number."""
    if not labels:
        return Task.REGRESSION
    return Task.BINARY if len(labels) == 2 else Task.MULTICLASS


@dataclass(frozen=True)
class Head:
    """The end of a model.

    Attributes:
        task: What is learned.
        units: Width of the output.
        activation: Of the output layer, in Keras's word.
        scale: What the last layer multiplies by, so that a number comes out in the target's own units; 1 for classes.
        offset: What it adds.
    """

    task: Task
    units: int
    activation: str
    scale: float = 1.0
    offset: float = 0.0

    @property
    def name(self) -> str:
        """Name of the last layer, and so of the model's output."""
        return OUTPUT_NAMES[self.task]
