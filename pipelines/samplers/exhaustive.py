"""What the samplers that try everything share; the part that is Optuna's is in `exhaustive_engine.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from pipelines.samplers.base import SamplerSpec, Surroundings
from pipelines.samplers.combinations import Combinations
from pipelines.samplers.varying import Range, Varying

if TYPE_CHECKING:
    import optuna

MOST_VALUES = 100_000
"""Values of one range above which nobody means to try them all."""


class ExhaustiveSpec(SamplerSpec):
    """A sampler that tries every combination once, and is done then.

    A combination whose trial failed, after the attempts that a trial has, counts as tried: what fails by itself would
    fail without end. The next start of the study, before which its cause may be mended, tries it once more, after those
    never tried. Optuna's own samplers of these names stop `Study.optimize` when they are done, which there is none of
    here, and may try one combination twice or none at all where several trials run at once.
    """

    learns = False
    evenness: ClassVar[float]

    def misfits(self, what_varies: Sequence[Varying]) -> dict[str, str]:
        """Also what has no end of values."""
        kind: str = self.name  # type: ignore[attr-defined]
        endless = {found.name: _endless(kind, found.domain) for found in what_varies if isinstance(found.domain, Range)}
        return {**super().misfits(what_varies), **{name: message for name, message in endless.items() if message}}

    def combinations(self, what_varies: Sequence[Varying]) -> Combinations:
        """All of them.

        Raises:
            ConfigError: Something has no end of values; a recipe that was checked has nothing like that.
        """
        self.check(what_varies)
        return Combinations(what_varies)

    def make(self, around: Surroundings) -> optuna.samplers.BaseSampler:
        """The Optuna sampler."""
        from pipelines.samplers.exhaustive_engine import ExhaustiveSampler

        return ExhaustiveSampler(self.combinations(around.varying), around.seed, self.evenness)


def _endless(kind: str, domain: Range) -> str:
    """What is wrong with a range of which every value should be tried; empty where nothing is."""
    if domain.size == 1:
        return ""
    listed = f"list those to try, such as {json.dumps(_examples(domain))}"
    low, high = f"{domain.low:g}", f"{domain.high:g}"
    if domain.log:
        return f"'{kind}' tries every value, and a logarithmic range from {low} to {high} has no steps; {listed}"
    if domain.step is None:
        by = float((Decimal(str(domain.high)) - Decimal(str(domain.low))) / 4)
        message = f"'{kind}' tries every value, and there is no end of them from {low} to {high} without a step"
        return f"{message}; {listed}, or give it a step, such as step: {by}"
    if domain.size > MOST_VALUES:
        return f"'{kind}' tries every value, and from {low} to {high} there are {domain.size}; {listed}"
    return ""


def _examples(domain: Range) -> list[float]:
    """The ends of a range and what is between them."""
    low, high = domain.low, domain.high
    middle = math.sqrt(low * high) if domain.log else (low + high) / 2
    rounded = round(middle) if domain.whole else float(f"{middle:.2g}")
    return list(dict.fromkeys([low, rounded if low < rounded < high else middle, high]))
