"""The samplers that may stand in, one parameter at a time, where another one has no model."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.samplers.random import RandomSampler
from pipelines.samplers.tpe import TpeSampler
from pipelines.spec import named

IndependentSampler = Annotated[
    Annotated[RandomSampler | TpeSampler, Field(discriminator="name")], BeforeValidator(named)
]
