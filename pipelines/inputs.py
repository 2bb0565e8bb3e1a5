"""What a model must know of its data, and nothing more: the one thing that data sets and models share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InputFacts:
    """The form of one sample and the classes there are.

    Attributes:
        shape: Shape of one sample, without the batch.
        low: Smallest raw value, for example 0.
        high: Largest raw value, for example 255.
        labels: Names of the classes, in the order of their numbers.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a file."""
        return {"shape": list(self.shape), "low": self.low, "high": self.high, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> InputFacts:
        """The inverse of `to_json`."""
        return cls(tuple(data["shape"]), float(data["low"]), float(data["high"]), tuple(data["labels"]))
