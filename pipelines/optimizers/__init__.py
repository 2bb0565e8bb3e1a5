"""Optimizers: one file a kind. To add one, write its file and list it in the union."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.optimizers.adadelta import Adadelta
from pipelines.optimizers.adafactor import Adafactor
from pipelines.optimizers.adagrad import Adagrad
from pipelines.optimizers.adam import Adam
from pipelines.optimizers.adamax import Adamax
from pipelines.optimizers.adamw import AdamW
from pipelines.optimizers.base import OptimizerSpec
from pipelines.optimizers.ftrl import Ftrl
from pipelines.optimizers.lamb import Lamb
from pipelines.optimizers.lion import Lion
from pipelines.optimizers.muon import Muon
from pipelines.optimizers.nadam import Nadam
from pipelines.optimizers.rmsprop import RmsProp
from pipelines.optimizers.sgd import Sgd
from pipelines.schedules import Length
from pipelines.spec import named

Optimizer = Annotated[
    Annotated[
        Sgd | Adagrad | Adadelta | RmsProp | Adam | AdamW | Adamax | Nadam | Ftrl | Lion | Adafactor | Lamb | Muon,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]

__all__ = ["Adam", "Length", "Optimizer", "OptimizerSpec", "Sgd"]
