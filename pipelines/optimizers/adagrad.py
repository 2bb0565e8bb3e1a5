"""Adagrad."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.optimizers.base import OptimizerSpec, Positive


class Adagrad(OptimizerSpec):
    """Adagrad (Duchi et al. 2011): each weight's steps shrink with the squares of its past gradients."""

    keras_name = "Adagrad"
    name: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: float = Field(0.1, ge=0)
    """What the sum of squares starts from; at least 0."""
    epsilon: Positive = 1e-7
    """Keeps the division finite."""
