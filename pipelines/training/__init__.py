"""Trainers: trial configs in, epoch events out. They know no study and no tracker.

`fit` is Keras's `Model.fit`, one trial at a time, for any model.
"""

from __future__ import annotations

from pipelines.training.base import Emit, Trainer


def make_trainer(data_bytes: int) -> Trainer:
    """The trainer of this worker. Imports TensorFlow: call it where the device is.

    Args:
        data_bytes: Memory that the data of a trial may use; larger data is read from disk, batch by batch.
    """
    from pipelines.training.fit import FitTrainer

    return FitTrainer(data_bytes)


__all__ = ["Emit", "Trainer", "make_trainer"]
