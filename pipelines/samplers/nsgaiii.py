"""NSGA-III."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.samplers.genetic import GeneticSpec


class NsgaIIISampler(GeneticSpec):
    """NSGA-III (Deb and Jain 2014): a genetic search meant for many objectives; with one it is much like NSGA-II."""

    optuna_name = "NSGAIIISampler"
    name: Literal["nsgaiii"] = "nsgaiii"
    dividing_parameter: int = Field(3, ge=1)
    """Parts that each objective is divided into, to spread the best over all of them."""
