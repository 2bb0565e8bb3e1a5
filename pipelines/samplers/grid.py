"""Every combination, in a random order."""

from __future__ import annotations

from typing import Literal

from pipelines.samplers.exhaustive import ExhaustiveSpec


class GridSampler(ExhaustiveSpec):
    """Every combination of the search space once, in an order drawn with the seed; the sweep ends when all are tried.

    Every combination is as likely to be the next as any other. Ranges need a step; the values to try of one without
    are listed in the search space itself.
    """

    evenness = 0.0
    name: Literal["grid"] = "grid"
