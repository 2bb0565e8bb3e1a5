"""How the study chooses what to try next: one file a kind. To add one, write its file and list it in the union.

Arguments have Optuna's names, and its defaults unless the docstring says why not. Left out are those that are Python
functions (`weights` of TPE, the strategies of NSGA-II and NSGA-III), and those that Optuna no longer heeds
(`restart_strategy` of CMA-ES, `consider_prior` of TPE).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.samplers.base import ITSELF, SamplerSpec, Surroundings
from pipelines.samplers.brute_force import BruteForceSampler
from pipelines.samplers.cmaes import CmaEsSampler
from pipelines.samplers.combinations import Combinations
from pipelines.samplers.gp import GpSampler
from pipelines.samplers.grid import GridSampler
from pipelines.samplers.nsgaii import NsgaIISampler
from pipelines.samplers.nsgaiii import NsgaIIISampler
from pipelines.samplers.qmc import QmcSampler
from pipelines.samplers.random import RandomSampler
from pipelines.samplers.tpe import TpeSampler
from pipelines.samplers.varying import Varying, highest, varying
from pipelines.spec import named

Sampler = Annotated[
    Annotated[
        TpeSampler
        | RandomSampler
        | GpSampler
        | CmaEsSampler
        | NsgaIISampler
        | NsgaIIISampler
        | QmcSampler
        | GridSampler
        | BruteForceSampler,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]

__all__ = [
    "ITSELF",
    "Combinations",
    "RandomSampler",
    "Sampler",
    "SamplerSpec",
    "Surroundings",
    "TpeSampler",
    "Varying",
    "highest",
    "varying",
]
