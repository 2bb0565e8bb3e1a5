"""The binary tensor extension: numbers and texts as bytes both ways, and frames that lie about themselves."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.open_inference.datatypes import NUMBERS, from_bytes
from services.model_server.protocols.open_inference.framing import json_length, read_texts, write_texts
from services.model_server.protocols.open_inference.inputs import read_inputs
from services.model_server.protocols.open_inference.request import read_request
from tests.services.model_server.parts import FolderStore, expected, run, serving, write_kind, write_package
from tests.services.model_server.test_tables import contract_of

INFER = "/v2/models/tiny/infer"
HEADER = "inference-header-content-length"
ROWS = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], dtype=np.float32)

CONTRACT = Contract.model_validate(
    {
        "format": 1,
        "name": "tiny",
        "input": {"name": "image", "dtype": "float32", "shape": [None, 2, 2]},
        "output": {"name": "probabilities", "dtype": "float32", "shape": [None, 3]},
        "labels": ["zero", "one", "two"],
    }
)


def frame(document: Any, *parts: bytes, length: Any = None) -> tuple[bytes, dict[str, str]]:
    """A body of JSON and bytes, and its header; `length` is what the header says instead of the truth."""
    head = json.dumps(document).encode()
    return b"".join((head, *parts)), {HEADER: str(len(head) if length is None else length)}


def tensor(size: int | None, shape: Sequence[int] = (2, 2, 2), datatype: str = "FP32", name: str = "image") -> Any:
    parameters = {} if size is None else {"binary_data_size": size}
    return {"name": name, "datatype": datatype, "shape": list(shape), "parameters": parameters}


def send(store: FolderStore, content: bytes, headers: dict[str, str], path: str = INFER, **more: Any) -> httpx.Response:
    async def work() -> httpx.Response:
        async with serving(store, **more) as server:
            return await server.client.post(path, content=content, headers=headers)

    response: httpx.Response = run(work())
    return response


HEAD = json.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": [2, 2, 2]}]}).encode()


@pytest.mark.parametrize(
    "content", [HEAD + ROWS.tobytes(), ROWS.tobytes(), ROWS.astype("u1").tobytes(), b'{"a": \xff}']
)
def test_bytes_without_the_header_that_says_so_are_told_which_one_is_missing(
    store: FolderStore, content: bytes
) -> None:
    response = send(store, content, {})
    assert response.status_code == 400
    assert "JSON Parse error: " in response.json()["error"]
    assert "need the header Inference-Header-Content-Length: how many bytes" in response.json()["error"]
    told = send(store, content, {HEADER: str(len(content))}).json()["error"]
    assert "need the header" not in told


@pytest.mark.parametrize("content", [b'{"inputs": [', b'{"inputs": []} more', "{ü\t\r\n".encode(), b" "])
def test_a_slip_in_the_json_is_told_as_one(store: FolderStore, content: bytes) -> None:
    response = send(store, content, {})
    assert response.status_code == 400
    assert response.json()["error"].startswith("JSON Parse error: ")
    assert "Inference-Header" not in response.json()["error"]


def decoded(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    """The JSON and the bytes of an answer, as a client takes it apart."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(HEADER, len(response.content)))
    document = json.loads(response.content[:length])
    assert isinstance(document, dict)
    return document, response.content[length:]


# ------------------------------------------------------------------------------------------------------------ both ways

WANTED = [{"name": "probabilities", "parameters": {"binary_data": True}}]
JSON_WANTED = [{"name": "probabilities", "parameters": {"binary_data": False}}]


