"""A long list of numbers is read as if every number had been an object of its own: the same array or the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.model_server.errors import RequestError
from services.model_server.package import Contract
from services.model_server.protocols import bulk, tensors
from services.model_server.protocols.bulk import Numbers, load_bulk
from services.model_server.protocols.mlflow import reading as mlflow
from services.model_server.protocols.native import bodies
from services.model_server.protocols.open_inference.inputs import read_inputs
from services.model_server.protocols.open_inference.request import read_request
from services.model_server.protocols.tensors import as_batch, load_samples, refuse_booleans, to_array
from services.model_server.protocols.tf_serving import reading as tf_serving
from tests.services.model_server.drawn import contract_of
from tests.services.model_server.parts import FolderStore, ask, expected

Read = Callable[[bytes, Contract], Any]
PLACES = (("instances",), ("inputs",), ("inputs", 0, "data"))
CONTRACTS = {dtype: contract_of((2, 3), dtype=dtype) for dtype in ("float32", "float64", "int64", "int32", "uint8")}


def read_mlflow(body: bytes, contract: Contract) -> Any:
    request = load_samples(body, contract, mlflow._PLACES, tokens=True)
    return mlflow._parse(request, contract, body)


def read_tf_serving(body: bytes, contract: Contract) -> Any:
    request = load_samples(body, contract, tf_serving._PLACES, lenient=True)
    value, key = tf_serving._value(tf_serving._checked(request, "predict"))
    value = tf_serving._tensors(value, contract, key)
    refuse_booleans(body, value, contract.input)
    return *as_batch(to_array(value, contract.input), contract), key


def read_native(body: bytes, contract: Contract) -> Any:
    return bodies.read_json(body, None, {}, contract)


def read_open_inference(body: bytes, contract: Contract) -> Any:
    document = load_samples(body, contract, (("inputs", 0, "data"),), tokens=True)
    request = read_request(document, len(body), len(body), contract)
    return *read_inputs(request, body, contract), request.identity, request.as_is


DIALECTS: dict[str, Read] = {
    "mlflow": read_mlflow,
    "tf_serving": read_tf_serving,
    "native": read_native,
    "open_inference": read_open_inference,
}


@contextmanager
def from_bytes(shortest: int) -> Iterator[None]:
    """Bodies of so many bytes count as long."""
    before, bulk.SHORTEST_BYTES = bulk.SHORTEST_BYTES, shortest
    try:
        yield
    finally:
        bulk.SHORTEST_BYTES = before


def told(read: Read, body: bytes, contract: Contract) -> Any:
    """What a dialect makes of a body, so that it can be compared to the last bit."""
    try:
        rows, *more = read(body, contract)
    except (RequestError, RecursionError) as error:
        return type(error), str(error)
    return rows.dtype, rows.shape, rows.tobytes(), more


def both(body: bytes, contract: Contract) -> None:
    """Holds the two ways to read a body against each other, in every dialect."""
    for name, read in DIALECTS.items():
        with from_bytes(0):
            quick = told(read, body, contract)
        with from_bytes(1 << 40):
            slow = told(read, body, contract)
        assert quick == slow, (name, body)


# What may be where a number is: numbers as JSON writes them, nearly so, and other things.
EDGES = """-0 -0.0 0e5 1E+3 1e-400 1e308 4e-324 9007199254740993 9223372036854775808 18446744073709551615
3.4028235677973366e38 0.1000000000000000055511151231257827021181583404541015625"""
ODD = """1e400 NaN Infinity -Infinity 01 1. .5 +1 - 0x1 1e 1_0 true false null tru "1" "]" {} [] [1] [1,2] {"a":[1]}"""
numbers = st.one_of(
    st.integers(0, 255).map(str),
    st.integers(0, 255).map("{}.0".format),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(EDGES.split()),
)
oddities = st.sampled_from([*ODD.split(), "", '"(the numbers)"', "\ufeff1", "١"])
blanks = st.sampled_from(["", "", "", " ", "\n", "\t \r\n", "\x0c"])


@st.composite
def lists(draw: st.DrawFn) -> str:
    """JSON lists: most rectangular, some ragged, some with something else in them."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4) | st.sampled_from([[2, 2, 3], [2, 3], [1, 2, 3]]))
    ragged = draw(st.integers(0, 9)) == 0
    odd = draw(st.integers(0, 9)) == 0
    plain = draw(st.sampled_from([numbers, st.integers(0, 9).map(str), st.integers(0, 255).map("{}.0".format)]))
    cell = st.one_of(plain, plain, plain, oddities) if odd else plain
    comma = draw(st.sampled_from([",", ", ", " ,\n"]))

    def make(sizes: list[int]) -> str:
        if not sizes:
            return draw(cell)
        size = sizes[0] + (draw(st.integers(-1, 1)) if ragged else 0)
        depth = sizes[1:] if not ragged or draw(st.integers(0, 4)) else sizes[2:]
        return f"[{draw(blanks)}{comma.join(make(depth) for _ in range(size))}]"

    return make(shape)


