"""The two Keras callbacks that Regatta adds to every training; they come last and see what the others did."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.checkpoints import write_whole
from pipelines.records import CheckpointWritten, EpochEnded, TrialSpec, Verdict
from pipelines.training.base import Best, Emit


class BestEpochKeeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the whole state of the best epoch in memory, and on disk at the latest `every_s` seconds later.

    Copying the variables of a small model costs a millisecond, a `.keras` file twenty; so a trial that improves at
    every epoch does not write a file at every epoch.
    """

    def __init__(self, spec: TrialSpec, emit: Emit, every_s: float = 20.0) -> None:
        super().__init__()
        self.best = Best(spec.direction)
        self._spec = spec
        self._emit = emit
        self._every_s = every_s
        self._state: list[np.ndarray] | None = None
        self._written_epoch: int | None = None
        self._written_at = time.monotonic()

    @property
    def path(self) -> Path:
        """Where the checkpoint is."""
        return Path(self._spec.folder) / "best.keras"

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes a new best epoch."""
        value = float((logs or {}).get(self._spec.objective, np.nan))
        if self.best.improved_by(value, epoch):
            self._state = [variable.numpy() for variable in self._variables()]
            if time.monotonic() - self._written_at >= self._every_s:
                self._write()

    def finish(self) -> None:
        """Puts the best epoch's state back into the model and writes its checkpoint, after `fit` has returned."""
        if self._state is None or self._written_epoch == self.best.epoch:
            return
        for variable, value in zip(self._variables(), self._state, strict=True):
            variable.assign(value)
        self._write()

    def _variables(self) -> list[Any]:
        """Weights and optimizer state, so that a checkpoint can be trained on."""
        return [*self.model.variables, *self.model.optimizer.variables]

    def _write(self) -> None:
        digest = write_whole(self.path, self.model.save)
        self._written_epoch, self._written_at = self.best.epoch, time.monotonic()
        spec = self._spec
        self._emit(CheckpointWritten(spec.number, spec.attempt, self.best.epoch, "best", str(self.path), digest))


class Reporter(keras.callbacks.Callback):  # type: ignore[misc]
    """Sends every epoch to the controller, and stops the training when the controller says so."""

    def __init__(self, spec: TrialSpec, emit: Emit) -> None:
        super().__init__()
        self.told_to_stop = False
        self.epochs = 0
        self._spec = spec
        self._emit = emit
        self._rate = float("nan")

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes the learning rate that the epoch begins with, after a callback has set it or as a schedule has it."""
        self._rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reports; a verdict to stop sets `stop_training`, so that every other callback ends in good order."""
        metrics = {name: float(value) for name, value in (logs or {}).items()} | {"learning_rate": self._rate}
        event = EpochEnded(self._spec.number, self._spec.attempt, epoch, metrics, time.time_ns() // 1_000_000)
        self.epochs += 1
        if self._emit(event) is Verdict.STOP:
            self.told_to_stop = True
            self.model.stop_training = True
