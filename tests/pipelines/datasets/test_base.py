from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets.base import Samples, Source, arrays_sha256
from pipelines.inputs import InputFacts

FACTS = InputFacts((2,), 0.0, 9.0, ("a", "b"))


def samples(start: int = 0, count: int = 4) -> Samples:
    x = np.arange(start, start + 2 * count, dtype=np.uint8).reshape(count, 2)
    return Samples(x, np.arange(count, dtype=np.int64) % 2)


def test_samples_are_taken_in_the_order_asked_for() -> None:
    taken = samples().take(np.array([3, 0, 3]))
    assert len(taken) == 3
    assert taken.x[:].tolist() == [[6, 7], [0, 1], [6, 7]]
    assert taken.y.tolist() == [1, 0, 1]
    assert len(samples().take(np.empty(0, np.int64))) == 0


@pytest.mark.parametrize(
    "other",
    [
        np.array([[1, 2], [3, 5]], np.uint8),
        np.array([[1, 2, 3, 4]], np.uint8),
        np.array([[1, 2], [3, 4]], np.int16),
        np.array([[2, 1], [3, 4]], np.uint8),
    ],
    ids=["a value", "a shape", "a type", "an order"],
)
def test_a_digest_sees_every_value_shape_and_type(other: NDArray[np.generic]) -> None:
    array = np.array([[1, 2], [3, 4]], np.uint8)
    assert arrays_sha256(array) == arrays_sha256(array.copy())
    assert arrays_sha256(array) != arrays_sha256(other)


def test_a_digest_does_not_depend_on_how_memory_is_laid_out() -> None:
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert arrays_sha256(np.asfortranarray(array)) == arrays_sha256(array)
    assert arrays_sha256(np.repeat(array, 2, axis=0)[::2]) == arrays_sha256(array)


def test_the_digest_of_a_source_sees_its_test_part_too() -> None:
    digests = {
        Source(samples(), None, FACTS).sha256(),
        Source(samples(), samples(), FACTS).sha256(),
        Source(samples(), samples(1), FACTS).sha256(),
        Source(samples(1), samples(), FACTS).sha256(),
    }
    assert len(digests) == 4


def test_facts_survive_json() -> None:
    assert InputFacts.from_json(FACTS.to_json()) == FACTS