@pytest.mark.parametrize(
    ("more", "binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"parameters": {"binary_data_output": False}}, False),
        ({"outputs": WANTED}, True),
        ({"outputs": JSON_WANTED}, False),
        ({"outputs": WANTED, "parameters": {"binary_data_output": False}}, True),
        ({"outputs": JSON_WANTED, "parameters": {"binary_data_output": True}}, False),
        ({"outputs": [{"name": "probabilities"}], "parameters": {"binary_data_output": True}}, True),
    ],
)
@pytest.mark.parametrize("sent", ["bytes", "json"])
def test_bytes_and_json_are_taken_and_answered_as_wanted(
    store: FolderStore, tmp_path: Path, more: Any, binary: bool, sent: str
) -> None:
    if sent == "bytes":
        content, headers = frame({"inputs": [tensor(32)], "id": "i", **more}, ROWS.tobytes())
    else:
        plain = {"name": "image", "datatype": "FP32", "shape": [2, 2, 2], "data": ROWS.ravel().tolist()}
        content, headers = json.dumps({"inputs": [plain], "id": "i", **more}).encode(), {}
    response = send(store, content, headers)
    document, rest = decoded(response)
    (output,) = document["outputs"]
    assert (document["id"], output["datatype"], output["shape"]) == ("i", "FP32", [2, 3])
    assert (HEADER in response.headers) == binary
    assert response.headers["content-type"] == ("application/octet-stream" if binary else "application/json")
    if binary:
        assert "data" not in output
        assert output["parameters"] == {"binary_data_size": len(rest)}
    found = np.frombuffer(rest, "<f4").reshape(2, 3) if binary else np.reshape(output["data"], (2, 3))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", ROWS), rtol=1e-6)


def test_a_header_as_long_as_the_body_means_that_all_of_it_is_json(store: FolderStore) -> None:
    plain = {"name": "image", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}
    document, rest = decoded(send(store, *frame({"inputs": [plain]})))
    assert rest == b""
    assert document["outputs"][0]["shape"] == [1, 3]


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("FP16", np.array([0.1, 65504, -2, 6e-8], "<f2")),
        ("FP32", np.array([0.1, 3e38, -2, 1e-40], "<f4")),
        ("UINT8", np.array([0, 255, 1, 2], "u1")),
        ("INT8", np.array([-128, 127, 1, 2], "i1")),
        ("UINT16", np.array([0, 65535, 1, 2], "<u2")),
        ("INT16", np.array([-32768, 32767, 1, 2], "<i2")),
        ("BOOL", np.array([True, False, False, True])),
    ],
)
@pytest.mark.parametrize("padding", range(4))
def test_every_datatype_that_fits_comes_as_bytes_wherever_they_lie(
    tmp_path: Path, datatype: str, values: NDArray[Any], padding: int
) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", activation="Identity"), "tiny", "1")
    entry = tensor(values.nbytes, (1, 2, 2), datatype)
    response = send(store, *frame({"inputs": [entry], "id": "x" * padding, "outputs": WANTED}, values.tobytes()))
    _, rest = decoded(response)
    wanted = expected(tmp_path / "v1", values.astype(np.float32).reshape(1, 2, 2))
    np.testing.assert_allclose(np.frombuffer(rest, "<f4").reshape(1, 3), wanted, rtol=1e-6)


