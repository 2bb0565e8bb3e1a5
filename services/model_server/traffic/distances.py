"""How far two distributions over the same bins are from each other.

The population stability index is the symmetric form of the Kullback-Leibler divergence, in use for scorecards since the
1990s: E. M. Lewis, An Introduction to Credit Scoring (1994), and N. Siddiqi, Credit Risk Scorecards (2006), who read it
as: below 0.1 no change, 0.1 to 0.25 some, above 0.25 a large one. How large it is by chance alone follows from
B. Yurdakul and J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation
14(4), 2020: without any change it is about chi-square of (bins - 1) degrees times (1/n + 1/m).
The Jensen-Shannon divergence is J. Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on
Information Theory 37(1), 1991; its square root, given here, is a metric from 0 to 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MODERATE, MAJOR = 0.1, 0.25
# Half an observation in every bin (Jeffreys): an empty bin is no infinite distance.
_SMOOTHING = 0.5
# What chance alone exceeds once in a thousand times or less often, in standard deviations.
_DEVIATIONS = 4.0


def psi(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Population stability index of two vectors of counts, 0 or more; no upper bound."""
    p, q = _shares(expected), _shares(found)
    return float(np.sum((p - q) * np.log(p / q)))


def jensen_shannon(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Jensen-Shannon distance of two vectors of counts, from 0 to 1."""
    p, q = _shares(expected), _shares(found)
    middle = (p + q) / 2
    divergence = (np.sum(p * np.log2(p / middle)) + np.sum(q * np.log2(q / middle))) / 2
    return math.sqrt(min(1.0, max(0.0, float(divergence))))


def by_chance(bins: int, expected_rows: float, found_rows: float) -> float:
    """The population stability index that samples of these sizes hardly ever exceed if nothing has changed."""
    if bins < 2 or not expected_rows or not found_rows:
        return math.inf if bins > 1 else 0.0
    degrees = bins - 1
    return (degrees + _DEVIATIONS * math.sqrt(2 * degrees)) * (1 / expected_rows + 1 / found_rows)


def level(index: float, chance: float) -> str:
    """Says in a word what an index means: `none`, `moderate` or `major`."""
    if index < MODERATE or index <= chance:
        return "none"
    return "moderate" if index < MAJOR else "major"


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth = counts + _SMOOTHING
    shares: NDArray[np.float64] = smooth / smooth.sum()
    return shares
