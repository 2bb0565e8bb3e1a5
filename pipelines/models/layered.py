"""What the architectures that are a plain stack of layers share: preparation in front, the head at the end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipelines.inputs import InputFacts
from pipelines.models.base import ModelSpec
from pipelines.models.preparation import input_layer, preparation, scaling_misfit
from pipelines.tasks import Head

if TYPE_CHECKING:
    import keras


class LayeredModel(ModelSpec):
    """A stack of layers."""

    api: Literal["sequential", "functional"] = "sequential"
    """Which of Keras's two ways builds it; both give the same weights for a seed."""

    @abstractmethod
    def hidden(self, inputs: InputFacts) -> list[keras.layers.Layer]:
        """The layers between preparation and head."""

    @abstractmethod
    def output_arguments(self) -> dict[str, Any]:
        """What Keras's Dense takes for the output layer beside units, activation and name."""

    def misfits(self, inputs: InputFacts) -> dict[str, str]:
        """See `ModelSpec.misfits`."""
        wrong = scaling_misfit(self.scaling, inputs)
        return super().misfits(inputs) | ({"scaling": wrong} if wrong else {})

    def build(self, inputs: InputFacts, head: Head) -> keras.Model:
        """See `ModelSpec.build`."""
        self.refuse_misfits(inputs)
        import keras  # heavy, and not needed to read a recipe

        first = input_layer(inputs)
        # made in this order in both forms, as each layer draws its seed when it is made
        layers = [
            *preparation(inputs, self.scaling, self.features),
            *self.hidden(inputs),
            *head_layers(head, self.output_arguments()),
        ]
        name = str(self.name)  # type: ignore[attr-defined]  # every kind has one
        if self.api == "sequential":
            return keras.Sequential([first, *layers], name=name)
        flow = first
        for layer in layers:
            flow = layer(flow)
        return keras.Model(first, flow, name=name)


def head_layers(head: Head, arguments: dict[str, Any]) -> Sequence[keras.layers.Layer]:
    """The output layer, and behind it what gives a number its own units back. In full precision under any policy."""
    import keras

    full = keras.config.floatx()  # float32, also where a policy has the other layers compute in 16 bits
    plain = head.scale == 1.0 and head.offset == 0.0
    dense = keras.layers.Dense(
        head.units,
        activation=head.activation,
        dtype=full,
        name=head.name if plain else "output",
        **arguments,
    )
    if plain:
        return [dense]
    return [dense, keras.layers.Rescaling(head.scale, offset=head.offset, dtype=full, name=head.name)]


def flatten(inputs: InputFacts) -> list[keras.layers.Layer]:
    """What makes one row of a sample; nothing where it is one."""
    import keras

    return [keras.layers.Flatten(name="flatten")] if len(inputs.shape) > 1 else []