def test_bf16_is_the_upper_half_of_an_fp32() -> None:
    values = np.array([1.5, -2.0, 3.0e38, 0.0, np.inf, np.nan], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = from_bytes(b"x" + halves, "BF16", 1, 6)
    np.testing.assert_allclose(found, [1.5, -2.0, 2.99e38, 0.0, np.inf, np.nan], rtol=1e-2)
    assert found.dtype == np.float32


def test_bytes_are_not_copied_where_the_processor_can_use_them_as_they_lie() -> None:
    body = b"head" + np.arange(4, dtype="<f4").tobytes()
    found = from_bytes(body, "FP32", 4, 4)
    assert found.base is not None
    assert np.shares_memory(found, np.frombuffer(body, np.uint8))
    shifted = from_bytes(b"h" + body, "FP32", 5, 4)
    assert shifted.flags.aligned
    np.testing.assert_array_equal(found, shifted)


@pytest.mark.parametrize("padding", range(4))
def test_what_the_model_computes_from_is_the_body_itself(padding: int) -> None:
    content, _ = frame({"inputs": [tensor(32)]}, b"")
    head = content + b" " * ((padding - len(content)) % 4)
    body = head + ROWS.tobytes()
    request = read_request(json.loads(head), len(head), len(body), CONTRACT)
    rows, single = read_inputs(request, body, CONTRACT)
    np.testing.assert_array_equal(rows, ROWS)
    assert not single
    assert rows.flags.aligned
    assert np.shares_memory(rows, np.frombuffer(body, np.uint8)) == (padding == 0)


def test_packed_bytes_are_unpacked_before_their_length_is_looked_at(store: FolderStore) -> None:
    content, headers = frame({"inputs": [tensor(32)], "outputs": WANTED}, ROWS.tobytes())
    packed = send(store, gzip.compress(content), headers | {"content-encoding": "gzip"})
    assert decoded(packed)[1] == decoded(send(store, content, headers))[1]


# ---------------------------------------------------------------------------------------------------------- raw bodies


@pytest.mark.parametrize("count", [1, 2])
def test_a_body_without_json_is_one_tensor_and_is_answered_in_bytes(
    store: FolderStore, tmp_path: Path, count: int
) -> None:
    response = send(store, ROWS[:count].tobytes(), {HEADER: "0"})
    document, rest = decoded(response)
    assert document["outputs"][0]["shape"] == [count, 3]
    found = np.frombuffer(rest, "<f4").reshape(count, 3)
    np.testing.assert_allclose(found, expected(tmp_path / "v1", ROWS[:count]), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 15, 17, 31])
def test_a_body_without_json_must_be_whole_samples(store: FolderStore, size: int) -> None:
    response = send(store, bytes(size), {HEADER: "0"})
    assert response.status_code == 400
    assert f"has {size} bytes; one sample of input 'image' is 16: FP32 of shape [2,2]." in response.json()["error"]


