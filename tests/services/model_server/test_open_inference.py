"""The Open Inference Protocol V2 with tensors in JSON: addresses, answers, and what is refused with which sentence."""

from __future__ import annotations

import gzip
import json
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from services.model_server.errors import DeadlineExceeded, Overloaded, PredictionFailed
from services.model_server.protocols.open_inference.datatypes import FITTING
from tests.services.model_server.parts import (
    FolderStore,
    Server,
    ask,
    expected,
    run,
    serving,
    write_kind,
    write_package,
)
from tests.services.model_server.processes import ROOT

INFER = "/v2/models/tiny/infer"
ONE = [[1.0, 2.0], [3.0, 4.0]]
TWO = [[5, 6], [7, 8]]
TINY = {"name": "image", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}


def infer(store: FolderStore, *tensors: Any, **more: Any) -> httpx.Response:
    return ask(store, "POST", INFER, {"inputs": list(tensors), **more})


def output(response: httpx.Response) -> np.ndarray[Any, Any]:
    """The one output of an answer, in its shape."""
    assert response.status_code == 200, response.text
    (found,) = response.json()["outputs"]
    assert all(not isinstance(value, list) for value in found["data"]), "the data of an answer is flat"
    return np.array(found["data"]).reshape(found["shape"])


# ------------------------------------------------------------------------------------- health, metadata, repository


def test_the_server_says_its_name_and_what_it_can_do(store: FolderStore) -> None:
    body = ask(store, "GET", "/v2").json()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (body["name"], body["version"]) == ("regatta", version)
    assert body["extensions"] == [
        "binary_tensor_data", "classification", "model_configuration", "model_repository", "parameters", "statistics",
    ]  # fmt: skip
    assert ask(store, "GET", "/v2/").json() == body


def test_health_tells_live_and_ready_apart(store: FolderStore, tmp_path: Path) -> None:
    assert ask(store, "GET", "/v2/health/live").json() == {"live": True}
    ready = ask(store, "GET", "/v2/health/ready")
    assert (ready.status_code, ready.json()["ready"], ready.json()["live"]) == (200, True, True)
    empty = FolderStore(tmp_path / "empty")
    assert ask(empty, "GET", "/v2/health/live").status_code == 200
    unready = ask(empty, "GET", "/v2/health/ready")
    assert (unready.status_code, unready.json()["ready"]) == (503, False)
    assert unready.json()["error"]


@pytest.mark.parametrize(
    "path", ["/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready", "/v2/models/t%69ny/ready"]
)
def test_a_model_that_answers_is_ready(store: FolderStore, path: str) -> None:
    response = ask(store, "GET", path)
    assert (response.status_code, response.json()) == (200, {"name": "tiny", "ready": True})
    assert response.headers["x-model-version"] == "1"


def test_a_model_that_is_wanted_and_does_not_answer_yet_is_not_ready(store: FolderStore) -> None:
    response = ask(store, "GET", "/v2/models/later/ready", models="tiny,later")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    assert "later@champion" in response.json()["error"]
    assert response.headers.get("retry-after") is None
    inferred = ask(store, "POST", "/v2/models/later/infer", {"inputs": [TINY]}, models="tiny,later")
    assert (inferred.status_code, inferred.headers["retry-after"]) == (503, "1")


def test_no_model_is_ready_while_the_server_drains(store: FolderStore) -> None:
    async def work() -> int:
        async with serving(store) as server:
            server.engine.draining = True
            response = await server.client.get("/v2/models/tiny/ready")
            assert response.json()["ready"] is False
            return int(response.status_code)

    assert run(work()) == 503


@pytest.mark.parametrize("path", ["/v2/models/tiny", "/v2/models/tiny/versions/1", "/v2/models/tiny/versions/01"])
def test_metadata_says_versions_and_tensors(store: FolderStore, path: str) -> None:
    assert ask(store, "GET", path).json() == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 2]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    }


@pytest.mark.parametrize("path", ["/v2/models/tiny/config", "/v2/models/tiny/versions/1/config"])
def test_the_configuration_says_tensors_without_their_batch_and_how_large_a_batch_may_be(
    store: FolderStore, path: str
) -> None:
    assert ask(store, "GET", path, max_batch=32).json() == {
        "name": "tiny",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 32,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [2, 2]}],
        "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [3]}],
        "dynamic_batching": {},
    }


