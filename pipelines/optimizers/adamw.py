"""AdamW."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class AdamW(OptimizerSpec):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2017)."""

    keras_name = "AdamW"
    name: Literal["adamw"] = "adamw"
    weight_decay: float | None = Field(4e-3, ge=0)
    """Share of each weight that a step takes away, times the learning rate."""
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
    amsgrad: bool = False
    """Never let the mean square shrink (Reddi et al. 2018)."""