def test_a_body_without_json_is_for_models_of_one_input(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression numbers"), "tiny", "1")
    response = send(store, bytes(12), {HEADER: "0"})
    assert response.status_code == 400
    assert "has 3 inputs" in response.json()["error"]


def test_an_empty_body_is_no_tensor(store: FolderStore) -> None:
    response = send(store, b"", {HEADER: "0"})
    assert response.status_code == 400
    assert "empty" in response.json()["error"]


# --------------------------------------------------------------------------------------------------- frames that lie

DATA = ROWS.tobytes()
GOOD = {"inputs": [tensor(32)]}


@pytest.mark.parametrize(
    "length", ["-1", "+5", "1e2", "0x10", "", " ", "9" * 30, str(10**6), "12,13", "١٢", "1.0", "NaN", "true"]
)
def test_a_length_of_the_json_that_cannot_be_is_refused(length: str) -> None:
    with pytest.raises(BadRequest, match="a whole number from 0 to 500"):
        json_length(length, 500)


def test_a_length_of_the_json_that_is_too_long_or_negative_is_refused_over_http(store: FolderStore) -> None:
    for length in (-1, 10**9, "99999999999999999999999", "x"):
        response = send(store, *frame(GOOD, DATA, length=length))
        assert response.status_code == 400
        assert "Inference-Header-Content-Length" in response.json()["error"]


@pytest.mark.parametrize("shift", [-40, -3, -1, 1, 3, 20])
def test_a_length_of_the_json_that_is_off_is_refused(store: FolderStore, shift: int) -> None:
    content, headers = frame(GOOD, DATA)
    response = send(store, content, {HEADER: str(int(headers[HEADER]) + shift)})
    assert response.status_code == 400, response.text
    assert "JSON Parse error" in response.json()["error"]


@pytest.mark.parametrize(
    ("entries", "parts", "told"),
    [
        ([tensor(33)], DATA + b"x", "has 33 bytes by its binary_data_size; FP32 of its shape has 4 for each of 8"),
        ([tensor(28)], DATA[:28], "has 28 bytes by its binary_data_size"),
        ([tensor(32)], DATA[:31], "binary_data_size from 0 to 31"),
        ([tensor(32)], b"", "binary_data_size from 0 to 0"),
        ([tensor(32)], DATA + b"more", "4 bytes of the body belong to no tensor"),
        ([tensor(-32)], DATA, "binary_data_size from 0 to 32"),
        ([tensor(2**63)], DATA, "binary_data_size from 0 to 32"),
        ([tensor(10**400)], DATA, "binary_data_size from 0 to 32"),
        ([tensor(32, (2**31, 2**31, 2**31))], DATA, "for each of 9903520314283042199"),
        ([tensor(32, (2**62, 2, 2))], DATA, "for each of 18446744073709551616"),
        ([tensor(0, (0, 2, 2))], b"", "no rows"),
        ([tensor(0, (0, 2**62, 2**62))], b"", "Expected [-1,2,2]"),
        ([tensor(None)], DATA, "neither 'data' nor"),
        ([tensor(32), tensor(32)], DATA, "binary_data_size from 0 to 0"),
        ([tensor(16, (1, 2, 2)), tensor(16, (1, 2, 2))], DATA, "nothing else, got: image, image"),
        ([tensor(64, datatype="FP64")], bytes(64), "is FP64; this model takes FP32"),
        ([tensor(32, datatype="BYTES")], DATA, "is BYTES; this model takes FP32"),
        ([tensor(32, (2, 4))], DATA, "got [2,4]"),
        ([tensor(32) | {"data": [1]}], DATA, "has both"),
        ([tensor(32) | {"parameters": {"binary_data_size": "32"}}], DATA, "binary_data_size from 0 to 32"),
        ([tensor(32) | {"parameters": {"binary_data_size": 32.0}}], DATA, "binary_data_size from 0 to 32"),
        ([tensor(32) | {"parameters": {"binary_data_size": True}}], DATA, "binary_data_size from 0 to 32"),
        ([tensor(32) | {"parameters": {"binary_data_size": None}}], DATA, "binary_data_size from 0 to 32"),
    ],
)
def test_a_frame_that_lies_about_its_tensors_is_refused(
    store: FolderStore, entries: Any, parts: bytes, told: str
) -> None:
    response = send(store, *frame({"inputs": entries}, parts))
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert told in response.json()["error"]


def test_bytes_that_nothing_speaks_for_are_refused(store: FolderStore) -> None:
    plain = {"name": "image", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}
    response = send(store, *frame({"inputs": [plain]}, b"12345"))
    assert response.status_code == 400
    assert "5 bytes of the body belong to no tensor" in response.json()["error"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_bytes_come_are_answered_or_refused(kept: Kept, data: st.DataObject) -> None:
    content, headers = frame(GOOD, DATA)
    body = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                body[place] = data.draw(st.integers(0, 255))
            case "cut":
                del body[place : place + data.draw(st.integers(1, 9))]
            case _:
                body[place:place] = data.draw(st.binary(max_size=9))
    length = data.draw(st.one_of(st.just(headers[HEADER]), st.integers(-5, len(content) + 5).map(str)))
    response = kept.send(bytes(body), {HEADER: length})
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        assert len(response.json()["error"]) < 600


class Kept:
    """One server for many requests."""

    def __init__(self, folder: Path) -> None:
        store = FolderStore(folder / "cache")
        store.add(write_package(folder / "v1", seed=1), "tiny", "1")
        self._runner = asyncio.Runner()
        self._context = serving(store)
        self._server = self._runner.run(self._context.__aenter__())

    def send(self, content: bytes, headers: dict[str, str]) -> httpx.Response:
        response: httpx.Response = self._runner.run(self._server.client.post(INFER, content=content, headers=headers))
        return response

    def close(self) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    made = Kept(tmp_path_factory.mktemp("kept"))
    yield made
    made.close()


# --------------------------------------------------------------------------------------------------------- round trips


@given(st.lists(st.text()))
def test_texts_come_out_as_they_went_in(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    written = write_texts(texts)
    body = b"abc" + written + b"d"
    assert read_texts(body, 3, 3 + len(written), len(texts), "x") == texts


@given(st.binary(max_size=40), st.integers(0, 12))
def test_bytes_that_are_no_texts_are_refused_and_never_read_beyond_their_end(content: bytes, count: int) -> None:
    body = content + struct.pack("<I", 1) + b"secret"
    try:
        texts = read_texts(body, 0, len(content), count, "x")
    except BadInput:
        return
    assert write_texts(texts) == content


@pytest.mark.parametrize(
    ("content", "count", "told"),
    [
        (b"", 1, "do not add up"),
        (b"\x01\0\0", 1, "do not add up"),
        (b"\x02\0\0\0a", 1, "do not add up"),
        (b"\xff\xff\xff\xffa", 1, "do not add up"),
        (b"\x01\0\0\0ab", 1, "do not add up"),
        (b"\x01\0\0\0a", 2, "do not add up"),
        (b"\x01\0\0\0a", 10**12, "do not add up"),
        (b"\x01\0\0\0a\0\0\0\0", 1, "do not add up"),
        (b"\x01\0\0\0\xff", 1, "not UTF-8"),
    ],
)
def test_texts_whose_lengths_lie_are_refused(content: bytes, count: int, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        read_texts(content, 0, len(content), count, "x")


numbers = [name for name in NUMBERS if name not in ("BOOL", "BF16")]


@given(st.data(), st.sampled_from(numbers), st.integers(0, 8))
def test_numbers_come_out_as_they_went_in(data: st.DataObject, datatype: str, shift: int) -> None:
    dtype = NUMBERS[datatype]
    content = data.draw(st.binary(max_size=64))
    count = len(content) // dtype.itemsize
    content = content[: count * dtype.itemsize]
    found = from_bytes(b"x" * shift + content, datatype, shift, count)
    assert found.tobytes() == content
    assert (found.dtype, found.shape) == (dtype, (count,))


@given(
    rows=st.integers(1, 5),
    values=st.data(),
    order=st.permutations(["age", "city", "size"]),
    ways=st.lists(st.booleans(), min_size=3, max_size=3),
    column=st.booleans(),
)
def test_a_table_comes_out_as_it_went_in_whatever_lies_where(
    rows: int, values: st.DataObject, order: list[str], ways: list[bool], column: bool
) -> None:
    contract = contract_of(("age", None), ("city", ["Oslo"]), ("size", None))
    floats = st.lists(st.floats(width=32, allow_nan=False, min_value=-1e6, max_value=1e6), min_size=rows, max_size=rows)
    words = st.lists(st.text(st.characters(codec="utf-8")), min_size=rows, max_size=rows)
    cells: dict[str, Any] = {
        "age": values.draw(floats), "city": values.draw(words), "size": values.draw(floats),
    }  # fmt: skip
    entries, parts = [], []
    for name, binary in zip(order, ways, strict=True):
        entry: dict[str, Any] = {
            "name": name,
            "datatype": "BYTES" if name == "city" else "FP32",
            "shape": [rows, 1] if column else [rows],
        }
        if binary:
            part = write_texts(cells[name]) if name == "city" else np.array(cells[name], "<f4").tobytes()
            parts.append(part)
            entry["parameters"] = {"binary_data_size": len(part)}
        else:
            entry["data"] = cells[name]
        entries.append(entry)
    content, headers = frame({"inputs": entries}, *parts)
    start = json_length(headers[HEADER], len(content))
    request = read_request(json.loads(content[:start]), start, len(content), contract)
    found, single = read_inputs(request, content, contract)
    assert not single
    assert found[:, 1].tolist() == cells["city"]
    for place, name in ((0, "age"), (2, "size")):
        np.testing.assert_array_equal([np.float32(text) for text in found[:, place]], np.float32(cells[name]))
