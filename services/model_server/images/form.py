"""What a model's pictures look like: size, colours and range by its contract, ground and place by golden samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from services.model_server.package import Contract, Golden

Ground = Literal["dark", "light"]
# A sample has a ground if half of its border and more lies in the darkest or lightest quarter of the range.
_DARK, _LIGHT = 0.25, 0.75
# How many of the samples must have the same ground for a picture on the other one to be turned around.
_MOST = 0.9
# What is drawn is astray if it is smaller than this times the smallest golden sample, or so much further off the middle
# than any of them.
# Of 1797 real digits none is, with any 16 of them as golden samples; on 0.7 of a sheet all are, on 0.8 most.
_SMALLER, _FURTHER = 0.85, 0.08
# What is darker than this share of a picture's lightest value is ground and not ink.
INK = 0.3


@dataclass(frozen=True)
class Form:
    """The form of one sample that is a picture.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: 1 for grey, 3 for colours.
        shape: Of a sample as the model takes it.
        dtype: Of its values.
        low: The value of black.
        high: The value of white.
        ground: Dark if the training data is light on dark, light if it is the other way round; None if nobody can tell.
        extent: The longer side of what is drawn, as a share of the sample's side. 0.0 if there is no ground.
        middle: The centre of mass of what is drawn, from the top and from the left, as shares of the sample's sides.
        least: The smallest extent of a golden sample.
        off: How far the centre of mass of a golden sample is off the middle at most, down or across.
    """

    height: int
    width: int
    channels: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: float
    high: float
    ground: Ground | None = None
    extent: float = 0.0
    middle: tuple[float, float] = (0.5, 0.5)
    least: float = 0.0
    off: float = 1.0

    def is_astray(self, ink: NDArray[Any]) -> bool:
        """Whether what is drawn is smaller, or further off the middle, than in any golden sample, and by some more.

        Args:
            ink: (height, width), light on dark, in the size of a sample.
        """
        place = _place_in(ink) if self.ground is not None else None
        if place is None:
            return False
        extent, down, across = place
        off = max(abs(down - self.middle[0]), abs(across - self.middle[1]))
        return extent < _SMALLER * self.least or off > self.off + _FURTHER

    @property
    def bytes(self) -> int:
        """The memory that one sample takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def told(self) -> dict[str, Any]:
        """Says it to a client that wants to send a picture."""
        return {"width": self.width, "height": self.height, "channels": self.channels, "ground": self.ground}


def form_of(contract: Contract, golden: Golden) -> Form | None:
    """Tells the form of a model's pictures; None if its samples are none.

    A sample is a picture if it is (height, width), or has 1 or 3 channels behind these, or if the contract says in
    `input.picture` that it is one of such a shape in one row.
    """
    spec = contract.input
    shape = spec.picture or spec.sample_shape
    if contract.columns or spec.dtype == "string" or None in shape or len(shape) not in (2, 3):
        return None
    height, width, channels = (*(size or 0 for size in shape), 1)[:3]
    if channels not in (1, 3) or not height or not width:
        return None
    if spec.range is None and spec.dtype != "uint8":
        return None  # on which scale its values are is anybody's guess
    low, high = spec.range or (0.0, 255.0)
    sample_shape = tuple(size or 0 for size in spec.sample_shape)
    form = Form(height, width, channels, sample_shape, spec.array_dtype, low, high)
    if channels == 3 or not high > low:
        return form
    samples = (golden.inputs.reshape(-1, height, width).astype(np.float32) - low) / (high - low)
    ground = _ground_of(samples)
    if ground is None:
        return form
    places = _places_of(samples if ground == "dark" else 1 - samples)
    return Form(height, width, 1, sample_shape, spec.array_dtype, low, high, ground, *places)


def border(pixels: NDArray[Any]) -> NDArray[Any]:
    """The outermost pixels of pictures (..., height, width), in one row: (..., n)."""
    top, bottom = pixels[..., 0, :], pixels[..., -1, :]
    return np.concatenate([top, bottom, pixels[..., 1:-1, 0], pixels[..., 1:-1, -1]], axis=-1)


def ink_box(ink: NDArray[Any]) -> tuple[int, int, int, int] | None:
    """Where light things are on a dark picture (height, width): left, top, right, bottom; None if there are none."""
    mask = ink > INK * ink.max(initial=0.0)
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def centre_of_mass(ink: NDArray[Any]) -> tuple[float, float]:
    """Where the middle of what is light on a dark picture (height, width) is, in pixels from the top and the left."""
    total = float(ink.sum())
    rows = ink.sum(axis=1) @ (np.arange(ink.shape[0]) + 0.5)
    columns = ink.sum(axis=0) @ (np.arange(ink.shape[1]) + 0.5)
    return float(rows / total), float(columns / total)


def _ground_of(samples: NDArray[np.float32]) -> Ground | None:
    level = np.median(border(samples), axis=-1)
    if (level < _DARK).mean() >= _MOST:
        return "dark"
    return "light" if (level > _LIGHT).mean() >= _MOST else None


def _places_of(samples: NDArray[np.float32]) -> tuple[float, tuple[float, float], float, float]:
    """Finds how far what is drawn reaches, where its middle is, the least of the one and the most off the other.

    Over all samples that show something.
    """
    found = [place for place in map(_place_in, samples) if place is not None]
    if not found:
        return 1.0, (0.5, 0.5), 0.0, 1.0
    places = np.array(found)
    extents, middles = places[:, 0], places[:, 1:]
    down, across = middles.mean(axis=0).tolist()
    off = np.abs(middles - (down, across)).max()
    return float(np.median(extents)), (down, across), float(extents.min()), float(off)


def _place_in(ink: NDArray[Any]) -> tuple[float, float, float] | None:
    """How far what is drawn reaches, and its centre of mass from the top and the left, all as shares of the sides."""
    box = ink_box(ink)
    if box is None:
        return None
    height, width = ink.shape
    left, top, right, bottom = box
    down, across = centre_of_mass(ink)
    return max((right - left) / width, (bottom - top) / height), down / height, across / width
