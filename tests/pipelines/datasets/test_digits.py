from __future__ import annotations

import numpy as np

from pipelines.datasets.base import DatasetSpec
from pipelines.datasets.digits import Digits


def test_there_are_1797_whole_numbered_images_of_ten_digits() -> None:
    source = Digits().load(None)
    x, y = source.samples.x[:], source.samples.y
    assert x.shape == (1797, 8, 8)
    assert x.dtype == np.uint8
    assert y.shape == (1797,)
    assert y.dtype == np.int64
    assert (x.min(), x.max()) == (0, 16)
    assert set(y.tolist()) == set(range(10))
    assert np.bincount(y).min() > 170
    assert source.official_test is None


def test_the_facts_are_those_of_the_arrays() -> None:
    source = Digits().load(None)
    assert source.facts.shape == (8, 8)
    assert (source.facts.low, source.facts.high) == (0.0, 16.0)
    assert source.facts.labels == tuple("0123456789")


def test_loading_twice_gives_the_same_data() -> None:
    assert Digits().load(None).sha256() == Digits(split_seed=3).load(None).sha256()


def test_a_share_of_all_samples_is_sealed() -> None:
    spec: DatasetSpec = Digits(test_share=0.3)
    assert spec.held_out_share == 0.3