AROUND = [
    '{"instances": @}',
    '{"inputs": @}',
    '{"inputs":@,"top_k":2}',
    '{"signature_name": "serving_default", "instances": @}',
    '{"instances": @, "params": {"a": [1, 2]}}',
    '{"instances": @, "instances": [[[1,2,3],[4,5,6]]]}',
    '{"instances": [[[1,2,3],[4,5,6]]], "instances": @}',
    '{"inst\\u0061nces": @}',
    '{"instances": @, "x": "(the numbers)"}',
    '{"instances": "(the numbers)", "x": @}',
    '{"instances": "(the n\\u0075mbers)", "x": @}',
    '{"instances": {"image": @}}',
    '{"inputs": {"image": @}}',
    '{"instances": [@, @]}',
    '{"instances": [[[1,2,3],[4,5,6]], @]}',
    '{"dataframe_split": {"data": @}}',
    '{"inputs": [{"name": "image", "shape": [2, 2, 3], "datatype": "FP32", "data": @}]}',
    '{"inputs": [{"name": "image", "shape": [2,3], "datatype": "INT64", "data": @, "parameters": {}}], "id": "7"}',
    '{"id": "a", "inputs": [{"data": @, "datatype": "UINT8", "shape": [ 2,2,3 ], "name": "image"}], "outputs": []}',
    '{"inputs": [{"name": "image", "shape": [2, 3], "datatype": "BOOL", "data": @}]}',
    '{"inputs": [{"name": "image", "shape": [1], "datatype": "FP32", "data": 1}, {"data": @}]}',
    '{"instances": @} trailing',
    '{"instances": @}}',
    '{"instances": @',
    "{@: 1}",
    '\ufeff{"instances": @}',
    '[{"instances": @}]',
    "@",
    '{"instances": "@"}',
    '{"instances": 1@}',
    '{"a": {"instances": @}, "instances": 1}',
]
dtypes = st.sampled_from(sorted(CONTRACTS))


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(AROUND), lists(), dtypes)
@example('{"instances": @}', "[[1,2],[3],[4,5,6]]", "float32")
@example('{"instances": @}', "[[1,2],[3,4],5]", "float32")
@example('{"instances": @}', "[[1],[],[2,3]]", "float32")
@example('{"instances": @}', "[[[1],[]],2]", "float32")
@example('{"instances": @}', "[[[1,2,3],[4,5,6]],[[1,2,3,4],[5,6]]]", "int64")
@example('{"instances": @}', "[[1,2],[[3,4]]]", "float64")
@example('{"instances": @}', "[[],[]]", "float32")
@example('{"instances": @}', "[2,[1]]", "float32")
@example('{"instances": @}', "[[2,[1]],[3,4]]", "float32")
@example('{"instances": @}', "[[[1,2,3],[4,null,6]]]", "int64")
@example('{"instances": @}', "[0,9223372036854775808]", "int64")
def test_a_list_is_read_as_it_is_without_the_short_cut(around: str, text: str, dtype: str) -> None:
    both(around.replace("@", text).encode(), CONTRACTS[dtype])


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(AROUND[:20]),
    lists(),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from('[],. -0e1"{}:\\\nt\x00\x80')), max_size=3),
    st.booleans(),
    dtypes,
)
def test_so_is_a_body_in_which_signs_are_wrong(
    around: str, text: str, changes: list[tuple[float, str]], insert: bool, dtype: str
) -> None:
    body = bytearray(around.replace("@", text).encode())
    for share, sign in changes:
        at = int(share * len(body))
        body[at : at + (not insert)] = sign.encode("latin-1")
    both(bytes(body), CONTRACTS[dtype])


@pytest.mark.parametrize("around", AROUND[:5])
@pytest.mark.parametrize("shape", [(64, 28, 28), (3000, 7), (20000,), (1, 20000), (20000, 1), (2, 3, 1, 5, 400)])
def test_a_long_list_becomes_an_array(around: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).normal(0, 100, shape)
    document = load_bulk(around.replace("@", json.dumps(values.tolist())).encode(), PLACES)
    found = document["instances" if "instances" in around else "inputs"]
    assert isinstance(found, Numbers)
    assert found.array.dtype == np.float64
    assert np.array_equal(found.array, values)
    assert found.listed() == values.tolist()


def _tensor(rows: Any) -> Any:
    data = [number for row in rows for line in row for number in line]
    return {"inputs": [{"name": "image", "shape": [len(rows), 2, 2], "datatype": "FP32", "data": data}]}