def test_the_configuration_of_a_table_has_one_value_for_each_row_of_a_column(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression words"), "tiny", "1")
    found = ask(store, "GET", "/v2/models/tiny/config").json()
    assert found["input"] == [
        {"name": name, "data_type": f"TYPE_{kind}", "dims": [1], "reshape": {"shape": []}}
        for name, kind in (("age", "FP32"), ("city", "STRING"), ("income", "FP32"), ("size", "STRING"))
    ]
    assert found["output"] == [{"name": "prediction", "data_type": "TYPE_FP32", "dims": [1]}]


@pytest.mark.parametrize(
    ("engine", "platform", "backend"),
    [("onnx", "onnxruntime_onnx", "onnxruntime"), ("keras", "tensorflow_keras", "tensorflow")],
)
def test_metadata_and_configuration_say_what_computes_a_model(
    store: FolderStore, engine: str, platform: str, backend: str
) -> None:
    async def work() -> None:
        async with serving(store) as server:
            served = server.engine.find("tiny")
            served.contract = served.contract.model_copy(update={"engine": engine})
            assert (await server.client.get("/v2/models/tiny")).json()["platform"] == platform
            found = (await server.client.get("/v2/models/tiny/config")).json()
            assert (found["platform"], found["backend"]) == (platform, backend)

    run(work())


def test_all_names_are_listed_whether_they_are_ready_or_not(store: FolderStore, tmp_path: Path) -> None:
    store.add(write_package(tmp_path / "v2", seed=2), "tiny", "2", "previous")
    for path in ("/v2/models", "/v2/models/"):
        response = ask(store, "GET", path, models="tiny,tiny@previous,later")
        assert (response.status_code, response.json()) == (200, {"models": ["later", "tiny"]})


def test_metadata_and_statistics_know_all_versions_that_are_loaded(store: FolderStore, tmp_path: Path) -> None:
    store.add(write_package(tmp_path / "v10", seed=2), "tiny", "10", "previous")

    async def work() -> None:
        async with serving(store, models="tiny,tiny@previous") as server:
            for version in ("1", "10"):
                body = (await server.client.get(f"/v2/models/tiny/versions/{version}")).json()
                assert body["versions"] == ["1", "10"]
                response = await server.client.post(
                    f"/v2/models/tiny/versions/{version}/infer", json={"inputs": [TINY]}
                )
                assert response.json()["model_version"] == version == response.headers["x-model-version"]
            for path in ("/v2/models/stats", "/v2/models/tiny/stats"):
                found = (await server.client.get(path)).json()["model_stats"]
                assert [entry["version"] for entry in found] == ["1", "10"]
            (found,) = (await server.client.get("/v2/models/tiny/versions/10/stats")).json()["model_stats"]
            assert (found["version"], found["inference_count"]) == ("10", 1)

    run(work())


def test_the_index_lists_what_answers_and_what_is_refused_and_why(store: FolderStore, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(store, models="tiny,later") as server:
            store.add(write_package(tmp_path / "bad", golden_shift=1), "tiny", "2")
            await server.poll()
            index = (await server.client.post("/v2/repository/index")).json()
            found = {(entry["name"], entry["version"], entry["state"]): entry["reason"] for entry in index}
            assert set(found) == {("tiny", "1", "READY"), ("tiny", "2", "UNAVAILABLE"), ("later", "", "UNAVAILABLE")}
            assert found["tiny", "1", "READY"] == ""
            assert "REJECTED: golden sample" in found["tiny", "2", "UNAVAILABLE"]
            for body in ({"ready": True}, {"ready": True, "other": 1}):
                ready = (await server.client.post("/v2/repository/index", json=body)).json()
                assert [(entry["version"], entry["state"]) for entry in ready] == [("1", "READY")]

    run(work())


@pytest.mark.parametrize("body", ["[]", "3", '{"ready": 1}', "{", "[" * 5000])
def test_an_index_that_is_asked_for_in_another_form_is_refused(store: FolderStore, body: str) -> None:
    response = ask(store, "POST", "/v2/repository/index", body)
    assert (response.status_code, list(response.json())) == (400, ["error"])


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_models_are_not_loaded_by_call_because_the_registry_decides(store: FolderStore, verb: str) -> None:
    response = ask(store, "POST", f"/v2/repository/models/tiny/{verb}", {"parameters": {}})
    assert response.status_code == 501
    assert f"not {verb}ed by call" in response.json()["error"]
    assert "registry" in response.json()["error"]
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("POST", "/v2", 405, "GET, HEAD"),
        ("POST", "/v2/health/live", 405, "GET, HEAD"),
        ("DELETE", "/v2/health/ready", 405, "GET, HEAD"),
        ("POST", "/v2/models/tiny", 405, "GET, HEAD"),
        ("PUT", "/v2/models/tiny/ready", 405, "GET, HEAD"),
        ("GET", INFER, 405, "POST"),
        ("GET", "/v2/repository/index", 405, "POST"),
        ("GET", "/v2/repository/models/tiny/load", 405, "POST"),
        ("POST", "/v2/models/tiny/stats", 405, "GET, HEAD"),
        ("POST", "/v2/models", 405, "GET, HEAD"),
        ("POST", "/v2/models/tiny/config", 405, "GET, HEAD"),
        ("GET", "/v2/models/none/config", 404, "unknown model: 'none'"),
        ("GET", "/v2/models/tiny/versions/9/config", 404, "version 9"),
        ("GET", "/v2/models/tiny/versions/x", 404, "nothing at this address"),
        ("GET", "/v2/models/tiny/versions/-1", 404, "nothing at this address"),
        ("GET", "/v2/nothing", 404, "nothing at this address"),
        ("GET", "/V2/models/tiny", 404, "nothing"),
        ("GET", "/v2/" + "a" * 5000, 404, "nothing at this address"),
        ("GET", "/v2/models/none", 404, "Request for unknown model: 'none' is not found."),
        ("GET", "/v2/models/none/ready", 404, "unknown model: 'none'"),
        ("GET", "/v2/models/none/stats", 404, "unknown model: 'none'"),
        ("POST", "/v2/models/none/infer", 404, "unknown model: 'none'"),
        ("GET", "/v2/models/tiny/versions/9", 404, "'tiny' version 9 is not found; loaded: 1."),
        ("POST", "/v2/models/tiny/versions/9/infer", 404, "version 9"),
        ("GET", f"/v2/models/tiny/versions/{2**63}", 400, "failed to get model version"),
        ("GET", f"/v2/models/tiny/versions/{'9' * 1900}", 400, "failed to get model version"),
    ],
)
def test_other_addresses_and_methods_are_refused_in_the_form_of_the_protocol(
    store: FolderStore, method: str, path: str, status: int, told: str
) -> None:
    response = ask(store, method, path)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert told in (response.headers["allow"] if status == 405 else response.json()["error"])
    assert len(response.content) < 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/tiny/ready", 200),
        ("/v2/models/tiny/versions/1/ready", 200),
        ("/v2", 401),
        ("/v2/models/tiny", 401),
        ("/v2/models/ready", 401),
        ("/v2/models/stats", 401),
        ("/v2/models", 401),
        ("/v2/models/tiny/config", 401),
        ("/v2/nothing/ready", 401),
    ],
)
def test_probes_need_no_key_and_everything_else_does(store: FolderStore, path: str, status: int) -> None:
    assert ask(store, "GET", path, api_key="s3cret").status_code == status
    assert ask(store, "GET", path, headers={"x-api-key": "s3cret"}, api_key="s3cret").status_code in (200, 404)


