"""A stack of Dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipelines.inputs import InputFacts
from pipelines.models.hidden import Count, HiddenLayers
from pipelines.models.layered import flatten

if TYPE_CHECKING:
    import keras


class DenseModel(HiddenLayers):
    """Hidden Dense layers, then the output layer: 784-100-30-10 on Fashion-MNIST by default."""

    name: Literal["dense"] = "dense"
    units: tuple[Count, ...] = (100, 30)
    """Units of each hidden layer; empty for none."""

    @property
    def hidden_count(self) -> int:
        """How many hidden layers there are."""
        return len(self.units)

    def hidden(self, inputs: InputFacts) -> list[keras.layers.Layer]:
        """See `LayeredModel.hidden`."""
        return flatten(inputs) + [
            part
            for place, units in enumerate(self.units)
            for part in self.layer(place).dense(units, f"hidden_{place + 1}")
        ]
