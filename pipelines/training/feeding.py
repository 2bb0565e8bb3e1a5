"""A trial's data, in the form that Keras's `fit` takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.datasets import Samples
from pipelines.datasets.prepared import PreparedData
from pipelines.laneable import held_bytes
from pipelines.recipe.config import TrainingConfig
from pipelines.recipe.goals import Goal, class_weights
from pipelines.training.batches import encoded, ordered_batches, shuffled_batches, steps_in_epoch

VALIDATION_BATCH = 1024
"""Validation is a sum over samples, so its batch is as large as is comfortable."""
PROBE_SAMPLES = 256
"""Training samples that callbacks may look at."""


@dataclass(frozen=True)
class Held:
    """Samples on the device.

    Attributes:
        x: Raw, in the type in which they are stored, (n, *shape).
        y: Targets as the loss takes them.
        weights: What each counts, float32 (n,), or None where all count the same.
    """

    x: tf.Tensor
    y: tf.Tensor
    weights: tf.Tensor | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True)
class Feed:
    """The parts of a trial's data."""

    config: TrainingConfig
    data: PreparedData
    train: Samples
    validation: Samples
    data_bytes: int

    @property
    def goal(self) -> Goal:
        """What is learned."""
        return self.config.goal(self.data.facts)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_in_epoch(len(self.train), self.config.batch_size)

    @property
    def streamed(self) -> bool:
        """Whether rows come from disk."""
        return held_bytes(self.train, self.validation) > self.data_bytes

    def training(self, first_epoch: int) -> tf.data.Dataset:
        """Endless batches, from those of an epoch on."""
        goal, config = self.goal, self.config
        weights = class_weights(config.class_weight, self.data.facts, self.train.y)
        return shuffled_batches(
            self.train,
            config.batch_size,
            seed=config.seed,
            first_epoch=first_epoch,
            targets=goal.targets,
            classes=goal.head.units,
            weights=weights,
            streamed=self.streamed,
        )

    def validating(self) -> dict[str, Any]:
        """Arguments of `fit`."""
        goal, samples = self.goal, self.validation
        if self.streamed:
            batches = ordered_batches(samples, VALIDATION_BATCH, goal.targets, goal.head.units)
            return {"validation_data": batches}
        truth = encoded(np.asarray(samples.y), goal.targets, goal.head.units).numpy()
        pair = (np.asarray(samples.x, np.float32), truth)
        return {"validation_data": pair, "validation_batch_size": VALIDATION_BATCH}

    def held(self) -> tuple[Held, Held]:
        """All samples to train on and to validate with, on the device, the former in the type they are stored in."""
        goal = self.goal
        weights = class_weights(self.config.class_weight, self.data.facts, self.train.y)
        y = np.asarray(self.train.y)
        train = Held(
            tf.constant(np.asarray(self.train.x)),
            encoded(y, goal.targets, goal.head.units),
            None if weights is None else tf.constant(weights[y], tf.float32),
        )
        validation = Held(
            tf.constant(np.asarray(self.validation.x)),
            encoded(np.asarray(self.validation.y), goal.targets, goal.head.units),
        )
        return train, validation

    def probe(self) -> tuple[np.ndarray, np.ndarray]:
        """A few training samples, the same at every call, and their targets as the loss takes them."""
        goal, first = self.goal, self.train.take(np.arange(min(PROBE_SAMPLES, len(self.train)), dtype=np.int64))
        truth = encoded(np.asarray(first.y), goal.targets, goal.head.units).numpy()
        return np.asarray(first.x, np.float32), truth
