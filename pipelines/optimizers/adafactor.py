"""Adafactor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.optimizers.base import OptimizerSpec, Positive


class Adafactor(OptimizerSpec):
    """Adafactor (Shazeer and Stern 2018): the mean square of a matrix kept as a row and a column, to save memory."""

    keras_name = "Adafactor"
    name: Literal["adafactor"] = "adafactor"
    beta_2_decay: float = Field(-0.8, lt=0)
    """Power of the step's number that the mean square's decay follows; below 0."""
    epsilon_1: Positive = 1e-16
    """Keeps the division finite. Keras's own 1e-30 does not: its square is 0 in float32, and where a pixel is always 0
    the whole layer becomes NaN."""
    epsilon_2: Positive = 1e-3
    """Least size of weights that steps are scaled by."""
    clip_threshold: Positive = 1.0
    """Largest root mean square of a step."""
    relative_step: bool = True
    """Let steps shrink with their number, at most `learning_rate`."""
