"""Lion."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import OptimizerSpec, Share


class Lion(OptimizerSpec):
    """Lion (Chen et al. 2023): steps of one size in the direction of the gradient's running sign."""

    keras_name = "Lion"
    name: Literal["lion"] = "lion"
    beta_1: Share = 0.9
    """Share of the old mean in the direction of a step."""
    beta_2: Share = 0.99
    """Share of the old gradient mean that is kept at each step."""
