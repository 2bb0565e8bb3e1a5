"""Ftrl."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.optimizers.base import OptimizerSpec


class Ftrl(OptimizerSpec):
    """Follow the regularised leader (McMahan et al. 2013), made for wide, sparse linear models."""

    keras_name = "Ftrl"
    name: Literal["ftrl"] = "ftrl"
    learning_rate_power: float = Field(-0.5, le=0)
    """How steps shrink with the sum of squares; 0 keeps them, at most 0."""
    initial_accumulator_value: float = Field(0.1, ge=0)
    """What the sum of squares starts from; at least 0."""
    l1_regularization_strength: float = Field(0.0, ge=0)
    """Pull towards exactly 0."""
    l2_regularization_strength: float = Field(0.0, ge=0)
    """Pull towards small weights."""
    l2_shrinkage_regularization_strength: float = Field(0.0, ge=0)
    """The same on the loss itself, without touching the steps' size."""
    beta: float = Field(0.0, ge=0)
    """Added to the root of the sum of squares."""
