"""`/invocations` held against MLflow's own scoring server: one table of requests, sent to both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.model_server.errors import (
    BadInput,
    BadRequest,
    DeadlineExceeded,
    ModelServerError,
    NotReady,
    Overloaded,
    PredictionFailed,
    Unauthorized,
    UnknownModel,
)
from tests.services.model_server.parts import FolderStore, expected, serving, write_kind

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
SAMPLE = [[1, 2], [3, 4], [5, 6]]
ROW = {"age": 39.0, "city": "Oslo", "income": 1200.5, "size": "1"}
NAMES, CELLS = list(ROW), list(ROW.values())
KINDS = {"grey": "multiclass grey", "words": "binary words"}
OTHER = ROW | {"age": 61.0, "city": "Rome"}


class Model:
    """What MLflow's server asks: the same graph, behind a data frame or a dictionary of arrays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def predict(self, data: Any, params: Any = None) -> Any:
        if isinstance(data, dict):
            return expected(self._folder, data["image"])
        if isinstance(data, np.ndarray):
            return expected(self._folder, data)
        if data.empty:
            return np.empty((0, 1), np.float32)
        rows = [["" if cell is None or cell != cell else str(cell) for cell in row] for row in data.values.tolist()]
        rows = [[cell or "nan" if place in (0, 2) else cell for place, cell in enumerate(row)] for row in rows]
        return expected(self._folder, np.array(rows, dtype=object).reshape(len(rows), len(NAMES)))


class Both:
    """MLflow's server and ours, each with the same models, without sockets."""

    def __init__(self, folder: Path) -> None:
        from mlflow.models import Model as Facts
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import PyFuncModel, scoring_server
        from mlflow.types import ColSpec, Schema, TensorSpec

        schemas = {
            "grey": Schema([TensorSpec(np.dtype("float32"), (-1, 3, 2), "image")]),
            "words": Schema([ColSpec("double" if name in ("age", "income") else "string", name) for name in NAMES]),
        }
        self._runner = asyncio.Runner()
        self._ours, self._theirs, self.engines = {}, {}, {}
        for name, kind in KINDS.items():
            store = FolderStore(folder / f"cache {name}")
            store.add(write_kind(folder / name, kind, name=name), name, "1")
            context = serving(store)
            server = self._runner.run(context.__aenter__())
            self._ours[name], self.engines[name] = (context, server.client), server.engine
            facts = Facts(signature=ModelSignature(inputs=schemas[name]))
            facts.flavors["python_function"] = {"loader_module": "none"}
            app = scoring_server.init(PyFuncModel(facts, Model(folder / name)))
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            self._theirs[name] = httpx.AsyncClient(transport=transport, base_url="http://theirs")

    def send(self, name: str, body: Any, headers: dict[str, str]) -> tuple[httpx.Response, httpx.Response]:
        content = body if isinstance(body, str) else json.dumps(body)

        async def work() -> tuple[httpx.Response, httpx.Response]:
            ours = await self._ours[name][1].post("/invocations", content=content, headers=headers)
            return ours, await self._theirs[name].post("/invocations", content=content, headers=headers)

        return self._runner.run(work())

    def close(self) -> None:
        for context, _ in self._ours.values():
            self._runner.run(context.__aexit__(None, None, None))
        for client in self._theirs.values():
            self._runner.run(client.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("both"))
    yield made
    made.close()


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: cell for name, cell in row.items() if name not in names}


HOLES: dict[str, list[dict[str, Any]]] = {
    "a number that only the first row has": [ROW, without(OTHER, "age")],
    "a word that only the last row has": [without(ROW, "city"), OTHER],
    "each row has another hole": [without(ROW, "city"), without(OTHER, "age", "income"), ROW],
    "more in one row": [ROW, OTHER | {"more": 3}],
    "more in each row, and holes": [without(ROW, "age") | {"more": 3}, OTHER | {"else": 4}],
    "nothing in one row": [ROW, {}],
}

