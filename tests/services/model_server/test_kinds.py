"""Every task and every form of input, in every dialect: the answer is what the graph says, in the words of the task."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.services.model_server.parts import (
    NUMBER_ROWS,
    NUMBERS,
    TASKS,
    WORD_ROWS,
    WORDS,
    FolderStore,
    Server,
    expected,
    serving,
    write_kind,
)

FORMS = ("grey", "colour", "numbers", "words")
KINDS = [f"{task} {form}" for task in TASKS for form in FORMS]
TABLES = [kind for kind in KINDS if kind.endswith(("numbers", "words"))]
JSON, CSV = {"content-type": "application/json"}, {"content-type": "text/csv"}

COLUMNS = {
    "numbers": [column["name"] for column in NUMBERS],
    "words": [column["name"] for column in WORDS],
}
# The rows of `parts` as a client writes them: null where something is missing.
ROWS: dict[str, list[Any]] = {
    "grey": np.arange(18).reshape(3, 3, 2).tolist(),
    "colour": np.arange(36).reshape(2, 3, 2, 3).tolist(),
    "numbers": [[39, 21.5, 0.1], [61, None, -0.2], [20, 30.25, 4]],
    "words": [[39, "Oslo", 1200.5, "1"], [61, "Rome", None, None], [20, None, 0, "x,y"], [None, "São Paulo", 7, "2"]],
}


class Servers:
    """A running server for every kind, started when it is asked for the first time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runner = asyncio.Runner()
        self._running: dict[str, tuple[Any, Server]] = {}

    def package(self, kind: str) -> Path:
        return self._folder / kind

    def send(self, kind: str, method: str, path: str, body: Any = None, headers: Any = None) -> httpx.Response:
        """Sends one request; a str or bytes body goes as it is, anything else as JSON."""
        if kind not in self._running:
            store = FolderStore(self._folder / f"cache of {kind}")
            store.add(write_kind(self.package(kind), kind), "m", "1")
            context = serving(store)
            self._running[kind] = (context, self._runner.run(context.__aenter__()))
        content = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        client = self._running[kind][1].client
        response: httpx.Response = self._runner.run(client.request(method, path, content=content, headers=headers))
        return response

    def close(self) -> None:
        for context, _ in self._running.values():
            self._runner.run(context.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("kinds"))
    yield servers
    servers.close()


def scores_of(predictions: list[dict[str, Any]], kind: str) -> NDArray[Any]:
    """The outputs (n, k) behind the own dialect's answers."""
    if kind.startswith("regression"):
        return np.array([[prediction["value"]] for prediction in predictions])
    scores = np.array([prediction["probabilities"] for prediction in predictions])
    return scores[:, 1:] if kind.startswith("binary") else scores


def by_name(rows: list[Any], names: list[str], order: random.Random | None = None) -> list[dict[str, Any]]:
    names_in_order = names if order is None else order.sample(names, len(names))
    return [{name: row[names.index(name)] for name in names_in_order} for row in rows]


def columns_of(rows: list[Any], names: list[str]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def frame_of(rows: list[Any], names: list[str], seed: int = 1) -> dict[str, Any]:
    places = random.Random(seed).sample(range(len(names)), len(names))
    return {"columns": [names[place] for place in places], "data": [[row[place] for place in places] for row in rows]}


def csv_of(rows: list[Any], names: list[str], seed: int = 2) -> bytes:
    frame, text = frame_of(rows, names, seed), io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_MINIMAL).writerows([frame["columns"], *frame["data"]])
    return text.getvalue().encode()


PREDICT, OWN, SCORE, INFER = "/v1/models/m:predict", "/predict/m", "/invocations", "/v2/models/m/infer"

