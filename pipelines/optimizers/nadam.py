"""Nadam."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import OptimizerSpec, Positive, Share


class Nadam(OptimizerSpec):
    """Adam with Nesterov's momentum (Dozat 2016)."""

    keras_name = "Nadam"
    name: Literal["nadam"] = "nadam"
    beta_1: Share = 0.9
    """Share of the old gradient mean that is kept at each step."""
    beta_2: Share = 0.999
    """Share of the old mean square that is kept at each step."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