ANSWERED: list[tuple[str, Any, dict[str, str]]] = [
    ("grey", {"inputs": [SAMPLE]}, JSON),
    ("grey", {"inputs": [SAMPLE, SAMPLE]}, {"content-type": "application/json; charset=UTF-8"}),
    ("grey", {"inputs": {"image": [SAMPLE]}}, JSON),
    ("grey", {"inputs": {"image": [SAMPLE], "more": 1}}, JSON),
    ("grey", {"instances": [SAMPLE, SAMPLE]}, JSON),
    ("grey", {"instances": [{"image": SAMPLE}]}, JSON),
    ("grey", {"inputs": [SAMPLE], "params": {}}, JSON),
    ("grey", {"inputs": [SAMPLE], "params": None, "signature_name": "x", "anything": 1}, JSON),
    ("words", {"dataframe_split": {"columns": NAMES, "data": [CELLS]}}, JSON),
    ("words", {"dataframe_split": {"columns": NAMES[::-1], "index": [7], "data": [CELLS[::-1]]}}, JSON),
    ("words", {"dataframe_split": {"columns": [*NAMES, "more"], "data": [[*CELLS, 1], [*CELLS, 2]]}}, JSON),
    ("words", {"dataframe_records": [ROW]}, JSON),
    ("words", {"dataframe_records": [ROW | {"more": 2}]}, JSON),
    ("words", {"inputs": [ROW]}, JSON),
    ("words", {"instances": [ROW, ROW]}, JSON),
    ("words", {"inputs": {name: [cell] for name, cell in ROW.items()}}, JSON),
    ("words", {"inputs": ROW}, JSON),
    ("words", "age,city,income,size\n39,Oslo,1200.5,1\n61,Rome,7,2", CSV),
    ("words", "size,age,city,income\r\n1,39,Oslo,1200.5\r\n", CSV),
    ("words", "age,more,city,income,size\n39,x,Oslo,1200.5,1", CSV),
]


ANSWERED += [("words", {"dataframe_records": rows}, JSON) for rows in HOLES.values()]
ANSWERED += [("words", {"inputs": rows}, JSON) for rows in HOLES.values()]
ANSWERED += [
    ("words", {key: [ROW, OTHER | cells]}, JSON)
    for key in ("dataframe_records", "inputs", "instances")
    for cells in (
        {"age": "39"},
        {"age": "39 "},
        {"age": "NaN"},
        {"age": "1e1"},
        {"age": None},
        {"city": 5},
        {"city": 5.5},
        {"city": None},
        {"size": 1},
    )
]
ANSWERED += [("words", {"inputs": [ROW], "params": params}, JSON) for params in ([1], "x", 5, True, {"a": 1})]


@pytest.mark.parametrize(("name", "body", "headers"), ANSWERED)
def test_what_mlflow_answers_is_answered_alike(both: Both, name: str, body: Any, headers: dict[str, str]) -> None:
    ours, theirs = both.send(name, body, headers)
    assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
    assert ours.json().keys() == theirs.json().keys()
    np.testing.assert_allclose(ours.json()["predictions"], theirs.json()["predictions"], rtol=1e-5)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"dataframe_split": {"columns": NAMES, "data": []}}, JSON),
        ({"dataframe_split": {"columns": [*NAMES, "more"], "data": [], "index": []}}, JSON),
        ({"inputs": {name: [] for name in NAMES}}, JSON),
        ("age,city,income,size\n", CSV),
        ("more,size,age,city,income", CSV),
    ],
)
def test_a_data_frame_without_rows_is_answered_without_asking_the_model(
    both: Both, body: Any, headers: dict[str, str]
) -> None:
    ours, theirs = both.send("words", body, headers)
    assert (ours.status_code, theirs.status_code) == (200, 200), (ours.text, theirs.text)
    assert ours.json() == theirs.json() == {"predictions": []}
    assert ours.headers["content-type"] == theirs.headers["content-type"]


REFUSED: list[tuple[str, Any, dict[str, str]]] = [
    ("grey", {}, JSON),
    ("grey", [], JSON),
    ("grey", "", JSON),
    ("grey", "{", JSON),
    ("grey", "null", JSON),
    ("grey", json.dumps({"inputs": [SAMPLE]}) + " x", JSON),
    ("grey", {"inputs": [SAMPLE], "instances": [SAMPLE]}, JSON),
    ("grey", {"inputs": [SAMPLE], "dataframe_split": {}}, JSON),
    ("grey", {"inputs": []}, JSON),
    ("grey", {"inputs": 5}, JSON),
    ("grey", {"inputs": None}, JSON),
    ("grey", {"inputs": [[[1, 2], [3, 4]]]}, JSON),
    ("grey", {"inputs": {"other": [SAMPLE]}}, JSON),
    ("grey", {"instances": [5]}, JSON),
    ("grey", {"dataframe_split": {"index": [0]}}, JSON),
    ("grey", {"dataframe_split": [1]}, JSON),
    ("grey", {"dataframe_records": {}}, JSON),
    ("grey", "1,2", CSV),
    ("grey", {"inputs": [SAMPLE]}, {"content-type": "text/plain"}),
    ("grey", {"inputs": [SAMPLE]}, {"content-type": "application/json; charset=latin1"}),
    ("grey", {"inputs": [SAMPLE]}, {"content-type": "application/json; x=1"}),
    ("words", "", CSV),
    ("words", "age,city,income\n", CSV),
    ("words", {"inputs": []}, JSON),
    ("words", {"instances": []}, JSON),
    ("words", {"dataframe_records": []}, JSON),
    ("words", {"dataframe_records": [{}]}, JSON),
    ("words", {"dataframe_records": [without(ROW, "age"), without(OTHER, "age")]}, JSON),
    ("words", {"dataframe_split": {"data": []}}, JSON),
    ("words", {"dataframe_split": {"columns": NAMES[:2], "data": []}}, JSON),
    ("words", {"inputs": {"age": []}}, JSON),
]
CELLS_REFUSED: list[tuple[str, Any, dict[str, str]]] = [
    ("words", {key: [ROW, OTHER | cells]}, JSON)
    for key in ("dataframe_records", "inputs", "instances")
    for cells in ({"age": "old"}, {"age": ""})
] + [
    ("words", {"instances": [ROW, without(OTHER, "age")]}, JSON),
    ("grey", {"dataframe_split": {"columns": ["image"], "data": []}}, JSON),
]


