"""A stack of Dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipelines.inputs import InputFacts
from pipelines.models.base import INPUT_NAME, OUTPUT_NAME, ModelSpec

if TYPE_CHECKING:
    import keras

Activation = Literal["relu", "tanh", "sigmoid", "linear", "elu", "selu", "gelu", "silu", "leaky_relu"]


class DenseModel(ModelSpec):
    """Flatten, then hidden Dense layers, then softmax: 784-100-30-10 on Fashion-MNIST by default."""

    name: Literal["dense"] = "dense"
    units: tuple[Annotated[int, Field(ge=1)], ...] = (100, 30)
    """Units of each hidden layer; empty for none."""
    activation: Activation | tuple[Activation, ...] = "relu"
    """Of all hidden layers, or one a layer."""
    api: Literal["sequential", "functional"] = "sequential"
    """Which of Keras's two ways builds it; both give the same weights for a seed."""

    @model_validator(mode="after")
    def _one_activation_a_layer(self) -> DenseModel:
        if not isinstance(self.activation, str) and len(self.activation) != len(self.units):
            raise ValueError(
                f"activation names {len(self.activation)} layers and units {len(self.units)}: give one activation "
                f"for all, or exactly one a layer"
            )
        return self

    def build(self, inputs: InputFacts) -> keras.Model:
        """The uncompiled Keras model. Raw values are brought to 0..1 by its first layer."""
        import keras  # heavy, and not needed to read a recipe

        count = len(self.units)
        activations = (self.activation,) * count if isinstance(self.activation, str) else self.activation
        scale = 1.0 / (inputs.high - inputs.low)
        first = keras.Input(inputs.shape, name=INPUT_NAME, dtype="float32")
        layers = [
            keras.layers.Rescaling(scale, offset=-inputs.low * scale, name="scale"),
            keras.layers.Flatten(name="flatten"),
            *(
                keras.layers.Dense(units, activation=activation, name=f"hidden_{index}")
                for index, (units, activation) in enumerate(zip(self.units, activations, strict=True), start=1)
            ),
            keras.layers.Dense(len(inputs.labels), activation="softmax", name=OUTPUT_NAME),
        ]
        if self.api == "sequential":
            return keras.Sequential([first, *layers], name="dense")
        flow = first
        for layer in layers:
            flow = layer(flow)
        return keras.Model(first, flow, name="dense")
