"""A convolutional network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipelines.inputs import InputFacts, Kind
from pipelines.models.hidden import Count, HiddenLayers, at, values

if TYPE_CHECKING:
    import keras

Pool = Literal["max", "average", "none"]
Padding = Literal["same", "valid"]
_PER_BLOCK = ("kernel_size", "convs_per_block", "pool", "pool_size", "padding", "strides")


@dataclass(frozen=True)
class _Block:
    """One block: convolutions, then a pool."""

    filters: int
    kernel_size: int
    convs: int
    strides: int
    padding: Padding
    pool: Pool
    pool_size: int

    def windows(self) -> Iterator[tuple[str, int, int]]:
        """What goes over the image in turn: the field that sets it, how much of a side it needs, and its step."""
        for conv in range(self.convs):
            # with `same`, a kernel may hang over the edge and needs one pixel
            yield "kernel_size", self.kernel_size if self.padding == "valid" else 1, self.strides if conv == 0 else 1
        if self.pool != "none":
            yield "pool_size", self.pool_size, self.pool_size


class CnnModel(HiddenLayers):
    """Blocks of convolutions, each with a pool behind it, then Dense layers; for images.

    What hidden layers have "one a layer" is given block by block and then Dense layer by Dense layer. In a block, each
    convolution has the activation and the batch norm, and the dropout follows the pool.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)

    name: Literal["cnn"] = "cnn"
    filters: tuple[Count, ...] = Field((32, 64), min_length=1)
    """Filters of each block's convolutions."""
    kernel_size: Count | tuple[Count, ...] = 3
    """Side of the kernels in pixels, for all blocks or one a block."""
    convs_per_block: Count | tuple[Count, ...] = 1
    """Convolutions in a row before the pool, for all blocks or one a block."""
    strides: Count | tuple[Count, ...] = 1
    """Step of the first convolution of a block in pixels, for all blocks or one a block."""
    padding: Padding | tuple[Padding, ...] = "same"
    """`same` keeps the size of the image, `valid` takes off what a kernel hangs over; for all blocks or one a block."""
    pool: Pool | tuple[Pool, ...] = "max"
    """What shrinks the image at the end of a block, for all blocks or one a block."""
    pool_size: Count | tuple[Count, ...] = 2
    """By how much it shrinks, for all blocks or one a block."""
    then: Literal["flatten", "global_average", "global_max"] = "flatten"
    """How a row of numbers is made of what the last block leaves."""
    units: tuple[Count, ...] = ()
    """Units of each hidden Dense layer behind the blocks."""

    @property
    def hidden_count(self) -> int:
        """How many blocks and Dense layers there are."""
        return len(self.filters) + len(self.units)

    @property
    def hidden_words(self) -> str:
        """The same, for a person."""
        blocks, dense = len(self.filters), len(self.units)
        return f"{blocks} block{'' if blocks == 1 else 's'} and {dense} dense layer{'' if dense == 1 else 's'}"

    def miscounted(self) -> dict[str, str]:
        """See `HiddenLayers.miscounted`."""
        wrong = super().miscounted()
        for field in _PER_BLOCK:
            value = getattr(self, field)
            if isinstance(value, tuple) and len(value) != len(self.filters):
                blocks = len(self.filters)
                wrong[field] = (
                    f"has {values(len(value))} for {blocks} block{'' if blocks == 1 else 's'}: "
                    f"give one for all, or exactly one a block"
                )
        return wrong

    def misfits(self, inputs: InputFacts) -> dict[str, str]:
        """See `ModelSpec.misfits`."""
        found = super().misfits(inputs)
        if len(inputs.shape) not in (2, 3):
            return found | {"name": f"needs images (h, w) or (h, w, channels), got samples of shape {inputs.shape}"}
        sides = inputs.shape[:2]
        for place, block in enumerate(self._blocks(), start=1):
            for field, window, step in block.windows():
                if min(sides) < window:
                    return found | {field: _too_large(window, inputs.shape[:2], place, sides, field)}
                sides = tuple((side - window) // step + 1 for side in sides)
        return found

    def hidden(self, inputs: InputFacts) -> list[keras.layers.Layer]:
        """See `LayeredModel.hidden`."""
        return list(self._layers(inputs))

    def _layers(self, inputs: InputFacts) -> Iterator[keras.layers.Layer]:
        import keras

        if len(inputs.shape) == 2:
            yield keras.layers.Reshape((*inputs.shape, 1), name="channel")
        for place, block in enumerate(self._blocks()):
            yield from self._block_layers(place, block)
        yield {
            "flatten": keras.layers.Flatten,
            "global_average": keras.layers.GlobalAveragePooling2D,
            "global_max": keras.layers.GlobalMaxPooling2D,
        }[self.then](name=self.then)
        for place, units in enumerate(self.units):
            yield from self.layer(len(self.filters) + place).dense(units, f"hidden_{place + 1}")

    def _block_layers(self, place: int, block: _Block) -> Iterator[keras.layers.Layer]:
        import keras

        settings, name = self.layer(place), f"block_{place + 1}"
        for conv in range(1, block.convs + 1):
            yield keras.layers.Conv2D(
                block.filters,
                block.kernel_size,
                strides=block.strides if conv == 1 else 1,
                padding=block.padding,
                name=f"{name}_conv_{conv}",
                **settings.linear_arguments(axis=[0, 1, 2]),
            )
            yield from settings.norm_and_activation(f"{name}_conv_{conv}")
        if block.pool != "none":
            pools = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
            yield pools[block.pool](block.pool_size, name=f"{name}_pool")
        yield from settings.dropout_layers(name)

    def _blocks(self) -> list[_Block]:
        return [
            _Block(
                filters,
                at(self.kernel_size, place),
                at(self.convs_per_block, place),
                at(self.strides, place),
                at(self.padding, place),
                at(self.pool, place),
                at(self.pool_size, place),
            )
            for place, filters in enumerate(self.filters)
        ]


def _too_large(window: int, image: tuple[int, ...], place: int, left: tuple[int, ...], field: str) -> str:
    better = "pool: none" if field == "pool_size" else "padding: same"
    return (
        f"{window} is more than block {place} has: an image of {image[0]}x{image[1]} is {left[0]}x{left[1]} when it "
        f"gets there; use a smaller one, fewer blocks in filters, or {better}"
    )