@pytest.mark.parametrize(("name", "body", "headers"), CELLS_REFUSED)
def test_cells_that_mlflow_refuses_are_refused(both: Both, name: str, body: Any, headers: dict[str, str]) -> None:
    ours, theirs = both.send(name, body, headers)
    assert (ours.status_code, theirs.status_code) == (400, 400)
    assert ours.json()["error_code"] == "INVALID_PARAMETER_VALUE"  # MLflow says BAD_REQUEST of some


@pytest.mark.parametrize(("name", "body", "headers"), REFUSED)
def test_what_mlflow_refuses_is_refused_alike(both: Both, name: str, body: Any, headers: dict[str, str]) -> None:
    ours, theirs = both.send(name, body, headers)
    assert 400 <= ours.status_code < 500
    assert ours.status_code == theirs.status_code
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    if ours.status_code == 400:
        wanted = {key: value for key, value in theirs.json().items() if key not in ("message", "stack_trace")}
        assert wanted.keys() == {"error_code", "sqlstate", "error_class"}
        assert ours.json() == wanted | {"message": ours.json()["message"]}


@pytest.mark.parametrize(
    "error",
    [BadRequest, BadInput, Unauthorized, UnknownModel, Overloaded, NotReady, DeadlineExceeded, PredictionFailed],
)
def test_an_error_of_any_kind_has_the_classes_that_mlflow_gives_it(
    both: Both, monkeypatch: pytest.MonkeyPatch, error: type[ModelServerError]
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    async def failing(*_: Any) -> None:
        raise error("Why.")

    monkeypatch.setattr(both.engines["grey"], "predict", failing)
    ours, _ = both.send("grey", {"inputs": [SAMPLE]}, JSON)
    code = ours.json()["error_code"]
    classes = {"error_class": "SCHEMA_ENFORCEMENT_FAILED"} if error is BadInput else {}  # as schema enforcement does
    theirs = MlflowException("Why.", error_code=ErrorCode.Value(code), **classes)
    assert ours.json() == json.loads(theirs.serialize_as_json())  # type: ignore[no-untyped-call]
    assert ours.status_code == theirs.get_http_status_code()  # type: ignore[no-untyped-call]


def test_what_mlflow_crashes_on_is_a_400(both: Both) -> None:
    ours, theirs = both.send("grey", {"inputs": [SAMPLE]}, {})
    assert (ours.status_code, theirs.status_code) == (400, 500)
    assert ours.json()["error_code"] == "BAD_REQUEST"


def test_nan_is_a_null_where_mlflow_writes_what_is_no_json(both: Both) -> None:
    for body in ('{"inputs": [[[NaN, 2], [3, 4], [5, 6]]]}', {"inputs": [[[None, 2], [3, 4], [5, 6]]]}):
        ours, theirs = both.send("grey", body, JSON)
        assert "NaN" in theirs.text
        assert ours.json() == {"predictions": [[None, None, None]]}
        assert "null" in ours.headers["x-warning"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("grey", {"inputs": SAMPLE}),
        ("grey", {"instances": SAMPLE}),
        ("grey", {"inputs": {"image": SAMPLE}}),
        ("words", {"inputs": CELLS}),
    ],
)
def test_one_sample_without_its_list_is_answered_in_kind_where_mlflow_refuses_it(
    both: Both, name: str, body: Any
) -> None:
    ours, theirs = both.send(name, body, JSON)
    assert (ours.status_code, theirs.status_code) == (200, 400)
    assert np.ndim(ours.json()["predictions"]) == 1


@pytest.mark.parametrize("cells", [{"age": True}, {"city": False}])
def test_booleans_are_refused_where_mlflow_makes_numbers_and_words_of_them(both: Both, cells: dict[str, Any]) -> None:
    ours, theirs = both.send("words", {"dataframe_records": [ROW | cells]}, JSON)
    assert (ours.status_code, theirs.status_code) == (400, 200)


def test_cells_that_are_missing_without_being_named_are_bounded(both: Both) -> None:
    ours, _ = both.send("words", {"dataframe_records": [ROW, *([{}] * 300_000)]}, JSON)
    assert ours.status_code == 400
    assert "leave out more than 1048576 cells; send null" in ours.json()["message"]
