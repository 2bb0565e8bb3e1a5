"""Piecewise constant."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.schedules.base import LearningRateSpec, Length, Positive, keras_schedule

if TYPE_CHECKING:
    import keras


class Piecewise(LearningRateSpec):
    """One rate after the other, from the boundaries on that are named."""

    name: Literal["piecewise"] = "piecewise"
    boundaries: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(None, min_length=1)
    """Numbers of the last steps, from 0, with the first rate, the second and so on, as Keras counts them."""
    boundary_epochs: tuple[Positive, ...] | None = Field(None, min_length=1)
    """The same in epochs: 3 means that the first step of epoch 3, counted from 0, has the next rate."""
    values: tuple[Positive, ...] = Field(min_length=2)
    """The rates: one more than there are boundaries."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.boundaries is None) == (self.boundary_epochs is None):
            raise ValueError(
                f"takes boundaries or boundary_epochs, got {'neither' if self.boundaries is None else 'both; keep one'}"
            )
        bounds: tuple[float, ...] = self.boundaries or self.boundary_epochs or ()
        if len(self.values) != len(bounds) + 1:
            raise ValueError(f"needs one value more than boundaries, got {len(self.values)} and {len(bounds)}")
        if any(later <= earlier for earlier, later in pairwise(bounds)):
            raise ValueError(f"boundaries must grow, got {', '.join(f'{bound:g}' for bound in bounds)}")
        return self

    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule:
        """Keras's PiecewiseConstantDecay."""
        # Keras's boundary is the last step of the old rate, so one before the epoch's first
        bounds = self.boundaries or tuple(length.of(epochs) - 1 for epochs in self.boundary_epochs or ())
        return keras_schedule("PiecewiseConstantDecay", boundaries=list(bounds), values=list(self.values))