def test_inference_needs_the_key(store: FolderStore) -> None:
    for headers, status in (({}, 401), ({"authorization": "Bearer s3cret"}, 200)):
        response = ask(store, "POST", INFER, {"inputs": [TINY]}, headers, api_key="s3cret")
        assert response.status_code == status


# ------------------------------------------------------------------------------------------------------------ inference


@pytest.mark.parametrize(
    ("shape", "data", "rows"),
    [
        ([1, 2, 2], [1, 2, 3, 4], [ONE]),
        ([1, 2, 2], [ONE], [ONE]),
        ([2, 2, 2], [ONE, TWO], [ONE, TWO]),
        ([2, 2, 2], [1.0, 2, 3, 4, 5, 6, 7.0, 8], [ONE, TWO]),
        ([1, 2, 2], ONE, [ONE]),
    ],
)
def test_tensors_come_flat_or_nested(store: FolderStore, tmp_path: Path, shape: Any, data: Any, rows: Any) -> None:
    found = output(infer(store, TINY | {"shape": shape, "data": data}))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", rows), rtol=1e-6)


@pytest.mark.parametrize("data", [[1, 2, 3, 4], ONE])
def test_a_single_sample_is_taken_and_answered_without_its_batch_dimension(
    store: FolderStore, tmp_path: Path, data: Any
) -> None:
    found = output(infer(store, TINY | {"shape": [2, 2], "data": data}))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", [ONE])[0], rtol=1e-6)


