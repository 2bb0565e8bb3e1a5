"""Adamax."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class Adamax(OptimizerSpec):
    """Adam with the largest gradient in place of the mean square (Kingma and Ba 2014, section 7)."""

    keras_name = "Adamax"
    name: Literal["adamax"] = "adamax"
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old maximum that is kept at each step."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
