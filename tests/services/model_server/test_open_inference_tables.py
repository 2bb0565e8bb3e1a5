"""Tables in the Open Inference Protocol: one tensor for each column, or one for all; words, gaps, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.model_server.protocols.open_inference.datatypes import NUMBERS as DTYPES
from services.model_server.protocols.open_inference.framing import write_texts
from tests.services.model_server.parts import (
    NUMBER_ROWS,
    WORD_ROWS,
    FolderStore,
    Server,
    expected,
    run,
    serving,
    table_graph,
    write_kind,
    write_package,
)

INFER = "/v2/models/m/infer"
NAN = float("nan")


def column(name: str, data: Any, datatype: str = "FP32", shape: Any = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


NUMBERS = {
    "age": column("age", [39, 61, 20]),
    "bmi": column("bmi", [21.5, None, 30.25]),
    "s1": column("s1", [0.1, -0.2, 4]),
}
WORDS = {
    "age": column("age", [39, 61, 20, None]),
    "city": column("city", ["Oslo", "Rome", None, "São Paulo"], "BYTES"),
    "income": column("income", [1200.5, None, 0, 7]),
    "size": column("size", ["1", "", "x,y", "2"], "BYTES"),
}


@pytest.fixture
def table(tmp_path: Path, request: pytest.FixtureRequest) -> FolderStore:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", f"regression {request.param}"), "m", "1")
    return store


numbers = pytest.mark.parametrize("table", ["numbers"], indirect=True)
words = pytest.mark.parametrize("table", ["words"], indirect=True)
both = pytest.mark.parametrize("table", ["numbers", "words"], indirect=True)


def infer(store: FolderStore, tensors: Any, content: bytes | None = None, **headers: str) -> httpx.Response:
    async def work() -> httpx.Response:
        async with serving(store) as server:
            body = json.dumps({"inputs": list(tensors)}) if content is None else content
            return await server.client.post(INFER, content=body, headers=headers)

    response: httpx.Response = run(work())
    return response


def scores(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    (found,) = response.json()["outputs"]
    return np.reshape(found["data"], found["shape"])


@numbers
def test_metadata_has_one_tensor_for_each_column_of_numbers(table: FolderStore) -> None:
    async def work(server: Server) -> Any:
        return (await server.client.get("/v2/models/m")).json()

    body = run(over(table, work))
    assert body["inputs"] == [{"name": name, "datatype": "FP32", "shape": [-1]} for name in NUMBERS]
    assert body["outputs"] == [{"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}]


@words
def test_metadata_has_one_tensor_for_each_column_of_numbers_and_words(table: FolderStore) -> None:
    async def work(server: Server) -> Any:
        return (await server.client.get("/v2/models/m")).json()["inputs"]

    kinds = {entry["name"]: entry["datatype"] for entry in run(over(table, work))}
    assert kinds == {"age": "FP32", "city": "BYTES", "income": "FP32", "size": "BYTES"}


async def over(store: FolderStore, work: Any) -> Any:
    async with serving(store) as server:
        return await work(server)


@numbers
@pytest.mark.parametrize("shape", [[3], [3, 1]])
@pytest.mark.parametrize("order", [["age", "bmi", "s1"], ["s1", "age", "bmi"]])
def test_columns_of_numbers_come_in_any_order(
    table: FolderStore, tmp_path: Path, shape: list[int], order: list[str]
) -> None:
    found = scores(infer(table, [NUMBERS[name] | {"shape": shape} for name in order]))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", NUMBER_ROWS), rtol=1e-5)


@words
@pytest.mark.parametrize("shape", [[4], [4, 1]])
@pytest.mark.parametrize("order", [["age", "city", "income", "size"], ["size", "income", "age", "city"]])
def test_columns_of_numbers_and_words_come_in_any_order(
    table: FolderStore, tmp_path: Path, shape: list[int], order: list[str]
) -> None:
    found = scores(infer(table, [WORDS[name] | {"shape": shape} for name in order]))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", WORD_ROWS), rtol=1e-5)


@words
def test_columns_come_as_bytes(table: FolderStore, tmp_path: Path) -> None:
    parts = [
        np.array([39, 61, 20, NAN], "<f4").tobytes(),
        write_texts(["Oslo", "Rome", "", "São Paulo"]),
        np.array([1200.5, NAN, 0, 7], "<f8").tobytes(),
        write_texts(["1", "", "x,y", "2"]),
    ]
    tensors = [
        {"name": name, "datatype": datatype, "shape": [4], "parameters": {"binary_data_size": len(part)}}
        for name, datatype, part in zip(WORDS, ("FP32", "BYTES", "FP64", "BYTES"), parts, strict=True)
    ]
    head = json.dumps({"inputs": tensors}).encode()
    response = infer(table, [], head + b"".join(parts), **{"inference-header-content-length": str(len(head))})
    np.testing.assert_allclose(scores(response), expected(tmp_path / "v1", WORD_ROWS), rtol=1e-5)


@both
def test_all_columns_come_in_one_tensor_by_the_name_of_the_input(table: FolderStore, tmp_path: Path) -> None:
    contract = json.loads((tmp_path / "v1" / "contract.json").read_text())
    rows, datatype = (NUMBER_ROWS, "FP32") if contract["input"]["dtype"] == "float32" else (WORD_ROWS, "BYTES")
    data = json.loads(json.dumps(rows.tolist()).replace("NaN", "null"))
    wanted = expected(tmp_path / "v1", rows)
    found = scores(infer(table, [column("row", data, datatype, list(rows.shape))]))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    one = scores(infer(table, [column("row", data[0], datatype, [rows.shape[1]])]))
    np.testing.assert_allclose(one, wanted[0], rtol=1e-5)


@both
@pytest.mark.parametrize("listed", [True, False])
def test_one_row_without_its_batch_dimension_is_answered_in_kind(
    table: FolderStore, tmp_path: Path, listed: bool
) -> None:
    contract = json.loads((tmp_path / "v1" / "contract.json").read_text())
    columns, rows = (NUMBERS, NUMBER_ROWS) if contract["input"]["dtype"] == "float32" else (WORDS, WORD_ROWS)
    tensors = [
        entry | {"shape": [], "data": entry["data"][:1] if listed else entry["data"][0]} for entry in columns.values()
    ]
    found = scores(infer(table, tensors))
    assert found.shape == (1,)
    np.testing.assert_allclose(found, expected(tmp_path / "v1", rows)[0], rtol=1e-5)


@numbers
@pytest.mark.parametrize(
    "kinds",
    [
        ("UINT8", "FP16", "INT16"),
        ("INT64", "FP64", "FP32"),
        ("UINT64", "FP64", "INT32"),
        ("INT8", "FP32", "FP64"),
        ("UINT32", "FP64", "INT8"),
        ("UINT16", "FP16", "INT64"),
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_a_table_of_numbers_takes_numbers_of_every_kind(
    table: FolderStore, tmp_path: Path, kinds: tuple[str, ...], binary: bool
) -> None:
    cells: list[list[Any]] = [[39, 61, 20], [21.5, None, 30.25], [3, -2, 4]]
    tensors = [column(name, data, kind) for name, data, kind in zip(NUMBERS, cells, kinds, strict=True)]
    response = in_bytes(table, tensors) if binary else infer(table, tensors)
    rows = [[39, 21.5, 3], [61, np.nan, -2], [20, 30.25, 4]]
    np.testing.assert_allclose(scores(response), expected(tmp_path / "v1", rows), rtol=1e-5)


def in_bytes(store: FolderStore, tensors: list[dict[str, Any]]) -> httpx.Response:
    """Sends tensors of numbers as bytes behind the JSON."""
    head, content = [], b""
    for entry in tensors:
        part = np.array(entry["data"], dtype=np.float64).astype(DTYPES[entry["datatype"]]).tobytes()
        content += part
        head.append({name: entry[name] for name in ("name", "datatype", "shape")})
        head[-1]["parameters"] = {"binary_data_size": len(part)}
    text = json.dumps({"inputs": head}).encode()
    return infer(store, [], text + content, **{"inference-header-content-length": str(len(text))})


@numbers
@pytest.mark.parametrize("binary", [False, True])
def test_all_columns_of_numbers_in_one_tensor_may_be_of_every_kind(
    table: FolderStore, tmp_path: Path, binary: bool
) -> None:
    for kind, rows in (("INT64", [[39, 21, 3], [61, 7, -2]]), ("FP64", [[39, 21.5, 0.1], [61, 7, -0.2]])):
        tensor = column("row", rows, kind, [2, 3])
        response = in_bytes(table, [tensor]) if binary else infer(table, [tensor])
        np.testing.assert_allclose(scores(response), expected(tmp_path / "v1", rows), rtol=1e-5)


@both
@pytest.mark.parametrize("kind", ["INT64", "UINT64", "FP64"])
def test_numbers_with_more_digits_than_the_model_has_are_rounded_as_in_every_dialect(
    table: FolderStore, tmp_path: Path, kind: str
) -> None:
    contract = json.loads((tmp_path / "v1" / "contract.json").read_text())
    large = 2**24 + 1
    others = [column("bmi", [1]), column("s1", [1])]
    row: list[Any] = [large, 1, 1]
    if contract["input"]["dtype"] == "string":
        others = [WORDS[name] | {"shape": [1], "data": WORDS[name]["data"][:1]} for name in ("city", "income", "size")]
        row = [str(large), "Oslo", "1200.5", "1"]
    tensors = [column("age", [large], kind), *others]
    found = scores(infer(table, tensors))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", [row]), rtol=1e-6)

    async def work(server: Server) -> Any:
        return (await server.client.post("/v1/models/m:predict", json={"instances": [row]})).json()["predictions"]

    np.testing.assert_allclose(found, run(over(table, work)), rtol=1e-6)


@numbers
def test_a_number_beyond_the_models_own_is_infinite_and_counted_as_strange(table: FolderStore) -> None:
    async def work(server: Server) -> Any:
        tensors = [NUMBERS["age"] | {"datatype": "FP64", "data": [1e300, 1, 1]}, NUMBERS["bmi"], NUMBERS["s1"]]
        response = await server.client.post(INFER, json={"inputs": tensors})
        assert response.status_code == 200, response.text
        return (await server.client.get("/metrics")).text

    assert 'model_server_out_of_range_rows_total{model="m",version="1"} 1.0' in run(over(table, work))


@numbers
def test_words_are_no_numbers(table: FolderStore) -> None:
    refused = infer(table, [column("age", ["39", "61", "20"], "BYTES"), NUMBERS["bmi"], NUMBERS["s1"]])
    assert refused.status_code == 400
    assert refused.json()["error"] == ("Input 'age' is BYTES; this model takes FP32, and every other kind of number.")


@words
@pytest.mark.parametrize("datatype", ["INT8", "INT32", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES"])
def test_numbers_of_every_kind_become_the_texts_that_a_table_with_words_takes(
    table: FolderStore, tmp_path: Path, datatype: str
) -> None:
    ages = ["39", "61", "20", "5"] if datatype == "BYTES" else [39, 61, 20, 5]
    tensors = WORDS | {"age": column("age", ages, datatype), "size": column("size", [1, 2, 2, 1], "INT32")}
    rows = [
        ["39", "Oslo", "1200.5", "1"],
        ["61", "Rome", "nan", "2"],
        ["20", "", "0", "2"],
        ["5", "São Paulo", "7", "1"],
    ]
    np.testing.assert_allclose(scores(infer(table, tensors.values())), expected(tmp_path / "v1", rows), rtol=1e-5)


def without(columns: dict[str, Any], name: str) -> list[Any]:
    return [entry for other, entry in columns.items() if other != name]


@words
@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (without(WORDS, "city"), "The request has other columns than this model: missing: city."),
        ([*WORDS.values(), column("town", ["x"] * 4, "BYTES")], "unknown: town."),
        ([*WORDS.values(), WORDS["city"]], "twice: city."),
        ([*without(WORDS, "age"), column("age", [1, 2, 3])], "differ in length: 'age' is [3]"),
        ([*without(WORDS, "age"), column("age", [1, 2, 3, 4], shape=[2, 2])], "Expected [-1], got [2,2]"),
        ([*without(WORDS, "age"), column("age", [1, 2, 3, 4], shape=[1, 4])], "Expected [-1], got [1,4]"),
        ([*without(WORDS, "age"), column("age", [1, 2, 3, 4], shape=[4, 1, 1])], "got [4,1,1]"),
        ([*without(WORDS, "age"), column("age", [1, 2, 3], shape=[4])], "has 3 values in 'data'"),
        ([*without(WORDS, "city"), column("city", ["a"] * 3, "BYTES", [4])], "has 3 values in 'data'"),
        ([*without(WORDS, "age"), column("age", ["1", "old", "2", "3"], "BYTES")], "Column 'age' takes numbers"),
        ([*without(WORDS, "age"), column("age", [1, None, 2, 3], "INT64")], "Type: Null"),
        ([*without(WORDS, "age"), column("age", [1, True, 2, 3])], "true or false among its numbers"),
        ([*without(WORDS, "age"), column("age", [True] * 4, "BOOL")], "is BOOL; this model takes FP32"),
        ([*without(WORDS, "city"), column("city", [7, 8, 9, 1], "INT64")], "Column 'city' takes words"),
        ([*without(WORDS, "city"), column("city", [True] * 4, "BOOL")], "is BOOL; this model takes BYTES"),
        ([*without(WORDS, "city"), column("city", ["a", 1, "b", "c"], "BYTES")], "may have texts"),
        ([*without(WORDS, "city"), column("city", "abcd", "BYTES", [4])], "must have a list"),
        ([column(name, [], entry["datatype"]) for name, entry in WORDS.items()], "no rows"),
        ([column("row", [["1", "Oslo"]], "BYTES", [1, 2])], "Expected [-1,4], got [1,2]"),
        ([column("row", [[1, 2, 3, 4]], "FP32", [1, 4])], "is FP32; this model takes BYTES."),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(table: FolderStore, tensors: Any, told: str) -> None:
    response = infer(table, tensors)
    assert response.status_code == 400, response.text
    assert told in response.json()["error"]


@numbers
def test_no_rows_are_refused_for_numbers_too(table: FolderStore) -> None:
    response = infer(table, [column(name, []) for name in NUMBERS])
    assert response.status_code == 400
    assert "no rows" in response.json()["error"]


@pytest.mark.parametrize(
    ("dtype", "body", "row"), [("float32", np.array([3], "<f4").tobytes(), [[3]]), ("string", b"39", [["39"]])]
)
def test_a_table_of_one_column_takes_a_body_without_json(tmp_path: Path, dtype: str, body: bytes, row: Any) -> None:
    columns: list[dict[str, Any]] = [{"name": "age", "type": "number"}]
    if dtype == "string":
        columns = [{"name": "age", "type": "category", "words": ["39"]}]
    facts = {
        "task": "regression",
        "labels": [],
        "columns": columns,
        "input": {"name": "row", "dtype": dtype, "shape": [None, 1], "range": None},
        "output": {"name": "prediction", "dtype": "float32", "shape": [None, 1]},
    }
    graph = table_graph(columns, 1, "Identity", "prediction")
    store = FolderStore(tmp_path / "cache")
    golden = {"inputs": np.array(row, dtype=np.float32 if dtype == "float32" else None)}
    store.add(write_package(tmp_path / "v1", graph=graph, contract=facts, golden=golden), "m", "1")
    response = infer(store, [], body, **{"inference-header-content-length": "0"})
    assert response.status_code == 200, response.text
    found = np.frombuffer(response.content[-4:], "<f4")
    np.testing.assert_allclose(found, expected(tmp_path / "v1", row)[0], rtol=1e-6)
