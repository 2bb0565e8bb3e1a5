"""The values of all lanes: on the device while steps are made, on the host where somebody looks or writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from pipelines.training.lanes.layout import Layout


class Bank:
    """A stack for each row of the layout, the lane being its first axis.

    What is written is on the device before the next step.

    Attributes:
        width: Lanes.
        layout: Where the values lie.
    """

    def __init__(self, width: int, values: Sequence[np.ndarray]) -> None:
        """Gives every lane the same values at first."""
        self.width = width
        self.layout = Layout(values)
        self._stacks = [tf.convert_to_tensor(np.stack([row] * width)) for row in self.layout.rows(values)]
        self._host: list[np.ndarray | None] = [None] * len(self._stacks)
        self._written = [False] * len(self._stacks)

    def read(self, lane: int, place: int) -> np.ndarray:
        """A copy of one value of a lane."""
        part = self.layout.parts[place]
        return np.array(self._on_host(part.row)[lane, part.start : part.stop]).reshape(part.shape)

    def read_all(self, lane: int) -> list[np.ndarray]:
        """A copy of all values of a lane."""
        return self.layout.values([np.array(self._on_host(row)[lane]) for row in range(len(self._stacks))])

    def write(self, lane: int, values: Mapping[int, np.ndarray]) -> None:
        """Sets values of a lane, by place."""
        for place, value in values.items():
            part = self.layout.parts[place]
            host = self._writable(part.row)
            host[lane, part.start : part.stop] = np.asarray(value, host.dtype).reshape(part.shape).reshape(-1)

    def stacks(self) -> list[tf.Tensor]:
        """All values, with what was written."""
        for row, written in enumerate(self._written):
            if written:
                self._stacks[row] = tf.convert_to_tensor(self._host[row])
                self._written[row] = False
        return list(self._stacks)

    def replace(self, stacks: Sequence[tf.Tensor]) -> None:
        """Takes the values after some steps."""
        self._stacks = list(stacks)
        self._host = [None] * len(self._stacks)
        self._written = [False] * len(self._stacks)

    def _on_host(self, row: int) -> np.ndarray:
        found = self._host[row]
        if found is None:
            found = self._host[row] = np.asarray(self._stacks[row])  # on the CPU this copies nothing
        return found

    def _writable(self, row: int) -> np.ndarray:
        """A copy on the host that no tensor shares its memory with."""
        if not self._written[row]:
            self._host[row] = np.array(self._on_host(row))
            self._written[row] = True
        return self._on_host(row)
