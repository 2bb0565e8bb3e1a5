"""What random streams give for a seed, said without moving any of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipelines.training.randomness import restore_streams, streams

_MOST = int(1e9)
"""Keras draws a seed as `random.randint(1, _MOST)`."""


def seeds_of(seed: int, count: int) -> list[int]:
    """The seeds that Keras draws first where `keras.utils.set_random_seed(seed)` was called."""
    return _drawn(random.Random(seed), count)


def streams_of(seed: int, count: int, generator: Any) -> dict[str, Any]:
    """What `pipelines.training.randomness.streams` says where a seed was set and Keras has drawn some seeds since.

    Args:
        seed: The seed that was set.
        count: How many seeds were drawn.
        generator: Where TensorFlow's global generator stands, as `streams` says it: no seed sets it.
    """
    python = random.Random(seed)
    _drawn(python, count)
    return {
        "python": _kept(python),
        "numpy": np.random.RandomState(seed).get_state(legacy=False),
        "keras": None,  # it is made where something draws from it
        "seed": seed,
        "operations": _kept(random.Random(seed)),
        "generator": generator,
    }


@contextmanager
def undisturbed() -> Iterator[dict[str, Any]]:
    """Puts all streams back to where they stood, and says where that is."""
    before = streams()
    try:
        yield before
    finally:
        restore_streams(before)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last bit, whatever arrays are in them."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def _drawn(stream: random.Random, count: int) -> list[int]:
    return [stream.randint(1, _MOST) for _ in range(count)]


def _kept(stream: random.Random) -> list[Any]:
    version, numbers, gauss = stream.getstate()
    return [version, np.asarray(numbers, np.uint32), gauss]
