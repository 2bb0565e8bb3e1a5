"""Each dialect answers as its clients expect: one table of requests and answers for each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.model_server.errors import DeadlineExceeded, Overloaded, PredictionFailed
from services.model_server.protocols.tf_serving.answers import encode
from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, Server, ask, expected, run, serving, write_package

ONE = [[1.0, 2.0], [3.0, 4.0]]
TWO = [[5, 6], [7, 8]]
NAN = float("nan")


def close(found: Any, wanted: Any) -> bool:
    return bool(np.allclose(np.asarray(found, dtype=np.float64), wanted, rtol=1e-5))


# --------------------------------------------------------------------------------------------------- TensorFlow Serving

TFS = "/v1/models/tiny:predict"


@pytest.mark.parametrize(
    ("path", "body", "key", "rows"),
    [
        (TFS, {"instances": [ONE, TWO]}, "predictions", [ONE, TWO]),
        (TFS, {"instances": [{"image": ONE}, {"image": TWO}]}, "predictions", [ONE, TWO]),
        (TFS, {"inputs": [ONE]}, "outputs", [ONE]),
        (TFS, {"inputs": {"image": [ONE, TWO]}}, "outputs", [ONE, TWO]),
        (TFS, {"signature_name": "serving_default", "instances": [ONE]}, "predictions", [ONE]),
        (TFS, {"signature_name": "", "instances": [ONE]}, "predictions", [ONE]),
        (TFS, json.dumps({"instances": [ONE]}) + "  trailing", "predictions", [ONE]),
        (TFS, "\ufeff" + json.dumps({"instances": [ONE]}), "predictions", [ONE]),
        (TFS, {"inputs": {"image": [ONE, TWO], "id": [7]}}, "outputs", [ONE, TWO]),
        (TFS, {"signature_name": "tensorflow/serving/predict", "instances": [ONE]}, "predictions", [ONE]),
        ("/v1/models/tiny/versions/1:predict", {"instances": [ONE]}, "predictions", [ONE]),
        ("/v1/models/tiny/labels/champion:predict", {"instances": [ONE]}, "predictions", [ONE]),
        ("/V1/MODELS/tiny/Versions/01:PREDICT", {"instances": [ONE]}, "predictions", [ONE]),
        ("/v1/models/t%69ny:predict", {"instances": [ONE]}, "predictions", [ONE]),
    ],
)
def test_tf_serving_predicts(store: FolderStore, tmp_path: Path, path: str, body: Any, key: str, rows: Any) -> None:
    response = ask(store, "POST", path, body)
    assert response.status_code == 200, response.text
    assert list(response.json()) == [key]
    assert close(response.json()[key], expected(tmp_path / "v1", rows))


@pytest.mark.parametrize(("body", "key"), [({"instances": ONE}, "predictions"), ({"inputs": ONE}, "outputs")])
def test_tf_serving_answers_a_single_sample_in_kind(store: FolderStore, tmp_path: Path, body: Any, key: str) -> None:
    assert close(ask(store, "POST", TFS, body).json()[key], expected(tmp_path / "v1", [ONE])[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", TFS, "", 400, "JSON Parse error: The document is empty"),
        ("POST", TFS, "{", 400, "JSON Parse error"),
        ("POST", TFS, "[1]", 400, "must be a JSON object"),
        ("POST", TFS, "[" * 5000, 400, "JSON Parse error"),
        ("POST", TFS, {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", TFS, {"instances": [ONE], "inputs": [ONE]}, 400, "both"),
        ("POST", TFS, {"instances": []}, 400, "one or more samples"),
        ("POST", TFS, {"instances": 3}, 400, "must be a list"),
        ("POST", TFS, {"inputs": []}, 400, "shape (0)"),
        ("POST", TFS, {"instances": [{"other": ONE}]}, 400, "takes 'image' and nothing else"),
        ("POST", TFS, {"instances": [{"image": ONE, "id": 7}]}, 400, "takes 'image' and nothing else"),
        ("POST", TFS, {"inputs": {"id": [7]}}, 400, "takes 'image'"),
        ("POST", TFS, "\ufeff", 400, "JSON Parse error: The document is empty"),
        ("POST", TFS, "\ufeff" * 5000 + "{}", 400, "JSON Parse error"),
        ("POST", TFS, {"instances": [{"image": ONE}, TWO]}, 400, "all tensors or all objects"),
        ("POST", TFS, {"instances": [[1, 2, 3]]}, 400, "has shape (1, 3); this model takes (N, 2, 2)"),
        ("POST", TFS, {"instances": [ONE, [[1], [2]]]}, 400, "ragged"),
        ("POST", TFS, {"instances": [[["a", 2], [3, 4]]]}, 400, 'JSON Value: "a" Type: String is not of expected type'),
        ("POST", TFS, {"instances": [[["1", "2"], ["3", "4"]]]}, 400, "Type: String"),
        ("POST", TFS, {"instances": [[[True, 2], [3, 4]]]}, 400, "Type: Boolean"),
        ("POST", TFS, {"instances": [[[False, False], [True, True]]]}, 400, "Type: Boolean"),
        ("POST", TFS, {"instances": [[[None, 2], [3, 4]]]}, 400, "Type: Null"),
        (
            "POST",
            TFS,
            {"signature_name": "other", "instances": [ONE]},
            400,
            'Serving signature name: "other" not found',
        ),
        ("POST", TFS, {"signature_name": 1, "instances": [ONE]}, 400, "'signature_name' must be a string"),
        ("POST", "/v1/models/none:predict", {"instances": [ONE]}, 404, "Servable not found for request: Latest(none)"),
        ("POST", "/v1/models/tiny/versions/9:predict", {"instances": [ONE]}, 404, "Specific(tiny, 9)"),
        *(
            ("POST", TFS, {"signature_name": f"tensorflow/serving/{verb}", "instances": [ONE]}, 400, "not found in")
            for verb in ("classify", "regress", "x")
        ),
        ("POST", "/v1/models/tiny/versions/99999999999999999999:predict", {}, 400, "Failed to convert version"),
        ("GET", "/v1/models/tiny/versions/99999999999999999999", None, 400, "Failed to convert version"),
        *(
            (
                method,
                f"/v1/models/tiny/versions/{version}{verb}",
                {},
                400,
                f"Malformed request: {method} /v1/models/tiny",
            )
            for version in ("abc", "1.0", "-1", "%31", "")
            for method, verb in (("GET", ""), ("GET", "/metadata"), ("POST", ":predict"))
        ),
        ("POST", "/v1/foo", {}, 400, "Malformed request: POST /v1/foo"),
        ("GET", TFS, None, 400, "Malformed request: GET"),
        ("POST", "/v1/models/tiny", {}, 400, "Malformed request: POST"),
        ("POST", "/v1/models/tiny:regress", {}, 400, ":predict"),
        ("POST", "/v1/models", {}, 400, "Malformed request: POST /v1/models"),
        ("GET", "/v1/models/none", None, 404, "Could not find any versions of model none"),
        ("GET", "/v1/models/tiny/versions/7", None, 404, "Could not find version 7 of model tiny"),
        ("GET", "/v1/models/none/metadata", None, 404, "Servable not found"),
    ],
)
def test_tf_serving_says_what_is_wrong(
    store: FolderStore, method: str, path: str, body: Any, status: int, told: str
) -> None:
    response = ask(store, method, path, body)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert told in response.json()["error"]
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/tiny/labels/sta%20ble"),
        ("GET", "/v1/models/tiny/labels/sta%20ble/metadata"),
        ("POST", "/v1/models/tiny/labels/sta%20ble:predict"),
        ("POST", "/v1/models/tiny/labels/sta%20ble:classify"),
    ],
)
def test_tf_serving_has_one_sentence_for_a_label_that_it_does_not_know(
    store: FolderStore, method: str, path: str
) -> None:
    response = ask(store, method, path, {"instances": [ONE]})
    assert (response.status_code, response.json()) == (
        400,
        {"error": "Unrecognized servable version label: sta ble"},
    )


def test_tf_serving_status_serves_its_own_clients_and_kserve(store: FolderStore) -> None:
    entry = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    wanted = {"model_version_status": [entry], "name": "tiny", "ready": True}
    for path in ("/v1/models/tiny", "/v1/models/tiny/versions/1", "/v1/models/tiny/labels/champion"):
        response = ask(store, "GET", path)
        assert (response.status_code, response.json()) == (200, wanted)


def test_the_models_of_v1_are_listed_as_kserve_does_ready_or_not(store: FolderStore, tmp_path: Path) -> None:
    store.add(write_package(tmp_path / "other", name="other"), "other", "1")
    wanted = {
        "models": [
            Ref("tiny", "champion"),
            Ref("other", "champion"),
            Ref("tiny", "previous"),
            Ref("absent", "champion"),
        ]
    }
    for path in ("/v1/models", "/v1/models/", "/V1/Models"):
        response = ask(store, "GET", path, **wanted)
        assert (response.status_code, response.json()) == (200, {"models": ["absent", "other", "tiny"]})


def test_tf_serving_metadata_says_names_types_and_shapes(store: FolderStore) -> None:
    body = ask(store, "GET", "/v1/models/tiny/metadata").json()
    assert body["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    tensor = signature["inputs"]["image"]
    assert tensor["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in tensor["tensor_shape"]["dim"]] == ["-1", "2", "2"]
    assert list(signature["outputs"]) == ["probabilities"]


def test_tf_serving_classifies_with_the_labels_of_the_model(store: FolderStore, tmp_path: Path) -> None:
    response = ask(store, "POST", "/v1/models/tiny:classify", {"examples": [{"image": [1, 2, 3, 4]}]})
    (result,) = response.json()["results"]
    assert [label for label, _ in result] == ["zero", "one", "two"]
    assert close([score for _, score in result], expected(tmp_path / "v1", [ONE])[0])


def test_tf_serving_takes_the_name_of_its_method_as_a_signature_and_ignores_more_features(store: FolderStore) -> None:
    path, example = "/v1/models/tiny:classify", {"image": [1, 2, 3, 4]}
    plain = ask(store, "POST", path, {"examples": [example]})
    body: Any
    for body in (
        {"signature_name": "tensorflow/serving/classify", "examples": [example]},
        {"examples": [example | {"id": "a", "more": [True]}]},
        {"context": {"id": 7}, "examples": [example]},
    ):
        response = ask(store, "POST", path, body)
        assert (response.status_code, response.json()) == (200, plain.json())
    for body in ({"signature_name": "tensorflow/serving/regress", "examples": [example]}, {"examples": [{"id": 7}]}):
        assert ask(store, "POST", path, body).status_code == 400


def test_tf_serving_writes_the_same_short_numbers_everywhere(store: FolderStore, logarithm: FolderStore) -> None:
    predicted = ask(store, "POST", TFS, {"instances": [ONE]}).text
    numbers = predicted[predicted.index("[[") + 2 : -3].split(",")
    classified = ask(store, "POST", "/v1/models/tiny:classify", {"examples": [{"image": ONE}]}).text
    pairs = ",".join(f'["{label}",{number}]' for label, number in zip(("zero", "one", "two"), numbers, strict=True))
    assert classified == f'{{"results":[[{pairs}]]}}'
    assert max(map(len, numbers)) <= 13  # of a float32; as a float64 it has up to 20 digits
    both = ask(logarithm, "POST", TFS, {"instances": [np.abs(ONE).tolist(), (-np.abs(ONE)).tolist()]}).text
    assert "NaN" in both
    assert all(len(number) <= 13 for number in re.findall(r"[-+.e0-9]+", both))


@pytest.mark.parametrize("shape", [(1, 3), (3, 2), (2,)])
def test_what_is_not_finite_keeps_its_place_among_numbers(shape: tuple[int, ...]) -> None:
    numbers = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    numbers.flat[0], numbers.flat[-1] = np.nan, -np.inf
    for wanted in (numbers, np.ascontiguousarray(numbers.T).T, np.full(shape, np.inf, np.float32)):
        np.testing.assert_array_equal(np.array(json.loads(encode(wanted)), np.float32), wanted)


@pytest.fixture
def logarithm(tmp_path: Path) -> FolderStore:
    """A model whose answers are not finite for negative scores."""
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "log", activation="Log", samples=1), "tiny", "1")
    return store


def test_what_is_not_finite_is_a_token_in_tf_serving_and_null_with_a_warning_elsewhere(logarithm: FolderStore) -> None:
    text = '{"instances": [[[NaN, 1], [1, 1]]]}'
    tokens = ask(logarithm, "POST", TFS, text)
    assert tokens.status_code == 200
    assert "NaN" in tokens.text
    json_only = {"content-type": "application/json"}
    for response in (
        ask(logarithm, "POST", "/invocations", text, json_only),
        ask(logarithm, "POST", "/predict/tiny", {"inputs": [[[-1e30, 1e30], [-1e30, 1e30]]]}),
    ):
        assert response.status_code == 200, response.text
        assert "NaN" not in response.text
        assert "null" in response.text
        assert "null" in response.headers["x-warning"]


# --------------------------------------------------------------------------------------------------------------- MLflow

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"instances": [ONE, TWO]}, [ONE, TWO]),
        ({"instances": [{"image": ONE}]}, [ONE]),
        ({"inputs": [ONE]}, [ONE]),
        ({"inputs": {"image": [ONE]}}, [ONE]),
        ({"dataframe_split": {"columns": [0, 1, 2, 3], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}}, [ONE, TWO]),
        ({"dataframe_split": {"data": [[1, 2, 3, 4]]}}, [ONE]),
        ({"dataframe_split": {"columns": ["image"], "index": [0], "data": [[ONE]]}}, [ONE]),
        ({"dataframe_records": [{"a": 1, "b": 2, "c": 3, "d": 4}, {"d": 8, "a": 5, "b": 6, "c": 7}]}, [ONE, TWO]),
        ({"dataframe_records": [{"image": ONE}]}, [ONE]),
        ({"inputs": [ONE], "params": {"x": 1}, "signature_name": "dropped"}, [ONE]),
    ],
)
def test_mlflow_predicts(store: FolderStore, tmp_path: Path, body: Any, rows: Any) -> None:
    for headers in (JSON, {"content-type": "application/json; charset=utf-8"}):
        response = ask(store, "POST", "/invocations", body, headers)
        assert response.status_code == 200, response.text
        assert close(response.json()["predictions"], expected(tmp_path / "v1", rows))


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ({"inputs": [ONE]}, {}, 400, "BAD_REQUEST"),
        ("", JSON, 400, "BAD_REQUEST"),
        ("{]", JSON, 400, "BAD_REQUEST"),
        ([1], JSON, 400, "BAD_REQUEST"),
        ({}, JSON, 400, "BAD_REQUEST"),
        ({"inputs": [ONE], "instances": [ONE]}, JSON, 400, "BAD_REQUEST"),
        ({"inputs": []}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"inputs": [1, 2]}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"inputs": [ONE, [[1], [2]]]}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"inputs": [[["a", 2], [3, 4]]]}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"inputs": [[[True, 2], [3, 4]]]}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"inputs": {"other": [ONE]}}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"instances": [{"image": ONE}, 3]}, JSON, 400, "BAD_REQUEST"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2, 3, 4]]}}, JSON, 400, "BAD_REQUEST"),
        ({"dataframe_split": [1]}, JSON, 400, "BAD_REQUEST"),
        ({"dataframe_split": {"data": [[1, 2, 3]]}}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"dataframe_split": {"data": []}}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ({"dataframe_records": [{"a": 1}, {"b": 1}]}, JSON, 400, "BAD_REQUEST"),
        ({"dataframe_records": []}, JSON, 400, "INVALID_PARAMETER_VALUE"),
        ("a,b\n1,2", {"content-type": "text/csv"}, 400, "BAD_REQUEST"),
        ({"inputs": [ONE]}, JSON | {"model": "none"}, 404, "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_mlflow_says_what_is_wrong_in_its_own_shape(
    store: FolderStore, body: Any, headers: dict[str, str], status: int, code: str
) -> None:
    response = ask(store, "POST", "/invocations", body, headers)
    assert response.status_code == status, response.text
    assert response.json()["error_code"] == code
    assert response.json()["message"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize("kind", ["image/png", "application/json; charset=latin-1", "application/json; format=pandas"])
def test_mlflow_refuses_other_content_types_in_plain_text(store: FolderStore, kind: str) -> None:
    response = ask(store, "POST", "/invocations", {"inputs": [ONE]}, {"content-type": kind})
    assert response.status_code == 415
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(("path", "text"), [("/ping", "\n"), ("/health", "\n"), ("/version", "3.17.2")])
def test_mlflow_probes_answer_as_its_server_does(store: FolderStore, path: str, text: str) -> None:
    response = ask(store, "GET", path)
    assert (response.status_code, response.text) == (200, text)
    assert response.headers["content-type"] == "application/json"


def test_mlflow_ping_is_404_without_a_model(tmp_path: Path) -> None:
    assert ask(FolderStore(tmp_path), "GET", "/ping").status_code == 404


class TestSeveralModels:
    """What /invocations does when more than one model could be meant."""

    @pytest.fixture
    def both(self, store: FolderStore, tmp_path: Path) -> FolderStore:
        store.add(write_package(tmp_path / "other", name="other", seed=2), "other", "4")
        return store

    def test_an_ambiguous_call_names_the_models_and_the_way_out(self, both: FolderStore) -> None:
        response = ask(both, "POST", "/invocations", {"inputs": [ONE]}, JSON)
        assert response.status_code == 400
        assert all(word in response.json()["message"] for word in ("tiny", "other", "model", "MODEL_SERVER_MODELS"))

    def test_the_first_configured_model_is_the_default(self, both: FolderStore) -> None:
        response = ask(both, "POST", "/invocations", {"inputs": [ONE]}, JSON, models="other,tiny")
        assert response.headers["x-model-version"] == "4"

    @pytest.mark.parametrize(
        ("path", "headers"), [("/invocations?model=other", {}), ("/invocations", {"model": "other"})]
    )
    def test_a_header_or_the_query_picks_one(self, both: FolderStore, path: str, headers: dict[str, str]) -> None:
        assert ask(both, "POST", path, {"inputs": [ONE]}, JSON | headers).headers["x-model-version"] == "4"


# --------------------------------------------------------------------------------------------------------------- native


def test_predict_says_labels_top_probabilities_and_the_version(store: FolderStore, tmp_path: Path) -> None:
    body = ask(store, "POST", "/predict/tiny", {"inputs": [ONE, TWO], "top_k": 2}).json()
    wanted = expected(tmp_path / "v1", [ONE, TWO])
    assert (body["model"]["name"], body["model"]["version"], body["model"]["alias"]) == ("tiny", "1", "champion")
    for found, scores in zip(body["predictions"], wanted, strict=True):
        assert close(found["probabilities"], scores)
        assert found["label"] == ("zero", "one", "two")[int(scores.argmax())]
        assert found["top"][0]["label"] == found["label"]
        assert len(found["top"]) == 2
        assert found["probability"] == pytest.approx(float(scores.max()), rel=1e-5)


def test_predict_answers_a_single_sample_in_kind(store: FolderStore, tmp_path: Path) -> None:
    body = ask(store, "POST", "/predict/tiny", {"inputs": ONE}).json()
    assert "predictions" not in body
    assert close(body["prediction"]["probabilities"], expected(tmp_path / "v1", [ONE])[0])


def test_one_output_with_two_labels_is_the_probability_of_the_second(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    output = {"name": "probabilities", "dtype": "float32", "shape": [None, 1]}
    facts = {"labels": ["no", "yes"], "task": "binary", "output": output}
    store.add(write_package(tmp_path / "b", labels=("x",), activation="Sigmoid", contract=facts), "tiny", "1")
    found = ask(store, "POST", "/predict/tiny", {"inputs": ONE}).json()["prediction"]
    assert {entry["label"] for entry in found["top"]} == {"no", "yes"}
    assert sum(found["probabilities"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "/predict/tiny", {"input": ONE}, 400, "inputs"),
        ("POST", "/predict/tiny", {"inputs": ONE, "topk": 2}, 400, "topk"),
        ("POST", "/predict/tiny", {"inputs": ONE, "top_k": 0}, 400, "top_k"),
        ("POST", "/predict/tiny", "NaN", 400, "The body is no JSON"),
        ("POST", "/predict/tiny", '{"inputs": NaN}', 400, "JSON Parse error"),
        ("POST", "/predict/tiny", b'{"inputs": "\xff"}', 400, "JSON Parse error: the body is not UTF-8, at byte 12"),
        ("POST", "/predict/tiny", "", 400, "JSON Parse error: The document is empty"),
        ("GET", "/models?x=1", None, 400, "There is no option 'x' here. This call has none."),
        ("GET", "/models/tiny/samples?limit=2", None, 400, "There are start, count, version, alias."),
        ("GET", "/models/tiny/samples?cout=2", None, 400, "did you mean count?"),
        ("POST", "/explain/tiny?versoin=1", {"inputs": ONE}, 400, "did you mean version?"),
        ("POST", "/predict/tiny", {"inputs": [1, 2]}, 400, "shape (2)"),
        ("POST", "/predict/none", {"inputs": ONE}, 404, "Models: tiny"),
        ("POST", "/predict/tiny?version=7", {"inputs": ONE}, 404, "loaded: 1"),
        ("POST", "/predict/tiny?alias=no", {"inputs": ONE}, 400, "champion"),
        ("GET", "/predict/tiny", None, 405, "POST only"),
        ("GET", "/models/none/samples", None, 404, "none"),
        ("GET", "/models/tiny/samples?start=x", None, 400, "whole number"),
        ("GET", "/nothing/here", None, 404, "/models"),
    ],
)
def test_the_own_dialect_says_what_is_wrong(
    store: FolderStore, method: str, path: str, body: Any, status: int, told: str
) -> None:
    response = ask(store, method, path, body)
    assert response.status_code == status, response.text
    assert told in response.json()["error"]


def test_values_outside_the_range_of_training_are_answered_with_a_warning_and_counted(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            scaled = {"inputs": [[[100, 0], [0, 0]], ONE]}
            body = (await server.client.post("/predict/tiny", json=scaled)).json()
            assert "1 of 2 samples have values outside 0.0 to 16.0" in body["warnings"][0]
            assert 'model_server_out_of_range_rows_total{model="tiny",version="1"} 1.0' in await metrics(server)

    run(work())


def test_samples_carry_true_label_and_stored_output(store: FolderStore, tmp_path: Path) -> None:
    body = ask(store, "GET", "/models/tiny/samples?start=1&count=2").json()
    assert (body["total"], [sample["index"] for sample in body["samples"]]) == (4, [1, 2])
    sample = body["samples"][0]
    assert close(sample["output"], expected(tmp_path / "v1", [sample["input"]])[0])
    assert sample["label"] == ("zero", "one", "two")[sample["class"]]
    assert ask(store, "GET", "/models/tiny/samples?start=99").json()["samples"] == []


def test_models_tells_state_version_digest_run_and_staleness(store: FolderStore) -> None:
    (entry,) = ask(store, "GET", "/models").json()["models"]
    assert (entry["state"], entry["version"], entry["run_id"], entry["rejected"]) == ("AVAILABLE", "1", "run-1", None)
    assert entry["digest"].startswith("sha256:")
    assert entry["staleness_s"] < 60
    assert entry["source"]["epoch"] == 3
    assert entry["loaded_at"].endswith("Z")
    assert entry["champion_since"] is None


# ------------------------------------------------------------------------------------------------ common to all of them


async def metrics(server: Server) -> str:
    text: str = (await server.client.get("/metrics")).text
    return text


def test_every_answer_says_which_model_gave_it_and_how_long_it_took(store: FolderStore) -> None:
    response = ask(store, "POST", TFS, {"instances": [ONE]}, {"x-request-id": "mine"})
    assert response.headers["x-model-version"] == "1"
    assert response.headers["x-model-digest"].startswith("sha256:")
    assert response.headers["x-mlflow-run-id"] == "run-1"
    assert response.headers["x-request-id"] == "mine"
    assert "infer;dur=" in response.headers["server-timing"]


@pytest.mark.parametrize("path", [TFS, "/invocations", "/predict/tiny"])
def test_a_body_that_is_too_long_is_refused(store: FolderStore, path: str) -> None:
    response = ask(store, "POST", path, {"instances": [ONE] * 100}, JSON, max_body_bytes=100)
    assert response.status_code == 413
    assert "MODEL_SERVER_MAX_BODY_BYTES" in response.text


def test_a_long_body_in_chunks_without_a_length_is_refused_too(store: FolderStore) -> None:
    async def work() -> int:
        async def chunks() -> Any:
            for _ in range(5):
                yield b" " * 50

        async with serving(store, max_body_bytes=100) as server:
            return int((await server.client.post(TFS, content=chunks())).status_code)

    assert run(work()) == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Basic s3cret"}, 401),
        ({"x-api-key": "s3cret"}, 200),
        ({"authorization": "Bearer s3cret"}, 200),
    ],
)
@pytest.mark.parametrize("path", [TFS, "/invocations", "/predict/tiny"])
def test_the_api_key_guards_predictions(store: FolderStore, path: str, headers: dict[str, str], status: int) -> None:
    body = {"inputs": [ONE]}
    assert ask(store, "POST", path, body, JSON | headers, api_key="s3cret").status_code == status


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/ping", "/metrics"])
def test_probes_and_metrics_need_no_key(store: FolderStore, path: str) -> None:
    assert ask(store, "GET", path, api_key="s3cret").status_code == 200


def test_requests_are_counted_by_model_version_dialect_and_status(store: FolderStore) -> None:
    async def work() -> str:
        async with serving(store) as server:
            for body in ({"instances": [ONE]}, {"instances": [ONE]}, {"instances": "bad"}):
                await server.client.post(TFS, json=body)
            await server.client.post("/v1/models/made-up-by-a-client:predict", json={})
            return await metrics(server)

    text = run(work())
    labels = 'model="tiny",protocol="tf_serving"'
    assert f'model_server_requests_total{{{labels},status="200",version="1"}} 2.0' in text
    assert f'model_server_requests_total{{{labels},status="400",version="1"}} 1.0' in text
    assert 'model_server_request_duration_seconds_count{model="tiny",protocol="tf_serving",version="1"} 3.0' in text
    assert 'model_server_batch_rows_sum{model="tiny",version="1"} 2.0' in text
    assert "made-up-by-a-client" not in text


def test_the_access_log_is_one_json_line_for_each_request_and_can_be_off(store: FolderStore) -> None:
    async def work(wanted: int, **settings: Any) -> None:
        async with serving(store, **settings) as server:
            server.app.state.log.requests = settings.get("access_log", True)
            await server.client.post(TFS, json={"instances": [ONE, TWO]})
            lines = server.events("request")
            assert len(lines) == wanted
            for line in lines:
                assert (line["status"], line["rows"], line["model"], line["version"]) == (200, 2, "tiny", "1")

    run(work(1))
    run(work(0, access_log=False))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("The queue is full."), 429),
        (DeadlineExceeded("Too late."), 504),
        (PredictionFailed("The model failed."), 500),
    ],
)
@pytest.mark.parametrize("path", [TFS, "/invocations", "/predict/tiny"])
def test_load_deadline_and_failure_have_codes_of_their_own(
    store: FolderStore, path: str, error: Exception, status: int
) -> None:
    async def work() -> None:
        async def fail(rows: Any, deadline: float) -> Any:
            raise error

        async with serving(store) as server:
            (model,) = server.engine.loaded()
            model.batcher.submit = fail
            response = await server.client.post(path, json={"inputs": [ONE]})
            assert response.status_code == status
            assert str(error) in response.text
            assert ("retry-after" in response.headers) == (status == 429)

    run(work())


def test_a_failure_of_the_server_is_told_without_its_details(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            server.engine.find = None
            response = await server.client.post(TFS, json={"instances": [ONE]})
            assert response.status_code == 500
            assert "NoneType" not in response.text
            assert "NoneType" in server.events("request_failed")[0]["reason"]

    run(work())
