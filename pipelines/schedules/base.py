"""What every schedule of the learning rate inside an optimizer promises.

Keras knows the lengths of its schedules in steps (batches). Here each can be given in epochs too, `decay_epochs` beside
`decay_steps`; where both are left out it follows from the length of the training.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from pipelines.spec import Spec

if TYPE_CHECKING:
    import keras

Positive = Annotated[float, Field(gt=0)]
Steps = Annotated[int, Field(ge=1)] | None
Epochs = Positive | None
"""Epochs need not be whole: a warm-up of half an epoch is a common one."""


@dataclass(frozen=True)
class Length:
    """How long a training is at most: what a schedule must know to follow it.

    Attributes:
        steps_per_epoch: Batches in an epoch.
        epochs: Epochs at most.
    """

    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """All steps of the training."""
        return self.steps_per_epoch * self.epochs

    def of(self, epochs: float) -> int:
        """The steps in so many epochs, at least one."""
        return max(1, round(epochs * self.steps_per_epoch))


class LearningRateSpec(Spec):
    """Settings of one schedule. Its fields have Keras's names, and Keras's defaults where Keras has any."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        for name in type(self).model_fields:
            twin = name.replace("steps", "epochs")
            if twin != name and getattr(self, name) and getattr(self, twin):
                raise ValueError(
                    f"takes {name} or {twin}, got both ({getattr(self, name)} and {getattr(self, twin):g}); keep one"
                )
        return self

    def steps(self, name: str, length: Length, otherwise: float) -> int:
        """The field `name` in steps, by way of its twin in epochs, or `otherwise` where neither is given."""
        given, epochs = getattr(self, name), getattr(self, name.replace("steps", "epochs"))
        if given:
            return int(given)
        return max(1, round(otherwise)) if not epochs else length.of(epochs)

    def owns_learning_rate(self) -> bool:
        """Whether the rate moves by itself, so that no callback can move it."""
        return True

    @abstractmethod
    def build(self, length: Length) -> keras.optimizers.schedules.LearningRateSchedule | float:
        """Keras's own schedule, so that a checkpoint loads in plain Keras; or a number, which callbacks can move."""


def keras_schedule(name: str, **arguments: Any) -> keras.optimizers.schedules.LearningRateSchedule:
    """One of Keras's schedules, by the name of its class."""
    import keras  # heavy, and not needed to read a recipe

    return getattr(keras.optimizers.schedules, name)(**arguments)
