"""Adadelta."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class Adadelta(OptimizerSpec):
    """Adadelta (Zeiler 2012): Adagrad with a window, and steps in the units of the weights."""

    keras_name = "Adadelta"
    name: Literal["adadelta"] = "adadelta"
    rho: Share = 0.95
    """Share of the old mean squares that is kept at each step."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
