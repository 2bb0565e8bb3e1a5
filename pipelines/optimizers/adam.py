"""Adam."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class Adam(OptimizerSpec):
    """Adam (Kingma and Ba 2014): running means of the gradient and of its square."""

    keras_name = "Adam"
    name: Literal["adam"] = "adam"
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
    amsgrad: bool = False
    """Never let the mean square shrink (Reddi et al. 2018)."""