# How a client asks for rows, and how the scores come back, by dialect and form of the request.
Ask = Callable[[Servers, str, list[Any]], Any]
ANY_FORM: dict[str, Ask] = {
    "tf_serving instances": lambda s, k, rows: s.send(k, "POST", PREDICT, {"instances": rows}).json()["predictions"],
    "tf_serving inputs": lambda s, k, rows: s.send(k, "POST", PREDICT, {"inputs": rows}).json()["outputs"],
    "tf_serving named input": lambda s, k, rows: s.send(k, "POST", PREDICT, {"inputs": {input_of(k): rows}}).json()[
        "outputs"
    ],
    "tf_serving named instances": lambda s, k, rows: s.send(
        k, "POST", PREDICT, {"instances": [{input_of(k): row} for row in rows]}
    ).json()["predictions"],
    "tf_serving single": lambda s, k, rows: [
        s.send(k, "POST", PREDICT, {"instances": row}).json()["predictions"] for row in rows
    ],
    "own list": lambda s, k, rows: scores_of(s.send(k, "POST", OWN, {"inputs": rows}).json()["predictions"], k),
    "own single": lambda s, k, rows: scores_of(
        [s.send(k, "POST", OWN, {"inputs": row}).json()["prediction"] for row in rows], k
    ),
    "mlflow inputs": lambda s, k, rows: s.send(k, "POST", SCORE, {"inputs": rows}, JSON).json()["predictions"],
    "mlflow single": lambda s, k, rows: [
        s.send(k, "POST", SCORE, {"inputs": row}, JSON).json()["predictions"] for row in rows
    ],
    "mlflow single instance": lambda s, k, rows: [
        s.send(k, "POST", SCORE, {"instances": row}, JSON).json()["predictions"] for row in rows
    ],
    "mlflow instances": lambda s, k, rows: s.send(k, "POST", SCORE, {"instances": rows}, JSON).json()["predictions"],
    "mlflow named input": lambda s, k, rows: s.send(k, "POST", SCORE, {"inputs": {input_of(k): rows}}, JSON).json()[
        "predictions"
    ],
    "v2 json": lambda s, k, rows: output_of(s.send(k, "POST", INFER, {"inputs": [tensor_of(rows, k)]})),
    "v2 single": lambda s, k, rows: [
        output_of(s.send(k, "POST", INFER, {"inputs": [tensor_of(row, k)]})) for row in rows
    ],
    "mlflow frame of the input": lambda s, k, rows: s.send(
        k, "POST", SCORE, {"dataframe_split": {"columns": [input_of(k)], "data": [[row] for row in rows]}}, JSON
    ).json()["predictions"],
}
ONLY_TABLES: dict[str, Ask] = {
    "tf_serving objects": lambda s, k, rows: s.send(
        k, "POST", PREDICT, {"instances": by_name(rows, names_of(k), random.Random(3))}
    ).json()["predictions"],
    "tf_serving objects of lists": lambda s, k, rows: s.send(
        k, "POST", PREDICT, {"instances": by_name([[[cell] for cell in row] for row in rows], names_of(k))}
    ).json()["predictions"],
    "tf_serving columns": lambda s, k, rows: s.send(
        k, "POST", PREDICT, {"inputs": columns_of(rows, names_of(k))}
    ).json()["outputs"],
    "tf_serving columns of lists": lambda s, k, rows: s.send(
        k, "POST", PREDICT, {"inputs": columns_of([[[cell] for cell in row] for row in rows], names_of(k))}
    ).json()["outputs"],
    "tf_serving single object": lambda s, k, rows: [
        s.send(k, "POST", PREDICT, {key: row}).json()[answer]
        for row in by_name(rows, names_of(k))
        for key, answer in [random.Random(str(row)).choice([("instances", "predictions"), ("inputs", "outputs")])]
    ],
    "own objects": lambda s, k, rows: scores_of(
        s.send(k, "POST", OWN, {"inputs": by_name(rows, names_of(k), random.Random(4))}).json()["predictions"], k
    ),
    "own columns": lambda s, k, rows: scores_of(
        s.send(k, "POST", OWN, {"inputs": columns_of(rows, names_of(k))}).json()["predictions"], k
    ),
    "own single object": lambda s, k, rows: scores_of(
        [s.send(k, "POST", OWN, {"inputs": row}).json()["prediction"] for row in by_name(rows, names_of(k))], k
    ),
    "v2 columns": lambda s, k, rows: output_of(s.send(k, "POST", INFER, {"inputs": tensors_of(rows, k)})),
    "mlflow columns": lambda s, k, rows: s.send(
        k, "POST", SCORE, {"inputs": columns_of(rows, names_of(k))}, JSON
    ).json()["predictions"],
    "mlflow single object": lambda s, k, rows: [
        s.send(k, "POST", SCORE, {"inputs": row}, JSON).json()["predictions"][0] for row in by_name(rows, names_of(k))
    ],
    "mlflow objects": lambda s, k, rows: s.send(
        k, "POST", SCORE, {"instances": by_name(rows, names_of(k))}, JSON
    ).json()["predictions"],
    "mlflow dataframe_split": lambda s, k, rows: s.send(
        k, "POST", SCORE, {"dataframe_split": frame_of(rows, names_of(k))}, JSON
    ).json()["predictions"],
    "mlflow dataframe_split without names": lambda s, k, rows: s.send(
        k, "POST", SCORE, {"dataframe_split": {"data": rows}}, JSON
    ).json()["predictions"],
    "mlflow dataframe_records": lambda s, k, rows: s.send(
        k, "POST", SCORE, {"dataframe_records": by_name(rows, names_of(k), random.Random(5))}, JSON
    ).json()["predictions"],
    "mlflow csv": lambda s, k, rows: s.send(k, "POST", SCORE, csv_of(rows, names_of(k)), CSV).json()["predictions"],
}


