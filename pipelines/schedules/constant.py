"""Constant."""

from __future__ import annotations

from typing import Literal

from pipelines.schedules.base import LearningRateSpec, Length, Positive


class Constant(LearningRateSpec):
    """One rate for the whole training: the same as a plain number, as a kind among others to search."""

    name: Literal["constant"] = "constant"
    value: Positive = 1e-3
    """The rate."""

    def owns_learning_rate(self) -> bool:
        """It stays where it is, so a callback may move it."""
        return False

    def build(self, length: Length) -> float:
        """The rate."""
        return self.value
