"""Trainers: trial configs in, epoch events out. They know no study and no tracker.

`fit` is Keras's `Model.fit`, one trial at a time, for any model.
"""

from __future__ import annotations

from pipelines.training.base import Emit, Trainer


def make_trainer() -> Trainer:
    """The trainer of this worker. Imports TensorFlow: call it where the device is."""
    from pipelines.training.fit import FitTrainer

    return FitTrainer()


__all__ = ["Emit", "Trainer", "make_trainer"]
