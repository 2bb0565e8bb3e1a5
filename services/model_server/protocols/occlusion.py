"""What mattered to an answer: hides a part of a sample, asks again, and tells how much the answer changed.

Images lose patches (M. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, 2014): small ones
that overlap by half, and larger ones twice as wide, because a sure model shrugs off a small hole. Rows of tables lose
columns: each is replaced by those of golden samples. All of it is one batch, of a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from services.model_server.errors import BadRequest
from services.model_server.protocols.tensors import Array

MOST_ROWS = 256
"""Rows of one batch, the untouched sample included."""
_FINEST = 12  # cells along the longer side: 13 x 13 small patches and 7 x 7 large ones
_COARSEST = 2
_MOST_NUMBERS = 8 << 20  # what the copies of one sample may take: 32 MiB of float32
_MOST_FILLINGS = 16
_BACKGROUND_NUMBERS = 65_536


class Box(NamedTuple):
    """A rectangle of cells that is hidden: rows `top` to `bottom`, columns `left` to `right`, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


class Patches(NamedTuple):
    """An image and its copies with a hole each.

    Attributes:
        rows: (1 + boxes, *sample shape); the first is untouched.
        cell: Height and width of a cell in pixels.
        grid: How many cells there are down and across; the last ones may be cut by the edge.
        boxes: What is hidden in the rows after the first.
    """

    rows: Array
    cell: tuple[int, int]
    grid: tuple[int, int]
    boxes: list[Box]

    def heat(self, drops: Array) -> Array:
        """Spreads the drop of each hole over its cells: (down, across), the mean over the holes that hide a cell."""
        total, count = np.zeros(self.grid), np.zeros(self.grid)
        for box, drop in zip(self.boxes, drops, strict=True):
            total[box.top : box.bottom, box.left : box.right] += drop
            count[box.top : box.bottom, box.left : box.right] += 1
        spread: Array = total / np.maximum(count, 1)
        return spread


class Replaced(NamedTuple):
    """A row and its copies with another cell each.

    Attributes:
        rows: (1 + columns * fillings, columns); the first is untouched, then column by column.
        fillings: How many other values each column takes.
    """

    rows: Array
    fillings: int


def background_of(golden: Array) -> Array:
    """Returns what an image has where nothing is: the median of each channel over golden samples (n, h, w[, c])."""
    pixels = golden.reshape(-1, golden.shape[-1]) if golden.ndim == 4 else golden.reshape(-1, 1)
    step = max(1, pixels.size // _BACKGROUND_NUMBERS)
    median: Array = np.median(pixels[::step], axis=0)
    return median if golden.ndim == 4 else median[0]


def hide_patches(sample: Array, background: Array | float, most_rows: int = MOST_ROWS) -> Patches:
    """Copies an image once for each patch that is hidden by the background.

    Args:
        sample: (h, w) or (h, w, channels).
        background: One number, or one for each channel.
        most_rows: The most rows to make.

    Raises:
        BadRequest: the sample is too large to be copied even a few times.
    """
    height, width = sample.shape[:2]
    allowed = min(most_rows, _MOST_NUMBERS // max(1, sample.size))
    for cells in range(_FINEST, _COARSEST - 1, -1):
        side = max(1, -(-max(height, width) // cells))
        grid = (-(-height // side), -(-width // side))
        boxes = list(_boxes(*grid))
        if len(boxes) < allowed:
            break
    else:
        raise BadRequest(f"A sample of {sample.size} numbers is too large to be explained here.")
    rows = np.repeat(sample[np.newaxis], 1 + len(boxes), axis=0)
    for row, box in zip(rows[1:], boxes, strict=True):
        row[box.top * side : box.bottom * side, box.left * side : box.right * side] = background
    return Patches(rows, (side, side), grid, boxes)


def _boxes(down: int, across: int) -> Iterator[Box]:
    """Yields small and large boxes. They reach over the edges, so that every cell is in as many as its neighbours."""
    seen: dict[Box, None] = {}
    for size, step in ((2, 1), (4, 2)):
        for top in range(step - size, down, step):
            for left in range(step - size, across, step):
                seen[Box(max(0, top), min(down, top + size), max(0, left), min(across, left + size))] = None
    yield from seen


def replace_columns(row: Array, golden: Array, most_rows: int = MOST_ROWS) -> Replaced:
    """Copies a row once for each column and each value that the column has in some golden samples.

    Args:
        row: (columns,)
        golden: (n, columns), n > 0.
        most_rows: The most rows to make.

    Raises:
        BadRequest: there are more columns than rows to be made.
    """
    columns = len(row)
    if columns >= most_rows:
        raise BadRequest(f"A row of {columns} columns is too wide to be explained; at most {most_rows - 1} can be.")
    count = min(_MOST_FILLINGS, (most_rows - 1) // columns, len(golden))
    chosen = golden[np.linspace(0, len(golden) - 1, count).round().astype(int)]
    rows = np.repeat(row[np.newaxis], 1 + columns * count, axis=0)
    for column in range(columns):
        rows[1 + column * count : 1 + (column + 1) * count, column] = chosen[:, column]
    return Replaced(rows, count)


def summary_of(changes: Array, fillings: int) -> list[dict[str, Any]]:
    """Says for each column how the answer changed with the other values: on average, at least and at most."""
    by_column = changes.reshape(-1, fillings)
    return [
        {"drop": float(drops.mean()), "least": float(drops.min()), "most": float(drops.max())} for drops in by_column
    ]
