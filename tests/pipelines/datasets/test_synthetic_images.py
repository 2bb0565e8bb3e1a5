from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.datasets.base import chunks
from pipelines.datasets.synthetic_images import SyntheticImages


def made(**settings: Any) -> Any:
    return SyntheticImages.model_validate({"samples": 60, **settings}).load(None).samples.x


@pytest.mark.parametrize("shape", [(28, 28), (32, 32, 3), (5, 9), (7, 4, 1), (64, 33, 3)])
def test_images_of_any_size_are_made(shape: tuple[int, ...]) -> None:
    source = SyntheticImages(shape=shape, samples=40, classes=4).load(None)
    assert (source.samples.x.shape, source.samples.x.dtype) == ((40, *shape), np.uint8)
    assert source.facts.shape == shape
    assert (source.facts.low, source.facts.high) == (0.0, 255.0)
    assert source.facts.labels == ("class 0", "class 1", "class 2", "class 3")
    assert np.bincount(source.samples.y).tolist() == [10] * 4
    images = source.samples.x[:]
    assert images.min() < 60
    assert images.max() > 195


def test_a_row_depends_on_the_seed_and_its_number_alone() -> None:
    few, many = made(), made(samples=3000)
    np.testing.assert_array_equal(few[:], many[:60])
    np.testing.assert_array_equal(many[np.array([2999, 7, 2999])], np.stack([many[2999], few[7], many[2999]]))
    assert not np.array_equal(few[:], made(seed=1)[:])
    assert len({image.tobytes() for image in many[:]}) == 3000


def test_pixels_are_those_that_they_always_were() -> None:
    assert int(made()[:].astype(np.int64).sum()) == 6_022_008
    assert int(made(shape=[8, 8, 3], seed=3, noise=0.5)[:].astype(np.int64).sum()) == 1_477_956


def test_noise_decides_how_much_of_a_class_is_seen() -> None:
    classes = np.arange(60) % 10

    def likeness(noise: float) -> float:
        """How much images of one class have in common, beyond those of different classes."""
        images = made(noise=noise, shape=[16, 16])[:].reshape(60, -1).astype(float)
        same = np.corrcoef(images)[np.triu_indices(60, 1)]
        of_one_class = (classes[:, None] == classes)[np.triu_indices(60, 1)]
        return float(same[of_one_class].mean() - same[~of_one_class].mean())

    found = [likeness(noise) for noise in (0.0, 0.5, 0.8, 1.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.3
    assert abs(found[-1]) < 0.02


def test_without_noise_images_of_a_class_are_its_pattern_moved_a_little() -> None:
    images = made(noise=0.0, samples=2000)[:][::10].astype(int)
    moves = [np.roll(images[0], (down, right), (0, 1)) for down in range(-6, 7) for right in range(-6, 7)]
    assert all(any((image == moved).all() for moved in moves) for image in images)
    assert len({image.tobytes() for image in images}) > 20


def test_a_network_would_learn_them() -> None:
    source = SyntheticImages(samples=1200, noise=0.5).load(None)
    x, y = source.samples.x[:].reshape(1200, -1).astype(float), source.samples.y
    means = np.stack([x[:1000][y[:1000] == label].mean(axis=0) for label in range(10)])
    means = (means - means.mean(axis=1, keepdims=True)) / means.std(axis=1, keepdims=True)
    assert ((x[1000:] @ means.T).argmax(axis=1) == y[1000:]).mean() > 0.8


def test_millions_of_images_need_no_more_memory_than_few() -> None:
    rows = made(samples=5_000_000)
    rows[:10]  # the patterns are made once
    tracemalloc.start()
    try:
        for chunk, _ in zip(chunks(rows), range(4), strict=False):
            assert chunk.shape == (1024, 28, 28)
        assert rows[4_999_999].shape == (28, 28)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shape": [28]}, "at least 2 items"),
        ({"shape": [28, 28, 2]}, "[height, width, 1 or 3], each side from 4 to 4096, got [28, 28, 2]"),
        ({"shape": [3, 28]}, "got [3, 28]"),
        ({"shape": [28, 28, 3, 1]}, "at most 3 items"),
        ({"classes": 1}, "greater than or equal to 2"),
        ({"noise": 1.5}, "less than or equal to 1"),
        ({"samples": 5}, "greater than or equal to 20"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SyntheticImages.model_validate(settings)
    assert words in str(caught.value)
