"""The Keras callback behind `swa`. Importing it imports Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


class WeightAveraging(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the running mean of the weights at the ends of epochs, and lends it to the model between epochs.

    From the moment an epoch is validated until the next begins, the mean is in the model; so whatever looks at the
    model then, in whatever order, sees the weights that were validated. Training goes on from the very weights it left.
    """

    def __init__(self, start: int, every: int) -> None:
        """Takes the first epoch of the mean, and how many epochs there are from one to the next."""
        super().__init__()
        self.notes: list[str] = []  # for the witness
        self.taken = 0
        self._start = start
        self._every = every
        self._mean: list[np.ndarray] = []
        self._trained: list[np.ndarray] | None = None  # while the mean is in the model
        self._due: int | None = None

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begins a new mean."""
        self.taken, self._mean, self._trained, self._due = 0, [], None, None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Puts the trained weights back."""
        if self._trained is not None:
            for variable, value in zip(self._weights(), self._trained, strict=True):
                variable.assign(value)
            self._trained = None
        self._due = epoch if epoch >= self._start and (epoch - self._start) % self._every == 0 else None

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Takes the epoch's weights into the mean, and puts that into the model."""
        self._take()
        self._lend()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """The same, where nothing was validated."""
        self._take()
        self._lend()

    def _weights(self) -> list[Any]:
        """Weights and statistics; not the counters of random numbers."""
        return [weight for weight in self.model.weights if keras.backend.is_float_dtype(weight.dtype)]

    def _take(self) -> None:
        if self._due is None:
            return
        values = [np.asarray(weight.numpy(), np.float64) for weight in self._weights()]
        self.taken += 1
        # in double precision, as many small differences add up
        old = self._mean or [np.zeros_like(value) for value in values]
        self._mean = [mean + (value - mean) / self.taken for mean, value in zip(old, values, strict=True)]
        count = f"{self.taken} epoch{'' if self.taken == 1 else 's'}"
        self.notes.append(f"took epoch {self._due} into the mean, which is now over the weights of {count}")
        self._due = None

    def _lend(self) -> None:
        if not self._mean or self._trained is not None:
            return
        weights = self._weights()
        self._trained = [weight.numpy() for weight in weights]
        for weight, mean in zip(weights, self._mean, strict=True):
            weight.assign(mean)
