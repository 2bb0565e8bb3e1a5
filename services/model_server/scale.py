"""Tells values on another scale than training's: 0 to 1 where pixels from 0 to 255 were learned, or the other way.

Such values are well-formed, and every answer to them is wrong. What is told here is told only of whole requests: a few
strange values among right ones are somebody else's business, and so are whole numbers that fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model_server.errors import OtherScale
from services.model_server.package import Contract, Golden

# From this largest value on, a request that stays within -1 to 1 is suspected of having been divided.
_LEAST_HIGH = 8.0
# From so many times the largest value of the training data on, a request is suspected of having been multiplied.
_LEAST_TIMES = 4.0
# How many of the values that are not 0 must be no whole numbers, or above the range, for a request to be refused.
_DIVIDED_SHARE, _ABOVE_SHARE = 0.25, 0.5
# The largest value of the scales that pictures come on: 16 bits. What is larger is no scale.
_MOST = 65535.0

AS_IS = "as-is"


class Scale:
    """The scale of one model's values.

    Attributes:
        small: A request whose largest value is this or less is looked at.
        large: A request whose largest value is this or more is looked at.
    """

    __slots__ = ("_high", "_low", "large", "small")

    def __init__(self, low: float, high: float, small: bool) -> None:
        self._low, self._high = low, high
        self.small = 1.0 if small else -np.inf
        self.large = _LEAST_TIMES * high if high > 0 else np.inf

    def check(self, rows: NDArray[Any], least: float, most: float) -> None:
        """Looks at a request whose largest value is suspicious.

        Args:
            rows: (n, *sample shape), numbers.
            least: The smallest of them.
            most: The largest of them.

        Raises:
            OtherScale: all of it is on another scale.
        """
        if most <= self.small:
            if not least >= -1:
                return
            strange, wanted = np.count_nonzero(rows != np.floor(rows)), _DIVIDED_SHARE
        else:
            if not (least >= min(self._low, 0) and most <= _MOST):
                return
            strange, wanted = np.count_nonzero(rows > self._high), _ABOVE_SHARE
        if strange and strange >= wanted * np.count_nonzero(rows):
            raise OtherScale(
                f"All values lie between {least:.6g} and {most:.6g}, those of the training data between {self._low:g} "
                f"and {self._high:g}: this looks like another scale. Send raw values, or add ?scale={AS_IS} if they "
                "are right."
            )


def scale_of(contract: Contract, golden: Golden) -> Scale | None:
    """Returns the scale of a model; None if nobody can tell: of a table, or without a range in the contract.

    Values from 0 to 1 are suspicious only if the training data never looked so: its samples are whole numbers, or each
    of them reaches the upper half of its range.
    """
    if contract.columns or contract.input.range is None or golden.inputs.dtype.kind not in "iuf":
        return None
    low, high = contract.input.range
    inputs = golden.inputs.reshape(len(golden.inputs), -1)
    small = high >= _LEAST_HIGH and (bool((inputs == np.floor(inputs)).all()) or bool(inputs.max(1).min() >= high / 2))
    return Scale(low, high, small)
