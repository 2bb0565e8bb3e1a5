"""What the training data looked like, as it travels with the model."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets.base import Samples
from pipelines.inputs import Column, InputFacts
from pipelines.packaging.profile import MOST_VALUES, MOST_WORDS, profile_of

LABELS = ("zero", "one", "two")


def test_an_image_is_described_by_its_values_and_its_mean() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 17, (300, 8, 8)).astype(np.uint8)
    y = random.integers(0, 3, 300)
    profile = profile_of(Samples(x, y), InputFacts((8, 8), 0, 16, LABELS))
    values, mean = profile["groups"]
    assert (profile["rows"], profile["of"]) == (300, 300)
    assert len(values["edges"]) == 17
    assert sum(values["counts"]) == 300 * 64
    assert (values["counts"][0], values["counts"][-2], values["counts"][-1]) == (
        0,
        0,
        0,
    )  # nothing beyond, nothing gone
    assert values["counts"][16] == int((x >= 15).sum())  # 15 and 16: the largest value is within the range
    assert all(20 <= count <= 40 for count in mean["counts"][:-1])
    assert profile["output"] == {"kind": "labels", "counts": np.bincount(y).tolist()}
    assert json.loads(json.dumps(profile)) == profile


def test_a_table_is_described_column_by_column_with_what_is_missing() -> None:
    columns = (Column("age"), Column("city", ("Oslo", "Rome")), Column("constant"))
    x = np.array([[20, 1, 7], [np.nan, 2, 7], [40, 1, 7], [60, 0, 7]], np.float64)
    profile = profile_of(
        Samples(x, np.array([1.0, 2.0, 3.0, 4.0], np.float32)), InputFacts((3,), None, None, (), "table", columns)
    )
    age, city, constant = profile["groups"]
    assert age == {"name": "age", "kind": "number", "edges": [30.0, 50.0], "counts": [1, 1, 1, 1]}
    assert city == {"name": "city", "kind": "words", "words": ["Oslo", "Rome"], "counts": [2, 1, 0, 1]}
    assert constant == {"name": "constant", "kind": "number", "edges": [], "counts": [4, 0]}
    assert profile["output"] == {"kind": "number", "edges": [1.5, 2.5, 3.5], "counts": [1, 1, 1, 1, 0]}


def test_the_rarest_of_many_words_are_counted_together() -> None:
    words = tuple(f"w{place}" for place in range(MOST_WORDS + 20))
    codes = np.concatenate([np.arange(1, len(words) + 1), np.full(9, len(words))])
    profile = profile_of(
        Samples(codes[:, None].astype(np.float64), np.zeros(len(codes), np.int64)),
        InputFacts((1,), None, None, LABELS, "table", (Column("word", words),)),
    )
    (group,) = profile["groups"]
    assert group["words"][0] == words[-1]
    assert len(group["words"]) == MOST_WORDS
    assert group["counts"][0] == 10
    assert group["counts"][-2:] == [20, 0]


def test_of_much_data_an_even_part_is_looked_at() -> None:
    x = np.zeros((4, 2000, 1000), np.float32)  # one row more than may be looked at
    x[2:] = 1
    profile = profile_of(Samples(x, np.zeros(4, np.int64)), InputFacts((2000, 1000), 0, 1, LABELS))
    assert (profile["rows"], profile["of"]) == (2, 4)
    assert sum(profile["groups"][0]["counts"]) <= MOST_VALUES
    assert profile["groups"][0]["counts"][-2] == 0


@given(st.lists(st.floats(width=32), min_size=1, max_size=200))
def test_every_number_is_counted_once_whatever_it_is(numbers: list[float]) -> None:
    x = np.array(numbers, np.float32)[:, None]
    facts = InputFacts((1,), None, None, LABELS, "table", (Column("n"),))
    (group,) = profile_of(Samples(x, np.zeros(len(x), np.int64)), facts)["groups"]
    assert sum(group["counts"]) == len(numbers)
    assert group["counts"][-1] == int((~np.isfinite(x)).sum())
    assert len(group["counts"]) == len(group["edges"]) + 2 <= 12
    assert group["edges"] == sorted(group["edges"])
