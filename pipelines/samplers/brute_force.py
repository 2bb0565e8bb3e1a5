"""Every combination, with small branches early."""

from __future__ import annotations

from typing import Literal

from pipelines.samplers.exhaustive import ExhaustiveSpec


class BruteForceSampler(ExhaustiveSpec):
    """Every combination once, like grid, but with the few combinations of a small branch among the first.

    At each parameter one half of the draw goes by how many combinations a value leads to, and one half by the values
    alone, as in Optuna's. Ranges need a step.
    """

    evenness = 0.5
    name: Literal["brute_force"] = "brute_force"
