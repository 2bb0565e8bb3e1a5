"""Images that are made up when somebody asks for them: as many as wanted, without a file and without the memory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from pipelines.datasets.base import HeldOutSpec, Samples, Source
from pipelines.datasets.rows import LazyRows
from pipelines.inputs import InputFacts, Kind
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 1 << 22
"""Values that are made at a time: what they need on the way fits a processor's cache better."""
_GRID = 5
"""A class's pattern is as coarse as this many bright and dark places each way."""


class SyntheticImages(HeldOutSpec):
    """Made-up images of any size and number, for trying out how far something scales; a network can learn them.

    Every class has a pattern of its own; an image is its class's pattern, moved a little and mixed with noise. Row `i`
    depends on the seed and `i` alone and is made when it is asked for: millions of images need no more memory than few.
    """

    tasks: ClassVar[tuple[Task, ...]] = ()
    kind: ClassVar[Kind | None] = "image"

    name: Literal["synthetic_images"] = "synthetic_images"
    shape: tuple[int, ...] = Field((28, 28), min_length=2, max_length=3)
    """Height, width and, for colours, 1 or 3 channels."""
    samples: int = Field(10_000, ge=20, le=100_000_000)
    """Images, the test part included."""
    classes: int = Field(10, ge=2, le=1000)
    """Classes, all of the same size."""
    noise: float = Field(0.7, ge=0, le=1)
    """Share of noise in an image: at 0 every image shows its class's pattern, at 1 nothing can be learned."""
    seed: int = Field(0, ge=0, lt=2**32)
    """The same seed gives the same images."""

    @field_validator("shape")
    @classmethod
    def _is_an_image(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not all(4 <= size <= 4096 for size in shape[:2]) or shape[2:] not in ((), (1,), (3,)):
            raise ValueError(
                f"must be [height, width] or [height, width, 1 or 3], each side from 4 to 4096, got {list(shape)}"
            )
        return shape

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: uint8 (samples, *shape), 0-255."""
        labels = tuple(f"class {number}" for number in range(self.classes))
        y = np.arange(self.samples, dtype=np.int64) % self.classes
        facts = InputFacts(self.shape, 0.0, 255.0, labels, target="class")
        return Source(Samples(_MadeUp(self), y), None, facts)


class _MadeUp(LazyRows):
    """The images of a spec."""

    def __init__(self, spec: SyntheticImages) -> None:
        super().__init__((spec.samples, *spec.shape), np.uint8)
        self._spec = spec
        self._words = -(-int(np.prod(spec.shape)) // 8)  # eight values of noise come from one number of 64 bits

    @cached_property
    def _patterns(self) -> NDArray[np.uint8]:
        """(classes, h, w, channels): coarse random places, with even slopes in between."""
        height, width, channels = (*self._spec.shape, 1)[:3]
        count = self._spec.classes * channels * _GRID * _GRID
        places = _noise(self._spec.seed, np.arange(1, dtype=np.uint64), -(-count // 8), salt=1)[0, :count]
        # only whole numbers, which every machine adds up to the same
        grid = places.reshape(self._spec.classes, _GRID, _GRID, channels).astype(np.int64)
        tall = np.einsum("hg,cgkx->chkx", _slopes(height), grid)
        wide = np.einsum("wk,chkx->chwx", _slopes(width), tall)
        low, high = wide.min(axis=(1, 2), keepdims=True), wide.max(axis=(1, 2), keepdims=True)
        return np.asarray((wide - low) * 255 // np.maximum(high - low, 1), np.uint8)

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        at_once = max(1, _AT_ONCE // (8 * self._words))
        for start in range(0, len(indices), at_once):
            images[start : start + at_once] = self._make(indices[start : start + at_once])
        return images

    def _make(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        height, width, channels = (*self.shape[1:], 1)[:3]
        noise = _noise(self._spec.seed, indices.astype(np.uint64), self._words + 1, salt=0)
        moves, noise = noise[:, :2], noise[:, 8 : 8 + height * width * channels]
        reach = np.array([max(1, height // 8), max(1, width // 8)])
        steps = moves.astype(np.int64) % (2 * reach + 1) - reach
        classes = indices % self._spec.classes
        images = self._patterns[classes]
        for down, right in np.unique(steps, axis=0):
            moved = np.flatnonzero((steps == (down, right)).all(axis=1))
            images[moved] = np.roll(images[moved], (down, right), axis=(1, 2))
        share = round(self._spec.noise * 256)
        mixed = images.reshape(len(indices), -1).astype(np.uint16) * np.uint16(256 - share)
        mixed += noise.astype(np.uint16) * np.uint16(share)
        return (mixed >> np.uint16(8)).astype(np.uint8).reshape(len(indices), *self.shape[1:])


def _noise(seed: int, rows: NDArray[np.uint64], words: int, salt: int) -> NDArray[np.uint8]:
    """(n, 8 * words) even noise for each of `rows`, from a counter: any row can be had without those before it.

    The mixing is SplitMix64's (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
    """
    start = _mixed(np.array([(seed << 1) | salt], np.uint64))
    state = _mixed(start + rows)[:, None] + np.arange(words, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return _mixed(state).astype("<u8", copy=False).view(np.uint8)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state ^ (state >> np.uint64(30))
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def _slopes(size: int) -> NDArray[np.int64]:
    """(size, _GRID) how much each coarse place counts at each pixel, in 256ths."""
    at = np.arange(size) * 256 * (_GRID - 1) // (size - 1)
    distance = np.abs(at[:, None] - 256 * np.arange(_GRID)[None, :])
    return np.asarray(np.maximum(256 - distance, 0), np.int64)