def test_an_answer_names_model_version_and_output_and_repeats_the_id(store: FolderStore) -> None:
    response = infer(store, TINY, id="request 7 — ü", parameters={"priority": 3, "note": "x", "fast": True})
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("tiny", "1", "request 7 — ü")
    (found,) = body["outputs"]
    assert (found["name"], found["datatype"], found["shape"]) == ("probabilities", "FP32", [1, 3])
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-mlflow-run-id"] == "run-1"
    assert "infer;dur=" in response.headers["server-timing"]
    assert "id" not in infer(store, TINY).json()
    assert "id" not in infer(store, TINY, id=None).json()


@pytest.mark.parametrize(
    "outputs", [None, [], [{"name": "probabilities"}], [{"name": "probabilities", "parameters": {}}]]
)
def test_outputs_are_chosen_by_name_or_all_of_them(store: FolderStore, outputs: Any) -> None:
    assert output(infer(store, TINY, outputs=outputs)).shape == (1, 3)


@pytest.mark.parametrize(
    ("datatype", "data", "row"),
    [
        ("UINT8", [0, 255, 1, 16], [0, 255, 1, 16]),
        ("INT8", [-128, 127, 0, 1], [-128, 127, 0, 1]),
        ("UINT16", [0, 65535, 1, 2], [0, 65535, 1, 2]),
        ("INT16", [-32768, 32767, 1, 2], [-32768, 32767, 1, 2]),
        ("FP16", [0.1, 65504, -2, 1e-7], np.array([0.1, 65504, -2, 1e-7], np.float16).astype(np.float32)),
        ("FP32", [0.1, 1e30, -2, 1], [0.1, 1e30, -2, 1]),
        ("BOOL", [True, False, False, True], [1, 0, 0, 1]),
    ],
)
def test_every_datatype_that_fits_without_loss_is_taken(tmp_path: Path, datatype: str, data: Any, row: Any) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", activation="Identity"), "tiny", "1")
    found = output(infer(store, TINY | {"datatype": datatype, "data": data}))
    np.testing.assert_allclose(found, expected(tmp_path / "v1", np.reshape(row, (1, 2, 2))), rtol=1e-5)


@pytest.mark.parametrize("datatype", ["FP64", "INT32", "INT64", "UINT32", "UINT64", "BYTES"])
def test_what_would_lose_digits_is_refused_with_what_would_not(store: FolderStore, datatype: str) -> None:
    response = infer(store, TINY | {"datatype": datatype})
    assert response.status_code == 400
    assert response.json()["error"] == (
        f"Input 'image' is {datatype}; this model takes FP32, and what that holds without loss: "
        "BOOL, UINT8, UINT16, INT8, INT16, FP16, BF16."
    )