@pytest.mark.parametrize(
    ("path", "wrapped", "scores"),
    [
        ("/invocations", lambda rows: {"instances": rows}, lambda answer: answer["predictions"]),
        ("/invocations", lambda rows: {"inputs": rows, "params": {}}, lambda answer: answer["predictions"]),
        ("/v1/models/tiny:predict", lambda rows: {"instances": rows}, lambda answer: answer["predictions"]),
        ("/v1/models/tiny:predict", lambda rows: {"inputs": rows}, lambda answer: answer["outputs"]),
        ("/v2/models/tiny/infer", _tensor, lambda answer: np.reshape(answer["outputs"][0]["data"], (-1, 3))),
        (
            "/predict/tiny",
            lambda rows: {"inputs": rows, "top_k": 1},
            lambda answer: [one["probabilities"] for one in answer["predictions"]],
        ),
    ],
)
def test_every_dialect_answers_a_long_list(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, wrapped: Any, scores: Any
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("A long list was read number by number.")

    monkeypatch.setattr(tensors, "load_json", never)
    rows = np.random.default_rng(5).uniform(0, 16, (600, 2, 2)).tolist()
    answer = ask(store, "POST", path, wrapped(rows), {"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert np.allclose(scores(answer.json()), expected(tmp_path / "v1", rows), rtol=1e-4, atol=1e-6)


def test_whole_numbers_become_an_array_of_whole_numbers() -> None:
    values = np.random.default_rng(3).integers(-(2**62), 2**62, (40, 20, 7))
    body = json.dumps({"instances": values.tolist()}).encode()
    found = load_bulk(body, PLACES, whole=True)["instances"].array
    assert found.dtype == np.int64
    assert np.array_equal(found, values)
    assert load_bulk(body.replace(b"]]]", b", 1.0]]]"), PLACES, whole=True) is None


def test_the_data_of_an_open_inference_request_becomes_an_array_behind_its_shape() -> None:
    tensor = {"name": "image", "shape": [80, 2, 3, 10], "datatype": "FP32", "data": [0.5] * 4800, "parameters": {}}
    document = load_bulk(json.dumps({"id": "7", "inputs": [tensor], "outputs": []}).encode(), PLACES)
    assert document["inputs"][0]["shape"] == [80, 2, 3, 10]
    assert document["inputs"][0]["data"].array.shape == (4800,)
    assert document["outputs"] == []


@pytest.mark.parametrize(
    "odd",
    [
        *({0: [7]}, {-1: [7, 8, 9]}, {0: []}, {-1: 5}, {9: [[7, 8]]}, {3: [[7], [8]]}, {3: [7, 8, 9], 4: 7}),
        *({0: [7], -1: [7, 8, 9]}, {0: [7], 5: [7] * 3}, {3: [], 4: [7] * 4}, {3: True}, {3: ["7", 8]}, {3: [None, 8]}),
    ],
)
def test_a_ragged_list_is_left_to_others_however_long_it_is(odd: dict[int, Any]) -> None:
    rows: list[Any] = [[7, 8]] * 4000
    assert load_bulk(json.dumps({"instances": rows}).encode(), PLACES) is not None
    for place, row in odd.items():
        rows[place] = row
    assert load_bulk(json.dumps({"instances": rows}).encode(), PLACES) is None


def test_a_short_body_is_left_to_others() -> None:
    assert load_bulk(b'{"instances": [[1.0, 2.0]]}', PLACES) is None


def test_a_list_at_another_place_is_left_to_others() -> None:
    body = json.dumps({"other": [[0.5] * 40] * 100}).encode()
    assert load_bulk(body, PLACES) is None
    assert load_bulk(body, [("other",)]) is not None


def test_what_is_nested_too_deeply_is_left_to_others() -> None:
    body = b'{"instances": ' + b"[" * 9 + b"1," * 9000 + b"1" + b"]" * 9 + b"}"
    assert load_bulk(body, PLACES) is None
    assert load_bulk(body.replace(b"[" * 9, b"[" * 8).replace(b"]" * 9, b"]" * 8), PLACES) is not None


def test_the_parser_reads_on_after_a_failure() -> None:
    good = json.dumps({"instances": [[0.5] * 40] * 100}).encode()
    for bad in (good.replace(b"0.5]]", b"1" * 30 + b"]]"), good.replace(b"0.5]]", b"0.5.]]"), good[:-1]):
        assert load_bulk(bad, PLACES) is None
        assert load_bulk(good, PLACES)["instances"].array.shape == (100, 40)


def test_an_array_outlives_the_next_body() -> None:
    first = load_bulk(json.dumps({"instances": [[0.5] * 40] * 100}).encode(), PLACES)["instances"].array
    load_bulk(json.dumps({"instances": [[7.5] * 40] * 100}).encode(), PLACES)
    assert (first == 0.5).all()


def test_a_body_longer_than_the_memory_that_is_kept_is_read_as_well() -> None:
    values = [[0.125] * 500] * 700
    body = json.dumps({"instances": values}).encode()
    assert len(body) > 2 * bulk._KEPT_BYTES
    assert load_bulk(body, PLACES)["instances"].array.shape == (700, 500)
