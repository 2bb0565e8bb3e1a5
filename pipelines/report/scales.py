"""Scales of parameters: whether they go by factors or by steps, and where their ticks are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, quantiles

ALWAYS_BY_FACTORS, NEVER_BY_FACTORS = 100, 8
EVEN = 0.12  # how far the quarters of evenly spread settings are from where they would be exactly


def by_factors(settings: Sequence[float]) -> bool:
    """Whether the settings are spread by factors rather than by steps, as learning rates and batch sizes are.

    More than two decades are, unless the settings lie evenly by steps: a dropout of 0 to 0.5 has small ones by chance.
    """
    low, high, middle = min(settings, default=0), max(settings, default=0), median(settings or [0])
    if low <= 0 or high / low < NEVER_BY_FACTORS:
        return False
    if high / low > ALWAYS_BY_FACTORS:
        return not _even(settings, low, high)
    by_step, by_factor = (middle - low) / (high - low), math.log(middle / low) / math.log(high / low)
    return abs(by_factor - 0.5) < abs(by_step - 0.5)


def _even(settings: Sequence[float], low: float, high: float) -> bool:
    quarters = quantiles(settings, n=4, method="inclusive")
    places = [(quarter - low) / (high - low) for quarter in quarters]
    return all(abs(place - 0.25 * (rank + 1)) < EVEN for rank, place in enumerate(places))


def ticks(low: float, high: float, *, log: bool, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most `most`: powers of ten where `log` and there is room for it."""
    if high <= low:
        return [low]
    if log and high / low >= 100:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        every = math.ceil((last - first + 1) / most)
        return [10.0**power for power in range(first, last + 1, every)]
    if log:
        first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
        found = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
        inside = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        return inside[:: math.ceil(len(inside) / most)] if inside else [low, high]
    magnitude = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    step = next(s * magnitude for s in (1, 2, 2.5, 5, 10, 20) if (high - low) / (s * magnitude) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def tick_text(tick: float) -> str:
    """`0.001`, `50,000`, `1e+06`."""
    return f"{tick:,.0f}" if 1_000 <= abs(tick) < 1_000_000 and tick == round(tick) else f"{tick:.4g}"
