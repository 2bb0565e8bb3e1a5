from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.datasets.base import Samples, Source
from pipelines.datasets.digits import Digits
from pipelines.datasets.fashion_mnist import FashionMnist
from pipelines.datasets.splits import split
from pipelines.errors import DataError
from pipelines.inputs import InputFacts


def source(counts: list[int]) -> Source:
    y = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    labels = tuple(str(number) for number in range(len(counts)))
    return Source(Samples(np.arange(len(y), dtype=np.uint8)[:, None], y), None, InputFacts((1,), 0, 1, labels))


def test_the_parts_of_the_digits_are_disjoint_and_complete() -> None:
    parts = split(Digits().load(None), Digits())
    everyone = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(everyone.tolist()) == list(range(1797))
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [1149, 288, 360]
    for part in (parts.train, parts.validation, parts.test):
        assert part.dtype == np.int64
        assert np.all(np.diff(part) > 0)


def test_every_class_has_its_share_of_every_part() -> None:
    digits = Digits().load(None)
    parts = split(digits, Digits())
    whole = np.bincount(digits.samples.y) / 1797
    for part in (parts.train, parts.validation, parts.test):
        counts = np.bincount(digits.samples.y[part], minlength=10)
        assert np.all(np.abs(counts - whole * len(part)) <= 1.5)


def test_the_seed_decides_who_is_where() -> None:
    digits = Digits().load(None)
    first, again, other = (split(digits, Digits(split_seed=seed)) for seed in (0, 0, 1))
    assert first.sha256() == again.sha256() != other.sha256()
    assert set(first.test.tolist()) != set(other.test.tolist())


@pytest.mark.parametrize("spec", [Digits(test_share=0.3), Digits(validation_share=0.3)])
def test_the_shares_decide_how_many_are_where(spec: Digits) -> None:
    digits = Digits().load(None)
    parts = split(digits, spec)
    assert len(parts.test) == pytest.approx(1797 * spec.test_share, abs=1)
    assert len(parts.validation) == pytest.approx((1797 - len(parts.test)) * spec.validation_share, abs=1)
    assert parts.sha256() != split(digits, Digits()).sha256()


def test_a_published_test_part_leaves_all_samples_to_the_search() -> None:
    parts = split(source([20, 20]), FashionMnist(validation_share=0.25))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (30, 10, 0)


@pytest.mark.parametrize("counts", [[9, 1], [2, 2, 2, 2, 2], [1], []])
def test_classes_that_are_too_small_are_said_to_be(counts: list[int]) -> None:
    with pytest.raises(DataError, match=r"cannot be split: 0\.2 of its .* samples, class by class.*larger share"):
        split(source(counts), FashionMnist())


def test_numbers_are_split_without_classes() -> None:
    y = np.linspace(0, 1, 40, dtype=np.float32)
    data = Source(Samples(np.arange(40)[:, None], y), None, InputFacts((1,), None, None, (), kind="table"))
    parts = split(data, Digits())
    assert [len(parts.train), len(parts.validation), len(parts.test)] == [25, 7, 8]
    assert sorted(np.concatenate([parts.train, parts.validation, parts.test]).tolist()) == list(range(40))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(10, 40), min_size=2, max_size=5),
    st.floats(0.2, 0.6),
    st.floats(0.2, 0.6),
    st.integers(0, 2**32 - 1),
)
def test_any_split_is_disjoint_complete_and_has_every_class(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    data = source(counts)
    parts = split(data, Digits(validation_share=validation, test_share=test, split_seed=seed))
    assert sorted(np.concatenate([parts.train, parts.validation, parts.test]).tolist()) == list(range(sum(counts)))
    for part in (parts.train, parts.validation, parts.test):
        assert len(set(data.samples.y[part].tolist())) == len(counts)
