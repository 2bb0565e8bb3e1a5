"""Schedules of the learning rate: one file a kind. To add one, write its file and list it in the union.

`LearningRate` is for the optimizer and moves with every step; `EpochSchedule` is for the LearningRateScheduler callback
and moves with every epoch. A training has one or the other.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.schedules.base import LearningRateSpec, Length
from pipelines.schedules.constant import Constant
from pipelines.schedules.cosine import Cosine
from pipelines.schedules.cosine_restarts import CosineRestarts
from pipelines.schedules.epochs import EpochSchedule, Schedule
from pipelines.schedules.exponential import Exponential
from pipelines.schedules.inverse_time import InverseTime
from pipelines.schedules.one_cycle import OneCycle
from pipelines.schedules.piecewise import Piecewise
from pipelines.schedules.polynomial import Polynomial
from pipelines.schedules.step import Step
from pipelines.schedules.warmup import Warmup
from pipelines.spec import named

LearningRate = Annotated[
    Annotated[
        Constant
        | Step
        | Exponential
        | Polynomial
        | Cosine
        | CosineRestarts
        | InverseTime
        | Piecewise
        | Warmup
        | OneCycle,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]

__all__ = ["EpochSchedule", "LearningRate", "LearningRateSpec", "Length", "Schedule"]
