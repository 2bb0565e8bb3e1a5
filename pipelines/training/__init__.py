"""Trainers: trial configs in, epoch events out. They know no study and no tracker.

`fit` is Keras's `Model.fit`, one trial at a time, for any model; `lanes` trains many at once in one compiled program.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pipelines.training.base import Emit, OneAtATime, Trainer, Trials


def make_trainer(
    data_bytes: int,
    *,
    lanes: int | Literal["auto", "off"] = "off",
    most_lanes: int = 1,
    trials: int = 1,
    memory_bytes: int = 4 << 30,
    cache: str = "",
    why: str = "",
) -> Trainer:
    """The trainer of this worker. Imports TensorFlow: call it where the device is.

    Args:
        data_bytes: Memory that the data of a trial may use; larger data is read from disk, batch by batch.
        lanes: Trials to train at once: a number, `auto` for as many as are fastest, or `off` for one with `fit`.
        most_lanes: Trials that may be under way at once, whatever is fastest.
        trials: Trials that are to come, as far as is known.
        memory_bytes: Memory that this process may fill.
        cache: Folder for what is worth keeping between sweeps; nothing is kept where it is empty.
        why: Why all are trained with `fit` where `lanes` is `off`, for the record; empty where somebody wants it so.
    """
    from pipelines.training.fit import FitTrainer

    fit = FitTrainer(data_bytes)
    if lanes == "off":
        return OneAtATime(partial(fit.train, why=why))
    from pipelines.training.lanes.trainer import LanesTrainer

    return LanesTrainer(
        fit,
        data_bytes=data_bytes,
        lanes=lanes,
        most=most_lanes,
        trials=trials,
        memory_bytes=memory_bytes,
        cache=Path(cache) if cache else None,
    )


__all__ = ["Emit", "OneAtATime", "Trainer", "Trials", "make_trainer"]
