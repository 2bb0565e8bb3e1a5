from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.datasets.base import arrays_sha256
from pipelines.datasets.rows import Converted, LazyRows, Stream, places
from pipelines.errors import DataError

ARRAY = np.arange(24, dtype=np.float64).reshape(6, 2, 2)


class Doubling(LazyRows):
    """Rows that remember which were asked for."""

    def __init__(self) -> None:
        super().__init__((6, 1), np.int64)
        self.asked: list[list[int]] = []

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        self.asked.append(indices.tolist())
        return np.asarray(indices[:, None] * 2, np.int64)


class File:
    """Like a data set of h5py: slices, and index arrays that grow; anything else is refused."""

    def __init__(self, array: NDArray[Any] = ARRAY, **promises: Any) -> None:
        self._array = array
        self.shape = promises.get("shape", array.shape)
        self.dtype = promises.get("dtype", array.dtype)
        self.read = 0

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        if not isinstance(chosen, slice) and not (np.diff(chosen) > 0).all():
            raise TypeError("Indexing elements must be in increasing order")
        found: NDArray[Any] = self._array[chosen]
        self.read += len(found)
        return found


CHOSEN: list[Any] = [
    slice(None), slice(1, 4), slice(None, None, -2), slice(-2, None), slice(4, 2), slice(0, 99),
    np.array([3, 0, 3]), np.array([5]), np.array([-1, -6]), np.array([0, 1, 2], np.uint8), np.empty(0, np.int64),
    [4, 2], [], np.array([True, False, True, False, False, True]), 2, -1, np.int64(5),
]  # fmt: skip


@pytest.mark.parametrize("chosen", CHOSEN, ids=repr)
@pytest.mark.parametrize("make", [lambda: Converted(ARRAY, np.float32), lambda: Stream(File(), "x")])
def test_rows_are_chosen_as_numpy_chooses_them(make: Callable[[], LazyRows], chosen: Any) -> None:
    rows = make()
    wanted = ARRAY[np.asarray(chosen, np.int64) if isinstance(chosen, list) else chosen]
    found = rows[chosen]
    assert found.dtype == rows.dtype
    np.testing.assert_array_equal(found, wanted.astype(rows.dtype), strict=True)


@given(st.integers(0, 9), st.one_of(st.slices(9), st.lists(st.integers(-12, 12), max_size=6)))
def test_places_are_numpys_for_any_choice(count: int, chosen: slice | list[int]) -> None:
    choice = np.array(chosen, np.int64) if isinstance(chosen, list) else chosen
    try:
        wanted = np.arange(count)[choice]
    except IndexError:
        with pytest.raises(IndexError, match=f"there are {count} rows"):
            places(count, choice)
    else:
        assert places(count, choice).tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (6, "there are 6 rows, 0 to 5; asked for 6"),
        ([0, -7], "asked for -7 to 0"),
        ([True, False], r"a mask of shape \(2,\) cannot choose among 6 rows"),
        ([0.5], "by whole numbers, not by"),
        ("all", "not by 'all'"),
        (np.zeros((2, 2), np.int64), "by whole numbers, not by"),
        ((0, 1, "x"), "not by"),
    ],
)
def test_what_chooses_no_rows_is_told(chosen: Any, words: str) -> None:
    with pytest.raises(IndexError, match=words):
        places(6, chosen)


def test_only_the_rows_that_are_asked_for_are_read() -> None:
    rows = Doubling()
    assert rows[np.array([4, 1])].tolist() == [[8], [2]]
    assert rows[1:3].tolist() == [[2], [4]]
    assert rows[5].tolist() == [10]
    assert rows.asked == [[4, 1], [1, 2], [5]]
    assert len(rows) == 6


def test_converted_rows_have_the_digest_of_converted_arrays() -> None:
    assert arrays_sha256(Converted(ARRAY, np.float32)) == arrays_sha256(ARRAY.astype(np.float32))


def test_a_stream_is_asked_once_for_each_row_and_only_in_a_growing_order() -> None:
    file = File()
    rows = Stream(file, "x")
    np.testing.assert_array_equal(rows[np.array([5, 2, 5, 5])], ARRAY[[5, 2, 5, 5]])
    assert file.read == 2
    np.testing.assert_array_equal(rows[np.array([3, 2, 1])], ARRAY[[3, 2, 1]])
    assert file.read == 5


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (File(shape=(6, 2)), r"say that these rows are \(3, 2\) of float64, and \(3, 2, 2\) of float64 came"),
        (File(dtype=np.dtype(np.float32)), r"\(3, 2, 2\) of float32, and \(3, 2, 2\) of float64 came"),
        (File(shape=(9, 2, 2)), r"these rows are \(9, 2, 2\)"),
    ],
)
def test_a_stream_that_breaks_its_promise_is_told(file: File, words: str) -> None:
    rows = Stream(file, "x of mine:data")
    with pytest.raises(DataError, match=r"x of mine:data does not keep its promise: .*" + words):
        rows[:] if len(rows) == 9 else rows[:3]


def test_a_stream_that_fails_is_told_with_what_it_was_asked_for() -> None:
    class Broken(File):
        def __getitem__(self, chosen: Any) -> NDArray[Any]:
            raise OSError("disk on fire")

    with pytest.raises(DataError, match=r"was asked for 2:4 and raised OSError: disk on fire"):
        Stream(Broken(), "x")[2:4]
    with pytest.raises(DataError, match="was asked for an index array"):
        Stream(Broken(), "x")[[0, 2]]