def test_what_fits_follows_from_the_numbers_that_a_datatype_has() -> None:
    integers = ("UINT8", "UINT16", "UINT32", "INT8", "INT16", "INT32")
    assert set(FITTING["float32"]) == {"BOOL", "UINT8", "UINT16", "INT8", "INT16", "FP16", "BF16", "FP32"}
    assert set(FITTING["float64"]) == {"BOOL", *integers, "FP16", "BF16", "FP32", "FP64"}
    assert set(FITTING["int64"]) == {"BOOL", *integers, "INT64"}
    assert set(FITTING["int32"]) == {"BOOL", "UINT8", "UINT16", "INT8", "INT16", "INT32"}
    assert set(FITTING["uint8"]) == {"BOOL", "UINT8"}
    assert FITTING["string"] == ("BYTES",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shape": [1, 3]}, "unexpected shape for input 'image'. Expected [-1,2,2], got [1,3]."),
        ({"shape": [4]}, "Expected [-1,2,2], got [4]."),
        ({"shape": []}, "got []"),
        ({"shape": [0, 2, 2], "data": []}, "no rows"),
        ({"shape": [1, 2, 2, 1]}, "got [1,2,2,1]"),
        ({"shape": [2**62, 2, 2]}, "makes 18446744073709551616"),
        ({"shape": [1, 2, 2.0]}, "no 'shape'"),
        ({"shape": [1, 2, -2]}, "no 'shape'"),
        ({"shape": [1, 2, True]}, "no 'shape'"),
        ({"shape": [1, 2, 10**30]}, "no 'shape'"),
        ({"shape": [1] * 17}, "no 'shape'"),
        ({"shape": "122"}, "no 'shape'"),
        ({"shape": None}, "no 'shape'"),
        ({"datatype": "FLOAT"}, "no 'datatype' of the protocol: BOOL, UINT8"),
        ({"datatype": ["FP32"]}, "no 'datatype'"),
        ({"datatype": "BF16"}, "send it as bytes"),
        ({"name": "picture"}, "takes the input 'image' and nothing else, got: picture."),
        ({"name": ""}, "must have a 'name'"),
        ({"name": 3}, "must have a 'name'"),
        ({"data": [1, 2, 3]}, "has 3 values in 'data'; its shape [1,2,2] makes 4."),
        ({"data": [1, 2, 3, 4, 5]}, "has 5 values"),
        ({"data": [[1, 2], [3]]}, "ragged"),
        ({"data": [[1, 2], 3, 4]}, "ragged"),
        ({"data": ["1", 2, 3, 4]}, 'JSON Value: "1" Type: String is not of expected type: float'),
        ({"data": [None, 2, 3, 4]}, "Type: Null"),
        ({"data": [True, 2, 3, 4]}, "true or false among its numbers"),
        ({"data": [[[False, 2], [3, 4]]]}, "true or false among its numbers"),
        ({"data": [{}, 2, 3, 4]}, "Type: Object"),
        ({"data": 3}, "must have a list"),
        ({"data": None}, "must have a list"),
        ({"data": {"image": 3}}, "must have a list"),
        ({"datatype": "UINT8", "data": [1, 2, 3, 256]}, "outside uint8 (0 to 255)"),
        ({"datatype": "INT8", "data": [1, 2, 3, 4.5]}, "whole numbers (int8)"),
        ({"datatype": "INT8", "data": [1, 2, 3, 10**40]}, "whole numbers (int8)"),
        ({"datatype": "BOOL", "data": [1, 0, 0, 1]}, "may have true and false, and nothing else"),
        ({"datatype": "BOOL", "data": [[True], [True, False]]}, "ragged"),
        ({"parameters": []}, "'parameters' that are no object"),
        ({"parameters": {"shared_memory_region": "x"}}, "in shared memory"),
        ({"parameters": {"binary_data_size": 16}}, "has both 'data' and the parameter binary_data_size"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_with_a_sentence(
    store: FolderStore, change: dict[str, Any], told: str
) -> None:
    response = infer(store, TINY | change)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "The document is empty"),
        ("{", "JSON Parse error"),
        ('{"inputs": []} trailing', "JSON Parse error"),
        ("[" * 100_000, "JSON Parse error"),
        ('{"inputs":' * 3000, "JSON Parse error"),
        ("[1]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ({}, "'inputs' must be a list of one or more tensors"),
        ({"inputs": []}, "'inputs' must be a list of one or more tensors"),
        ({"inputs": TINY}, "'inputs' must be a list"),
        ({"inputs": [3]}, "must be an object"),
        ({"inputs": [{k: v for k, v in TINY.items() if k != "data"}]}, "neither 'data' nor"),
        ({"inputs": [TINY, TINY]}, "nothing else, got: image, image."),
        ({"inputs": [TINY], "id": 7}, "'id' must be a string"),
        ({"inputs": [TINY], "parameters": 3}, "'parameters' that are no object"),
        ({"inputs": [TINY], "parameters": {"binary_data_output": "yes"}}, "binary_data_output must be true or false"),
        ({"inputs": [TINY], "parameters": {"triton_x": 1}}, "starting with 'triton_' are reserved"),
        ({"inputs": [TINY], "parameters": {"a": 1, "triton_enable_empty_final_response": True}}, "are reserved"),
        ({"inputs": [TINY], "outputs": {}}, "'outputs' must be a list"),
        ({"inputs": [TINY], "outputs": ["probabilities"]}, "'outputs' must be a list of objects"),
        ({"inputs": [TINY], "outputs": [{}]}, "must have a 'name'"),
        ({"inputs": [TINY], "outputs": [{"name": "logits"}]}, "unexpected inference output 'logits'"),
        ({"inputs": [TINY], "outputs": [{"name": "probabilities"}] * 2}, "more than once"),
        ({"inputs": [TINY], "outputs": [{"name": "probabilities", "parameters": 1}]}, "no object"),
        (
            {"inputs": [TINY], "outputs": [{"name": "probabilities", "parameters": {"binary_data": 1}}]},
            "binary_data must be true or false",
        ),
        (
            {"inputs": [TINY], "outputs": [{"name": "probabilities", "parameters": {"shared_memory_region": "x"}}]},
            "shared memory",
        ),
    ],
)
def test_a_request_of_another_form_is_refused(store: FolderStore, body: Any, told: str) -> None:
    response = ask(store, "POST", INFER, body)
    assert response.status_code == 400, response.text
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [TINY | {"name": "n" * 5000}]},
        {"inputs": [TINY | {"name": "ü" * 5000, "datatype": "d" * 5000}]},
        {"inputs": [TINY | {"name": f"{index}" * 50} for index in range(500)]},
        {"inputs": [TINY | {"data": ["x" * 5000, 1, 2, 3]}]},
        {"inputs": [TINY | {"shape": [9 * 10**17] * 16}]},
        {"inputs": [TINY], "id": {"x": "y" * 5000}},
        {"inputs": [TINY], "outputs": [{"name": "o" * 5000}]},
        {"inputs": [TINY | {"parameters": {"binary_data_size": "s" * 5000}}]},
        '{"inputs": ' + "z" * 5000,
    ],
)
def test_nothing_that_a_client_sends_comes_back_longer_than_256_bytes(store: FolderStore, body: Any) -> None:
    response = ask(store, "POST", INFER, body)
    assert response.status_code == 400
    for sent in ("n", "ü", "d", "x", "9", "y", "o", "s", "z", "1"):
        assert sent * 257 not in response.text
    assert len(response.json()["error"].encode()) < 600


