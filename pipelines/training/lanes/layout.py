"""How all values of a lane lie in a few rows, one for each type.

To call a program with hundreds of tensors takes longer than a small epoch; with two or three it takes next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Part:
    """Where one value lies: in which row, from where to where, and what shape it has."""

    row: int
    start: int
    stop: int
    shape: tuple[int, ...]


class Layout:
    """The places of values whose shapes and types are those of the ones it was made from.

    Attributes:
        dtypes: The type of each row.
        parts: Where each value lies.
    """

    def __init__(self, values: Sequence[np.ndarray]) -> None:
        """Lays out values in their order, each in the row of its type."""
        self.dtypes: list[np.dtype[Any]] = []
        self.parts: list[Part] = []
        ends: list[int] = []
        for value in values:
            if value.dtype not in self.dtypes:
                self.dtypes.append(value.dtype)
                ends.append(0)
            row = self.dtypes.index(value.dtype)
            self.parts.append(Part(row, ends[row], ends[row] + value.size, value.shape))
            ends[row] += value.size

    def rows(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The rows of one lane."""
        return [
            np.concatenate([value.reshape(-1) for value, part in self._with(values) if part.row == row])
            for row in range(len(self.dtypes))
        ]

    def values(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The values that lie in the rows of one lane; they share their memory."""
        return [rows[part.row][part.start : part.stop].reshape(part.shape) for part in self.parts]

    def unpacked(self, stacks: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The values of all lanes, (lanes, ...) each, from stacks of their rows, (lanes, n) each."""
        return [
            tf.reshape(stacks[part.row][:, part.start : part.stop], [stacks[part.row].shape[0], *part.shape])
            for part in self.parts
        ]

    def packed(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Stacks of the rows of all lanes."""
        return [
            tf.concat(
                [tf.reshape(value, [value.shape[0], -1]) for value, part in self._with(values) if part.row == row], 1
            )
            for row in range(len(self.dtypes))
        ]

    def _with(self, values: Sequence[Any]) -> list[tuple[Any, Part]]:
        return list(zip(values, self.parts, strict=True))
