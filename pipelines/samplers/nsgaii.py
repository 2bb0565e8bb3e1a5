"""NSGA-II."""

from __future__ import annotations

from typing import Literal

from pipelines.samplers.genetic import GeneticSpec


class NsgaIISampler(GeneticSpec):
    """NSGA-II (Deb et al. 2002): a genetic search; the first generation is drawn at random."""

    optuna_name = "NSGAIISampler"
    name: Literal["nsgaii"] = "nsgaii"