def input_of(kind: str) -> str:
    return "image" if kind.endswith(("grey", "colour")) else "row"


def names_of(kind: str) -> list[str]:
    return COLUMNS[kind.split()[1]]


def tensor_of(rows: Any, kind: str) -> dict[str, Any]:
    """Rows, or one of them, as one tensor of the Open Inference Protocol; a table with words goes as texts."""
    texts = kind.endswith("words")
    array = np.array(rows, dtype=object)
    data = [None if cell is None else str(cell) if texts else cell for cell in array.ravel()]
    datatype = "BYTES" if texts else "FP32"
    return {"name": input_of(kind), "shape": list(array.shape), "datatype": datatype, "data": data}


def tensors_of(rows: list[Any], kind: str) -> list[dict[str, Any]]:
    """A table as one tensor for each column, in another order than the model's."""
    words = {column["name"] for column in WORDS if column["type"] == "category"} if kind.endswith("words") else set()
    return [
        {"name": name, "shape": [len(rows)], "datatype": "BYTES" if name in words else "FP32", "data": cells}
        for name, cells in reversed(columns_of(rows, names_of(kind)).items())
    ]


def output_of(response: httpx.Response) -> Any:
    """The output of the Open Inference Protocol, in its shape."""
    (output,) = response.json()["outputs"]
    return np.reshape(output["data"], output["shape"])


def wanted(servers: Servers, kind: str) -> NDArray[np.float32]:
    """What the graph of a kind says to `ROWS`."""
    servers.send(kind, "GET", "/models")  # it writes the package
    form = kind.split()[1]
    rows = {"numbers": NUMBER_ROWS, "words": WORD_ROWS}.get(form)
    return expected(servers.package(kind), ROWS[form] if rows is None else rows)


@pytest.mark.parametrize("form", ANY_FORM)
@pytest.mark.parametrize("kind", KINDS)
def test_every_dialect_answers_every_kind(servers: Servers, kind: str, form: str) -> None:
    found = ANY_FORM[form](servers, kind, ROWS[kind.split()[1]])
    np.testing.assert_allclose(np.array(found, dtype=float), wanted(servers, kind), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ONLY_TABLES)
@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_taken_by_rows_by_names_and_by_columns(servers: Servers, kind: str, form: str) -> None:
    found = ONLY_TABLES[form](servers, kind, ROWS[kind.split()[1]])
    np.testing.assert_allclose(np.array(found, dtype=float), wanted(servers, kind), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------- one row in every form


def none_if_not_finite(score: Any) -> Any:
    return None if score is None or not np.isfinite(score) else score


numbers = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.floats(width=32))
words = st.one_of(
    st.none(), st.sampled_from(["Oslo", "Rome", "São Paulo", "1", "2", "x,y"]), st.text(st.characters(codec="utf-8"))
)
ROW_STRATEGIES = {
    "numbers": st.tuples(*[numbers] * len(NUMBERS)).map(list),
    "words": st.tuples(*[numbers if column["type"] == "number" else words for column in WORDS]).map(list),
}