@pytest.mark.parametrize("path", ["/v2/models/{}/infer", "/predict/{}", "/v1/models/{}:predict"])
def test_no_dialect_repeats_a_long_name(store: FolderStore, path: str) -> None:
    response = ask(store, "POST", path.format("n" * 1500), {"inputs": [TINY]})
    assert response.status_code == 404
    assert "n" * 257 not in response.text


def test_what_json_cannot_say_is_null_with_a_warning_and_may_come_as_tokens(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "log", activation="Log", samples=1), "tiny", "1")
    text = json.dumps({"inputs": [TINY | {"data": [float("nan"), float("inf"), 1, 1]}]})
    response = ask(store, "POST", INFER, text)
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["data"] == [None, None, None]
    assert "null" in response.headers["x-warning"]


# ------------------------------------------------------------------------------------------------------- classification


def classes(store: FolderStore, top: Any, path: str = INFER, **change: Any) -> httpx.Response:
    name = change.pop("output", "probabilities")
    wanted = {"name": name, "parameters": {"classification": top}}
    return ask(store, "POST", path, {"inputs": [TINY | change], "outputs": [wanted]})


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (3, 3), (99, 3), (2**63, 3)])
def test_classes_come_best_first_with_value_index_and_label(
    store: FolderStore, tmp_path: Path, top: int, count: int
) -> None:
    response = classes(store, top, shape=[2, 2, 2], data=[ONE, TWO])
    assert response.status_code == 200, response.text
    (found,) = response.json()["outputs"]
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, count])
    scores = expected(tmp_path / "v1", [ONE, TWO])
    parts = [text.split(":") for text in found["data"]]
    wanted = [(row, index) for row in range(2) for index in np.argsort(-scores[row])[:count]]
    assert [(int(index), label) for _, index, label in parts] == [
        (int(index), ("zero", "one", "two")[index]) for _, index in wanted
    ]
    assert [np.float32(value) for value, _, _ in parts] == pytest.approx([scores[at] for at in wanted], rel=1e-6)


def test_classes_of_a_single_sample_come_without_the_batch_dimension(store: FolderStore) -> None:
    (found,) = classes(store, 2, shape=[2, 2]).json()["outputs"]
    assert (found["shape"], len(found["data"])) == ([2], 2)


def test_a_binary_model_has_two_classes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "binary grey"), "tiny", "1")
    tensor: dict[str, Any] = {"shape": [1, 3, 2], "data": [3, 1, 4, 1, 5, 9], "output": "probability"}
    (found,) = classes(store, 5, **tensor).json()["outputs"]
    (second,) = expected(tmp_path / "v1", np.reshape(tensor["data"], (1, 3, 2)))[0]
    values = {text.split(":")[2]: float(text.split(":")[0]) for text in found["data"]}
    assert values == pytest.approx({"yes": second, "no": 1 - second}, abs=1e-6)
    assert found["data"][0].endswith(":1:yes" if second >= 0.5 else ":0:no")


