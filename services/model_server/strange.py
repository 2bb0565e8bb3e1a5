"""Counts rows with what training never saw. Such rows are answered all the same, and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model_server.extent import Extent
from services.model_server.package import Contract
from services.model_server.scale import Scale


def strange_rows(
    rows: NDArray[Any], contract: Contract, scale: Scale | None = None, extent: Extent | None = None
) -> int:
    """Counts rows with a value that training never saw: not finite, out of range or far from it, or an unknown word.

    Raises:
        OtherScale: as `Scale.check` says, if there is a scale to hold them against.
    """
    low, high = contract.input.range or (-np.inf, np.inf)
    if rows.size == 0:
        return 0
    if rows.dtype == object:
        return _rows_with_strange_texts(rows, contract, extent)
    # Where they are is found several times as fast as what they are; NaN counts as both.
    least, most = rows.item(int(rows.argmin())), rows.item(int(rows.argmax()))
    if scale is not None and (most <= scale.small or most >= scale.large):
        scale.check(rows, least, most)
    if extent is not None:
        return extent.count(rows)
    # NaN compares false with everything, so it fails this test too.
    if least >= low and most <= high and most < np.inf and least > -np.inf:
        return 0
    flat = rows.reshape(len(rows), -1)
    if contract.columns and contract.input.range is None:
        return int(np.count_nonzero(np.isinf(flat).any(axis=1)))  # NaN is a missing number, and models know those
    return int(np.count_nonzero(~((flat >= low) & (flat <= high) & np.isfinite(flat)).all(axis=1)))


def _rows_with_strange_texts(rows: NDArray[Any], contract: Contract, extent: Extent | None) -> int:
    strange: set[int] = set()
    for place, (column, cells) in enumerate(zip(contract.columns, rows.T, strict=True)):
        if column.type == "category":
            known = column.known
            strange.update(index for index, cell in enumerate(cells.tolist()) if cell not in known)
        elif extent is None:
            strange.update(index for index, cell in enumerate(cells.tolist()) if cell in ("inf", "-inf"))
        else:
            low, high = extent.bounds[place]
            numbers = enumerate(map(float, cells.tolist()))
            strange.update(index for index, number in numbers if number < low or number > high)
    return len(strange)