@pytest.mark.parametrize("form", ["numbers", "words"])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), seed=st.integers(0, 999))
def test_a_row_gets_the_same_answer_in_whatever_form_it_comes(
    servers: Servers, form: str, data: st.DataObject, seed: int
) -> None:
    kind, names = f"regression {form}", COLUMNS[form]
    row = data.draw(ROW_STRATEGIES[form])
    answers = {
        "list": servers.send(kind, "POST", PREDICT, {"instances": [row]}),
        "single": servers.send(kind, "POST", PREDICT, {"instances": row}),
        "object": servers.send(kind, "POST", PREDICT, {"instances": by_name([row], names, random.Random(seed))}),
        "columns": servers.send(kind, "POST", PREDICT, {"inputs": columns_of([row], names)}),
        "frame": servers.send(kind, "POST", SCORE, {"dataframe_split": frame_of([row], names, seed)}, JSON),
        "csv": servers.send(kind, "POST", SCORE, csv_of([row], names, seed), CSV),
    }
    found = {}
    for name, response in answers.items():
        assert response.status_code == 200, (name, response.text)
        (scores,) = response.json().values()
        found[name] = none_if_not_finite(np.ravel(np.array(scores, dtype=float))[0])
    assert len(set(found.values())) == 1, found


# ------------------------------------------------------------------------------------------------- answers by the task


@pytest.mark.parametrize("form", FORMS)
def test_a_binary_answer_names_the_label_from_one_half_on(servers: Servers, form: str) -> None:
    kind = f"binary {form}"
    body = servers.send(kind, "POST", OWN, {"inputs": ROWS[form]}).json()
    for found, (second,) in zip(body["predictions"], wanted(servers, kind).tolist(), strict=True):
        label, probability = ("yes", second) if second >= 0.5 else ("no", 1 - second)
        assert found["label"] == label
        assert found["probability"] == pytest.approx(probability, abs=1e-6)
        assert [entry["label"] for entry in found["top"]] == [label, "no" if label == "yes" else "yes"]
        assert found["probabilities"] == pytest.approx([1 - second, second], abs=1e-6)


def test_a_probability_of_one_half_is_the_second_label() -> None:
    from services.model_server.package import Contract
    from services.model_server.protocols.native import describe

    contract = Contract.model_validate(
        {
            "format": 1,
            "name": "m",
            "task": "binary",
            "labels": ["no", "yes"],
            "input": {"name": "x", "dtype": "float32", "shape": [None, 1]},
            "output": {"name": "probability", "dtype": "float32", "shape": [None, 1]},
        }
    )
    outputs = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(0))], [np.nan]], dtype=np.float32)
    assert [found["label"] for found in describe(outputs, contract, 3)] == ["yes", "no", "no"]
    assert [len(found["top"]) for found in describe(outputs, contract, 1)] == [1, 1, 1]


@pytest.mark.parametrize("form", FORMS)
def test_a_regression_is_answered_with_its_value_and_its_name_and_no_labels(servers: Servers, form: str) -> None:
    kind = f"regression {form}"
    body = servers.send(kind, "POST", OWN, {"inputs": ROWS[form][0]}).json()
    value = pytest.approx(float(wanted(servers, kind)[0, 0]), rel=1e-5)
    assert body["prediction"] == {"value": value, "target": "progress"}


