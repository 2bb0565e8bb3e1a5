"""What a training learns from its data, with everything told that a recipe may leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import DatasetSpec
from pipelines.inputs import InputFacts
from pipelines.losses import LossSpec, default_loss
from pipelines.metrics import MetricSpec, default_metrics
from pipelines.models.base import ModelSpec
from pipelines.tasks import ACTIVATIONS, Head, Targets, Task, task_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.callbacks.base import CallbackSpec

Parts = Mapping[str, Any]
"""Fields of a training config by name; those that could not be read are missing."""


@dataclass(frozen=True)
class Goal:
    """What a training learns, with everything told that a recipe may leave out."""

    task: Task
    loss: LossSpec
    metrics: tuple[MetricSpec, ...]
    head: Head
    loss_weight: float

    @property
    def targets(self) -> Targets:
        """The form in which the loss takes the truth."""
        return self.loss.targets_of(self.task)


def goal_of(parts: Parts, facts: InputFacts) -> Goal:
    """The goal of a training on this data; `parts` are those of a config that `agreement` finds nothing wrong with."""
    task = parts["task"] or task_of(facts.labels)
    loss = parts["loss"] or default_loss(task)
    model: ModelSpec = parts["model"]
    scaled = task is Task.REGRESSION and model.target_scaling == "standard"
    activation = ACTIVATIONS[task] if model.output_activation == "auto" else model.output_activation
    units = len(facts.labels) if task is Task.MULTICLASS else 1
    scale, offset = (facts.target_deviation, facts.target_mean) if scaled else (1.0, 0.0)
    metrics = default_metrics(task) if parts["metrics"] is None else parts["metrics"]
    return Goal(
        task,
        loss,
        metrics,
        Head(task, units, activation, scale, offset),
        loss.weight(facts.target_deviation) if scaled else 1.0,
    )


def class_weights(wanted: str | Mapping[str, float] | None, facts: InputFacts, y: NDArray[Any]) -> NDArray[Any] | None:
    """What each class counts, float32 (classes,), or None where all count the same.

    `balanced` gives every class the same sum, as scikit-learn's does: n / (classes * samples of the class).
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        counts = np.bincount(np.asarray(y, np.int64), minlength=len(facts.labels))
        return (len(y) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
    return np.array([wanted.get(label, 1.0) for label in facts.labels], np.float32)


def known_task(parts: Parts) -> Task | None:
    """The task, as far as the recipe tells; None where only the data can."""
    if parts.get("task") is not None:
        return Task(parts["task"])
    dataset: DatasetSpec | None = parts.get("dataset")
    return dataset.tasks[0] if dataset is not None and dataset.tasks else None


def metric_names(parts: Parts, task: Task | None) -> tuple[str, ...]:
    """The metrics that every epoch of a training has; where the task is not known, all that there may be."""
    chosen = parts.get("metrics")
    if chosen is None:
        tasks = tuple(Task) if task is None else (task,)
        chosen = [metric for each in tasks for metric in default_metrics(each)]
    names = ["loss", *dict.fromkeys(metric.label for metric in chosen)]
    return tuple(dict.fromkeys((*names, *(f"val_{name}" for name in names), *added_metrics(parts))))


def added_metrics(parts: Parts) -> tuple[str, ...]:
    """The metrics that callbacks of the user's own put into every epoch."""
    callbacks: Mapping[str, CallbackSpec] = parts.get("callbacks") or {}
    return tuple(name for callback in callbacks.values() for name in callback.added_metrics())
