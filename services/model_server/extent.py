"""Tells numbers of a table that lie far from all that the golden samples have: another unit, a slip of the keyboard.

A contract has no range for a column, as it has for pixels: the largest income of the training data is no bound for the
next one. What is far from it all the same is answered, counted, and warned of where a dialect has words for that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.model_server.package import Contract, Golden

# So many times the width of the golden samples may a number lie beyond them. Of six real tables of scikit-learn's, with
# 16 golden samples each, no row lies further out; of a lognormal distribution, one in 10 000 numbers does.
_TIMES = 10.0
# So many numbers are looked at one by one: NumPy takes some microseconds to begin.
_FEW = 64
# With fewer numbers in a column nothing is said about it.
_LEAST_SAMPLES = 8


class Extent(NamedTuple):
    """Where the numbers of each column are, and where they may be.

    Attributes:
        least: float64 (columns,), the smallest number of the golden samples; NaN where nothing is said.
        most: float64 (columns,), the largest one.
        low: From which number on it is far, in the dtype of the rows; of a column of which nothing is said, the
            smallest finite number, so that nothing but infinity is below.
        high: The same upwards.
        bounds: These two by column, as Python's numbers.
    """

    least: NDArray[np.float64]
    most: NDArray[np.float64]
    low: NDArray[Any]
    high: NDArray[Any]
    bounds: tuple[tuple[float, float], ...]

    def count(self, rows: NDArray[Any]) -> int:
        """Counts rows (n, columns) of numbers that have one that is far; what is missing is not."""
        if rows.size <= _FEW:
            far = 0
            for row in rows.tolist():
                for number, (low, high) in zip(row, self.bounds, strict=True):
                    if number < low or number > high:
                        far += 1
                        break
            return far
        return int(np.count_nonzero(((rows < self.low) | (rows > self.high)).any(axis=1)))


def extent_of(contract: Contract, golden: Golden) -> Extent | None:
    """Returns the extent of a table's numbers; None of everything else, or where the contract itself has a range."""
    if not contract.columns or contract.input.range is not None:
        return None
    dtype = np.dtype(np.float64 if golden.inputs.dtype == object else golden.inputs.dtype)
    size = len(contract.columns)
    limit = np.finfo(dtype).max
    least, most = np.full(size, np.nan), np.full(size, np.nan)
    low, high = np.full(size, -limit), np.full(size, limit)
    for place, column in enumerate(contract.columns):
        if column.type != "number":
            continue
        numbers = golden.inputs[:, place].astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers) < _LEAST_SAMPLES or numbers.min() == numbers.max():
            continue
        least[place], most[place] = numbers.min(), numbers.max()
        room = _TIMES * (most[place] - least[place])
        low[place], high[place] = max(least[place] - room, -limit), min(most[place] + room, limit)
    low, high = low.astype(dtype), high.astype(dtype)
    return Extent(least, most, low, high, tuple(zip(low.tolist(), high.tolist(), strict=True)))