def examples_of(form: str) -> list[dict[str, Any]]:
    if form in ("grey", "colour"):
        return [{"image": np.ravel(row).tolist()} for row in ROWS[form]]
    return by_name(ROWS[form], COLUMNS[form])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_tf_serving_classifies_what_has_labels(servers: Servers, task: str, form: str) -> None:
    kind = f"{task} {form}"
    response = servers.send(kind, "POST", "/v1/models/m:classify", {"examples": examples_of(form)})
    assert response.status_code == 200, response.text
    scores = wanted(servers, kind)
    if task == "binary":
        scores = np.concatenate([1 - scores, scores], axis=1)
    for result, row in zip(response.json()["results"], scores, strict=True):
        assert [label for label, _ in result] == list(TASKS[task][2])
        np.testing.assert_allclose([score for _, score in result], row, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_tf_serving_regresses_what_has_a_value(servers: Servers, form: str) -> None:
    kind = f"regression {form}"
    response = servers.send(kind, "POST", "/v1/models/m:regress", {"examples": examples_of(form)})
    assert response.status_code == 200, response.text
    np.testing.assert_allclose(response.json()["results"], wanted(servers, kind)[:, 0], rtol=1e-5)


def test_examples_share_the_features_of_their_context_and_may_name_the_input(servers: Servers) -> None:
    kind, first = "regression words", ROWS["words"][0]
    whole = by_name([first], COLUMNS["words"])[0]
    shared = {name: [whole.pop(name)] for name in ("city", "size")}
    for body in (
        {"context": shared, "examples": [whole]},
        {"examples": [{"row": first}]},
        {"examples": [{**whole, "city": [{"b64": "T3Nsbw=="}], "size": {"b64": "MQ=="}}]},
    ):
        response = servers.send(kind, "POST", "/v1/models/m:regress", body)
        assert response.status_code == 200, response.text
        assert response.json()["results"] == pytest.approx(wanted(servers, kind)[0].tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "verb", "told"),
    [
        ("multiclass grey", "regress", "use :classify or :predict"),
        ("binary words", "regress", "use :classify or :predict"),
        ("regression numbers", "classify", "use :regress or :predict"),
    ],
)
def test_the_wrong_verb_for_a_model_is_refused_with_the_right_one(
    servers: Servers, kind: str, verb: str, told: str
) -> None:
    response = servers.send(kind, "POST", f"/v1/models/m:{verb}", {"examples": examples_of(kind.split()[1])})
    assert response.status_code == 400
    assert f"signature method_name to be tensorflow/serving/{verb}." in response.json()["error"]
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [{}, {"examples": []}, {"examples": [3]}, {"examples": {"age": 3}}, {"examples": [{"row": 1}], "context": 3}],
)
def test_examples_of_another_form_are_refused(servers: Servers, body: Any) -> None:
    response = servers.send("regression numbers", "POST", "/v1/models/m:regress", body)
    assert response.status_code == 400
    assert "error" in response.json()


@pytest.mark.parametrize(
    ("kind", "dtype", "sizes"),
    [
        ("binary grey", "DT_FLOAT", ["-1", "3", "2"]),
        ("binary colour", "DT_FLOAT", ["-1", "3", "2", "3"]),
        ("regression numbers", "DT_FLOAT", ["-1", "3"]),
        ("multiclass words", "DT_STRING", ["-1", "4"]),
    ],
)
def test_metadata_says_the_type_and_shape_of_every_kind(
    servers: Servers, kind: str, dtype: str, sizes: list[str]
) -> None:
    body = servers.send(kind, "GET", "/v1/models/m/metadata").json()
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    tensor = signature["inputs"][input_of(kind)]
    assert (tensor["dtype"], [dim["size"] for dim in tensor["tensor_shape"]["dim"]]) == (dtype, sizes)
    assert list(signature["outputs"]) == [TASKS[kind.split()[0]][0]]


# --------------------------------------------------------------------------------------------------- what people see


@pytest.mark.parametrize("kind", KINDS)
def test_models_and_samples_say_what_goes_in_and_what_is_true(servers: Servers, kind: str) -> None:
    task, form = kind.split()
    (entry,) = servers.send(kind, "GET", "/models").json()["models"]
    body = servers.send(kind, "GET", "/models/m/samples?count=2").json()
    for told in (entry, body):
        assert (told["task"], told["target"], told["labels"]) == (task, "progress", list(TASKS[task][2]))
        assert [column["name"] for column in told["columns"]] == COLUMNS.get(form, [])
    assert entry["samples"] == body["total"]
    for sample in body["samples"]:
        assert len(sample["output"]) == entry["output"]["shape"][1]
        if task == "regression":
            assert sample["value"] == pytest.approx(sample["output"][0] + 1, rel=1e-5)
            assert "label" not in sample
        else:
            assert sample["label"] == TASKS[task][2][sample["class"]]
            assert "value" not in sample


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_sent_back_gets_its_stored_output(servers: Servers, kind: str) -> None:
    samples = servers.send(kind, "GET", "/models/m/samples").json()["samples"]
    found = servers.send(kind, "POST", PREDICT, {"instances": [sample["input"] for sample in samples]})
    np.testing.assert_allclose(
        found.json()["predictions"], [sample["output"] for sample in samples], rtol=1e-5, atol=1e-6
    )


def test_samples_of_a_table_are_cells_as_people_write_them(servers: Servers) -> None:
    samples = servers.send("binary words", "GET", "/models/m/samples").json()["samples"]
    assert [sample["input"] for sample in samples] == ROWS["words"]
