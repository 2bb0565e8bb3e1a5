"""RmsProp."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class RmsProp(OptimizerSpec):
    """RMSprop (Hinton 2012): steps are divided by a running root mean square of the gradient."""

    keras_name = "RMSprop"
    name: Literal["rmsprop"] = "rmsprop"
    rho: Share = 0.9
    """Share of the old mean square that is kept at each step."""
    momentum: Share = 0.0
    """Share of the last step that is taken again, in [0, 1)."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
    centered: bool = False
    """Divide by the running variance instead of the mean square."""