def test_a_number_has_no_classes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_kind(tmp_path / "v1", "regression grey"), "tiny", "1")
    response = classes(store, 1, shape=[1, 3, 2], data=[3, 1, 4, 1, 5, 9], output="prediction")
    assert response.status_code == 400
    assert "predicts a number" in response.json()["error"]


@pytest.mark.parametrize("top", [0, -1, 1.0, True, "2", None, []])
def test_classes_are_counted_by_a_whole_number(store: FolderStore, top: Any) -> None:
    response = classes(store, top)
    assert response.status_code == 400
    assert "a whole number from 1 on" in response.json()["error"]


# --------------------------------------------------------------------------------------------------- limits, statistics


def test_a_body_that_is_too_long_is_refused(store: FolderStore) -> None:
    response = ask(store, "POST", INFER, {"inputs": [TINY] * 100}, max_body_bytes=1000)
    assert response.status_code == 413
    assert "MODEL_SERVER_MAX_BODY_BYTES" in response.json()["error"]


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "GZIP": gzip.compress,
}


@pytest.mark.parametrize("encoding", PACKED)
def test_packed_bodies_are_unpacked(store: FolderStore, encoding: str) -> None:
    body = json.dumps({"inputs": [TINY], "id": "x" * 600_000}).encode()
    for content in (body, json.dumps({"inputs": [TINY]}).encode()):
        response = ask(store, "POST", INFER, PACKED[encoding](content), {"content-encoding": encoding})
        assert output(response).shape == (1, 3)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("limit", [1000, 400_000, 3_000_000])
def test_a_body_that_unpacks_to_more_than_a_body_may_be_is_refused(
    store: FolderStore, encoding: str, limit: int
) -> None:
    document = json.dumps({"inputs": [TINY]})
    for extra, status in ((0, 200), (1, 413), (64 << 20, 413)):
        bomb = PACKED[encoding](document.ljust(limit + extra).encode())
        settings = {"max_body_bytes": max(limit, 1000)}
        response = ask(
            store, "POST", INFER, bomb[: settings["max_body_bytes"]], {"content-encoding": encoding}, **settings
        )
        if len(bomb) <= settings["max_body_bytes"]:
            assert response.status_code == status, response.text
        assert len(response.content) < 500


def members(*contents: bytes) -> bytes:
    return b"".join(map(gzip.compress, contents))


NOISE = np.random.default_rng(0).bytes(150_000).hex().encode()  # packs to half its size, so not within one step


