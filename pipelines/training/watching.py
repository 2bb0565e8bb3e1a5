"""The two Keras callbacks that Regatta adds to every training; they come last and see what the others did."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.checkpoints import write_whole
from pipelines.records import CheckpointWritten, EpochEnded, TrialSpec, Verdict
from pipelines.training.base import Best, Emit
from pipelines.training.timing import Stopwatch
from pipelines.training.values import Values, rate_of


class BestEpochKeeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the whole state of the best epoch in memory, and on disk at the latest `every_s` seconds later.

    Weights and optimizer state both, so that a checkpoint can be trained on.

    Copying the variables of a small model costs a millisecond, a `.keras` file twenty; so a trial that improves at
    every epoch does not write a file at every epoch.
    """

    def __init__(
        self, spec: TrialSpec, emit: Emit, values: Values, every_s: float = 20.0, watch: Stopwatch | None = None
    ) -> None:
        super().__init__()
        self._values = values
        self._watch = watch or Stopwatch()
        self.best = Best(spec.direction)
        self._spec = spec
        self._emit = emit
        self._every_s = every_s
        self._state: list[np.ndarray] | None = None
        self._written_epoch: int | None = None
        self._written_at = time.monotonic()
        self._looked_at: int | None = None

    @property
    def path(self) -> Path:
        """Where the checkpoint is."""
        return Path(self._spec.folder) / "best.keras"

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes a new best epoch."""
        value = float((logs or {}).get(self._spec.objective, np.nan))
        self._looked_at = epoch
        if self.best.improved_by(value, epoch):
            self._state = self._values.read()
            if time.monotonic() - self._written_at >= self._every_s:
                self._write(self._values.save)

    def values(self) -> list[np.ndarray]:
        """The model as it is now: for a best epoch that has just ended, the very arrays that are kept."""
        if self._state is not None and self._looked_at is not None and self.best.epoch == self._looked_at:
            return self._state
        return self._values.read()

    def get_state(self) -> dict[str, Any]:
        """The best epoch; its file is an earlier attempt's, and is written again."""
        return {"best": [self.best.value, self.best.epoch], "values": self._state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over the best epoch of an earlier attempt."""
        self.best.value, self.best.epoch = state["best"]
        self._state = state["values"]

    def finish(self) -> None:
        """Writes the best epoch's checkpoint, after the last callback has heard of the end."""
        if self._state is not None and self._written_epoch != self.best.epoch:
            self._write(partial(self._values.save_as, self._state))

    def _write(self, save: Callable[[Path], None]) -> None:
        with self._watch.during("checkpoints"):
            digest = write_whole(self.path, save)
        self._written_epoch, self._written_at = self.best.epoch, time.monotonic()
        spec = self._spec
        self._emit(CheckpointWritten(spec.number, spec.attempt, self.best.epoch, "best", str(self.path), digest))


class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Sends every epoch to the controller, and stops the training when the controller says so.

    Attributes:
        epochs: How many have ended, those of earlier attempts included.
        told_to_stop: The controller said that the training should end.
        told_to_pause: The controller said that it should go on later. Whoever keeps states sees to that.
        not_finite: The last epoch's loss or objective is no finite number, so that nothing good can come after it.
    """

    def __init__(self, spec: TrialSpec, emit: Emit) -> None:
        super().__init__()
        self.epochs = 0
        self.told_to_stop = False
        self.told_to_pause = False
        self.not_finite = False
        self._spec = spec
        self._emit = emit
        self._rate = float("nan")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes the learning rate that the epoch begins with, after a callback has set it or as a schedule has it."""
        self._rate = rate_of(self.model)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reports; a verdict to stop sets `stop_training`, so that every other callback ends in good order."""
        metrics = {name: float(value) for name, value in (logs or {}).items()} | {"learning_rate": self._rate}
        event = EpochEnded(self._spec.number, self._spec.attempt, epoch, metrics, time.time_ns() // 1_000_000)
        self.epochs = epoch + 1
        self.hears(self._emit(event))
        decisive = [metrics[name] for name in ("loss", self._spec.objective) if name in metrics]
        self.not_finite = not all(map(math.isfinite, decisive))
        if self.told_to_stop or self.not_finite:
            self.model.stop_training = True

    def hears(self, verdict: Verdict) -> None:
        """Notes what the controller says."""
        self.told_to_stop |= verdict is Verdict.STOP
        self.told_to_pause = verdict is Verdict.PAUSE

    def get_state(self) -> dict[str, Any]:
        """How far the training is, and why it is over if it is."""
        return {"epochs": self.epochs, "told_to_stop": self.told_to_stop, "not_finite": self.not_finite}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over from an earlier attempt."""
        self.epochs, self.not_finite = state["epochs"], state["not_finite"]
        self.told_to_stop |= state["told_to_stop"]  # the last verdict on it may be newer
