"""Callbacks that bring about a fault from inside a training. Workers import this module by its name."""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

_ATTEMPT = re.compile(r"^(\d{5})-(\d+)$")


class _InSomeTrials(keras.callbacks.Callback, ABC):  # type: ignore[misc]
    """Does nothing in trials that it is not meant for."""

    def __init__(self, around: Any, trials: Sequence[int], epoch: int = 1) -> None:
        super().__init__()
        named = next(found for part in around.folder.parts if (found := _ATTEMPT.match(part)))
        self.trial, self.attempt = int(named[1]), int(named[2])
        self._meant = self.trial in trials
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._meant and epoch == self._epoch:
            self.strike()

    @abstractmethod
    def strike(self) -> None:
        """Brings the fault about."""

    def get_state(self) -> dict[str, Any]:
        """Nothing that a later attempt should take over: which attempt it is, above all."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """There is nothing in it."""


class Blocks(_InSomeTrials):
    """Never returns."""

    def strike(self) -> None:
        threading.Event().wait()


class Paces(keras.callbacks.Callback):  # type: ignore[misc]
    """Has each epoch of a trial take `seconds` at least: lanes would be done before anybody could disturb them."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        threading.Event().wait(self._seconds)


class Poisons(_InSomeTrials):
    """Makes every weight a NaN."""

    def strike(self) -> None:
        self.model.set_weights([np.full_like(weight, np.nan) for weight in self.model.get_weights()])


class Kills(_InSomeTrials):
    """Ends its own process, as a crash of native code would."""

    def strike(self) -> None:
        os.kill(os.getpid(), 9)


class Fills(_InSomeTrials):
    """Takes `mb` MiB of memory for good, says so, and waits for what comes of it."""

    def __init__(self, around: Any, trials: Sequence[int], mb: int, epoch: int = 1) -> None:
        super().__init__(around, trials, epoch)
        self._mb = mb

    def strike(self) -> None:
        print(f"trial {self.trial} takes {self._mb} MiB", flush=True)
        self._held = np.ones(self._mb << 20, np.uint8)
        threading.Event().wait(60)


class AsksForTooMuch(_InSomeTrials):
    """Asks for more memory than any machine has."""

    def strike(self) -> None:
        np.ones(1 << 55, np.uint8)


class Raises(_InSomeTrials):
    """Raises as the variable FAULTS_RAISE says: `same` for one sentence, `different` for one a trial, else not."""

    def strike(self) -> None:
        words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
        match os.environ.get("FAULTS_RAISE"):
            case "same":
                raise ValueError(f"the widget is upside down (it has the number {self.trial})")
            case "different":
                raise ValueError(f"widget {words[self.trial % len(words)]} is upside down")


class Zombie(_InSomeTrials):
    """Says, in a second attempt, what an attempt that was given up would still say: over the real pipe."""

    def __init__(self, around: Any, trials: Sequence[int], epoch: int = 2) -> None:
        super().__init__(around, trials, epoch)
        self.notes: list[str] = []

    def strike(self) -> None:
        if self.attempt == 1:
            os.kill(os.getpid(), 9)
        from pipelines.records import CheckpointWritten, Ended, EpochEnded, Started
        from pipelines.training.watching import Reporter

        reporter = next(found for found in gc.get_objects() if isinstance(found, Reporter))
        now = time.time_ns() // 1_000_000
        for event in (
            Started(self.trial, 1, now, {"regatta.zombie": "it was here"}),
            EpochEnded(self.trial, 1, 77, {"loss": -77.0, "val_loss": -77.0, "learning_rate": 1.0}, now),
            CheckpointWritten(self.trial, 1, 77, "best", os.devnull, "0" * 64),
            Ended(self.trial, 1, now, error="ValueError: said by a zombie"),
        ):
            reporter._emit(event)
        self.notes.append("it has spoken for the first attempt")