@pytest.mark.parametrize("ends", [(), (1,), (1, 1, 2), (60_000, 300_000), (5, 6, 150_000, 150_001, 300_050)])
def test_a_body_may_be_several_members_of_gzip(store: FolderStore, ends: tuple[int, ...]) -> None:
    body = json.dumps({"id": NOISE.decode(), "inputs": [TINY]}).encode()
    packed = members(*(body[start:end] for start, end in zip((0, *ends), (*ends, len(body)), strict=True)), b"")
    response = ask(store, "POST", INFER, packed, {"content-encoding": "gzip"})
    assert output(response).shape == (1, 3)
    assert response.json()["id"] == NOISE.decode()


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_the_members_of_a_body_unpack_to_no_more_than_one_alone(store: FolderStore, size: int) -> None:
    document, limit = json.dumps({"inputs": [TINY]}).encode(), 2 << 20
    for extra, status in ((0, 200), (1, 413), (64 << 20, 413)):
        spaces = b" " * size
        left = limit + extra - len(document)
        count = min(left // size, 400)
        packed = members(document, *[spaces] * count, b" " * (left - count * size))
        response = ask(store, "POST", INFER, packed, {"content-encoding": "gzip"}, max_body_bytes=limit)
        assert response.status_code == status, response.text


def test_a_body_in_more_members_than_anybody_writes_is_refused(store: FolderStore) -> None:
    body = members(json.dumps({"inputs": [TINY]}).encode(), b"")
    for count, status in ((254, 200), (255, 400), (50_000, 400)):
        packed = body + members(b"") * count
        assert len(packed) <= 1 << 20
        response = ask(store, "POST", INFER, packed, {"content-encoding": "gzip"}, max_body_bytes=1 << 20)
        assert response.status_code == status, response.text
    few = ask(store, "POST", INFER, body + members(b"") * 62, {"content-encoding": "gzip"}, max_body_bytes=2000)
    assert few.status_code == 200, few.text


@pytest.mark.parametrize(
    ("encoding", "body", "status", "told"),
    [
        ("gzip", members(b"{", b"}") + b"more", 400, "after the end"),
        ("gzip", members(b"{", b"}")[:-3], 400, "cut off"),
        ("gzip", members(b"{", b"}")[:-8] + b"\0" * 8, 400, "damaged"),
        ("gzip", members(b"{}") + zlib.compress(b""), 400, "after the end"),
        ("deflate", zlib.compress(b"{") + zlib.compress(b"}"), 400, "after the end"),
        ("gzip", b"not packed", 400, "it is not gzip, or damaged"),
        ("deflate", b"", 400, "cut off"),
        ("gzip", gzip.compress(b"{}")[:-3], 400, "cut off"),
        ("gzip", gzip.compress(b"{}") + b"more", 400, "after the end"),
        ("gzip", gzip.compress(b"{}")[:-8] + b"\0" * 8, 400, "damaged"),
        ("br", b"", 415, "gzip or deflate"),
        ("gzip, gzip", b"", 415, "gzip or deflate"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(
    store: FolderStore, encoding: str, body: bytes, status: int, told: str
) -> None:
    response = ask(store, "POST", INFER, body, {"content-encoding": encoding})
    assert response.status_code == status, response.text
    assert told in response.json()["error"]
    assert (response.headers.get("accept-encoding") == "gzip, deflate") == (status == 415)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Overloaded("The queue is full.", 3), 503),
        (DeadlineExceeded("Too late."), 503),
        (PredictionFailed("The model failed."), 500),
    ],
)
def test_load_deadline_and_failure_have_the_codes_of_triton_and_are_counted_as_failures(
    store: FolderStore, error: Exception, status: int
) -> None:
    async def work() -> None:
        async def fail(rows: Any, deadline: float) -> Any:
            raise error

        async with serving(store) as server:
            (model,) = server.engine.loaded()
            model.batcher.submit = fail
            response = await server.client.post(INFER, json={"inputs": [TINY]})
            assert (response.status_code, response.json()) == (status, {"error": str(error)})
            wait = {"The queue is full.": "3", "Too late.": "1"}
            assert response.headers.get("retry-after") == wait.get(str(error))
            found = (await statistics(server))["inference_stats"]
            assert (found["fail"]["count"], found["success"]["count"]) == (1, 0)

    run(work())


async def statistics(server: Server) -> dict[str, Any]:
    response = await server.client.get("/v2/models/tiny/stats")
    (entry,) = response.json()["model_stats"]
    assert isinstance(entry, dict)
    return entry


def test_statistics_count_rows_calls_and_times_of_all_dialects(store: FolderStore) -> None:
    async def work() -> None:
        async with serving(store) as server:
            before = await statistics(server)
            assert (before["last_inference"], before["inference_count"], before["batch_stats"]) == (0, 0, [])
            for body in ([ONE], [ONE, TWO], [ONE, TWO]):
                await server.client.post("/v1/models/tiny:predict", json={"instances": body})
            await server.client.post(INFER, json={"inputs": [TINY]})
            await server.client.post(INFER, json={"inputs": [TINY | {"shape": [1]}]})
            found = await statistics(server)
            assert (found["name"], found["version"]) == ("tiny", "1")
            assert (found["inference_count"], found["execution_count"]) == (6, 4)
            assert (found["response_stats"], found["memory_usage"]) == ({}, [])
            assert found["last_inference"] > 1.7e12
            parts = found["inference_stats"]
            assert {name: part["count"] for name, part in parts.items()} == {
                "success": 4, "fail": 0, "queue": 4, "compute_input": 4, "compute_infer": 4, "compute_output": 4,
                "cache_hit": 0, "cache_miss": 0,
            }  # fmt: skip
            assert 0 < parts["compute_infer"]["ns"] < parts["success"]["ns"]
            assert 0 < parts["compute_input"]["ns"] < parts["success"]["ns"]
            assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in found["batch_stats"]] == [
                (1, 2), (2, 2),
            ]  # fmt: skip

    run(work())


def test_requests_are_counted_under_the_name_of_the_dialect(store: FolderStore) -> None:
    async def work() -> str:
        async with serving(store) as server:
            await server.client.post(INFER, json={"inputs": [TINY]})
            await server.client.post(INFER, json={"inputs": [TINY | {"shape": [9]}]})
            return str((await server.client.get("/metrics")).text)

    text = run(work())
    for status in (200, 400):
        assert (
            f'model_server_requests_total{{model="tiny",protocol="open_inference",status="{status}",version="1"}} 1.0'
            in text
        )
