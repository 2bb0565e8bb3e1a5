from __future__ import annotations

import math
from collections import Counter, deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.packing import Unpackable, check, pack, unpack


def through(value: Any) -> Any:
    return unpack(b"".join(pack(value)))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.builds(Path, st.text("abc/", min_size=1))
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(st.floats(allow_nan=False), min_size=10, max_size=30)
        | st.lists(st.integers(), min_size=10, max_size=30)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
        | st.builds(deque, st.lists(inner), st.none() | st.integers(0, 5))
    ),
    max_leaves=15,
)


@given(VALUES)
def test_a_value_comes_back_as_what_it_was_in_every_type(value: Any) -> None:
    check(value)
    back = through(value)
    assert back == value
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple | deque)
    assert types(back) == types(value)


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return dict, [(types(key), types(one)) for key, one in value.items()]
    if isinstance(value, deque):
        return deque, value.maxlen, [types(one) for one in value]
    return (type(value), [types(one) for one in value]) if isinstance(value, list | tuple) else type(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1 + 0.2], ids=str)
@pytest.mark.parametrize("length", [1, 40])
def test_every_float_keeps_its_bits(value: float, length: int) -> None:
    back = through([value] * length)
    assert type(back[0]) is float
    assert np.asarray(back).tobytes() == np.asarray([value] * length).tobytes()


@pytest.mark.parametrize(
    "dtype",
    [
        "float32", "float64", "float16", "int8", "uint64", "bool", "complex64", "<U5", "S3", ">f4", "datetime64[s]",
        ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4,
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)], ids=str)
def test_arrays_of_every_type_and_shape_keep_their_bits(dtype: Any, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    array = np.arange(count).astype(np.int64).astype(dtype).reshape(shape)
    back = through({"it": array})["it"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    back[...] = back  # can be written to


def test_scalars_of_numpy_stay_what_they_are() -> None:
    for scalar in (np.float32(0.1), np.int64(-3), np.bool_(True), ml_dtypes.bfloat16(1.5)):
        back = through([scalar])[0]
        assert (type(back), back) == (type(scalar), scalar)


def test_an_array_that_is_no_block_of_memory_is_packed_as_it_reads() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(through(array.T[::2]), array.T[::2])


def test_an_array_that_is_there_twice_is_packed_once() -> None:
    array = np.zeros(1000)
    once, twice = (sum(map(len, map(bytes, pack(value)))) for value in ([array], [array, array]))
    assert twice < once + 100
    first, second = through([array, array])
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        SimpleNamespace(),
        np.array([object()], dtype=object),
        np.zeros(2, [("a", "f4")]),
        len,
        (one for one in "ab"),
        {"deep": [1, {2: object()}]},
        type("Floats", (float,), {})(0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_packed_says_so(value: Any) -> None:
    with pytest.raises(Unpackable, match="cannot be packed"):
        check(value)
    with pytest.raises(Unpackable, match="cannot be packed"):
        pack(value)


def test_a_value_that_contains_itself_says_so() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Unpackable, match="contains itself"):
        check(value)


def test_a_counter_comes_back_as_the_dict_that_it_is() -> None:
    assert through(Counter("abca")) == {"a": 2, "b": 1, "c": 1}
