"""Sgd."""

from __future__ import annotations

from typing import Literal

from pipelines.optimizers.base import NumberOrSchedule, OptimizerSpec, Share


class Sgd(OptimizerSpec):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's form of it where `momentum` is above 0."""

    keras_name = "SGD"
    name: Literal["sgd"] = "sgd"
    learning_rate: NumberOrSchedule = 1e-2
    """Size of a step: a number greater than 0, or a schedule that moves it with every step."""
    momentum: Share = 0.0
    """Share of the last step that is taken again, in [0, 1)."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient; needs `momentum` above 0 to mean anything."""
