"""What every model spec promises: raw inputs in, what the task asks for out."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from pipelines.errors import DataError
from pipelines.inputs import InputFacts, Kind
from pipelines.spec import Spec
from pipelines.tasks import Head

if TYPE_CHECKING:
    import keras

Scaling = Literal["auto", "range", "standard", "none"]
OutputActivation = Literal["auto", "softmax", "sigmoid", "linear", "relu", "softplus", "tanh", "exponential"]
Feature = Literal["x1", "x2", "x1_squared", "x2_squared", "x1_x2", "sin_x1", "sin_x2"]


class ModelSpec(Spec):
    """Settings of one architecture, and of what stands before and after it in every one."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image", "table", "points")
    """The samples that it can take."""
    own: ClassVar[bool] = False
    """Whether it is made by the user's code."""

    scaling: Scaling = "auto"
    """What the first layer does to raw values: `range` brings the range of the data to 0..1, `standard` takes off the
    mean and divides by the standard deviation of the training samples, `none` leaves them; `auto` is `range` for
    images, `standard` for tables, `none` for points. Missing numbers become the mean, categories one-hot."""
    features: tuple[Feature, ...] = Field(("x1", "x2"), min_length=1)
    """For points in the plane: what the model sees of them, as in the TensorFlow Playground."""
    output_activation: OutputActivation = "auto"
    """Of the output layer; `auto` is softmax, sigmoid or linear, as the task asks."""
    target_scaling: Literal["standard", "none"] = "standard"
    """Where a number is predicted: `standard` has the network learn it in units of its spread among the training
    samples, and a last layer gives the target's own units back; `none` leaves it as it is."""

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        twice = [name for place, name in enumerate(features) if name in features[:place]]
        if twice:
            raise ValueError(f"names {' and '.join(dict.fromkeys(twice))} more than once; keep one of each")
        return features

    def misfits(self, inputs: InputFacts) -> dict[str, str]:
        """What in these settings cannot go with such samples: a sentence without its subject by field.

        It needs the facts and no Keras, so that a sweep can say so before anything trains. `kinds` is not asked here.
        """
        return {}

    def refuse_misfits(self, inputs: InputFacts) -> None:
        """For use at the head of `build`.

        Raises:
            DataError: The model cannot take such samples.
        """
        name = str(self.name)  # type: ignore[attr-defined]  # every kind has one
        if inputs.kind not in self.kinds:
            raise DataError(
                f"The model '{name}' takes {' or '.join(self.kinds)} samples, and the data has {inputs.kind} samples."
            )
        found = [f"model.{field} {message}" for field, message in self.misfits(inputs).items()]
        if found:
            raise DataError(f"The model '{name}' cannot take such samples: {'; '.join(found)}.")

    def own_parts(self, config: Any) -> dict[str, str]:
        """Where what is not Keras's own in such a model is, as `module:name`, by Keras's name for it.

        Args:
            config: Of the model, as Keras serializes it, in plain JSON types.

        Raises:
            OwnCodeError: It cannot be found.
        """
        return {}

    @abstractmethod
    def build(self, inputs: InputFacts, head: Head) -> keras.Model:
        """An uncompiled model: float32 (n, *shape) raw values in, float32 (n, head.units) out.

        Raises:
            DataError: It cannot take such samples; see `misfits`.
        """
