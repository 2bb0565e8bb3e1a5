"""Triton's and KServe's own clients, each in an environment of its own, against the real model server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.services.model_server.parts import expected, write_kind, write_package
from tests.services.model_server.processes import Process, Registry

FOLDER = Path(__file__).parent / "foreign_clients"
LABELS = ("nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# What uv says where it has no way to an index. Anything else that it says is a mistake of ours.
UNREACHABLE = ("Failed to fetch", "was not found in the", "there is no version of")
INSTALL_S = 900

# MLflow and SQLAlchemy warn about themselves; only our own warnings are errors.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(2 * INSTALL_S)]


def made_environment(folder: Path, requirements: Path) -> Path:
    """Installs requirements into `folder`, or finds that it has been done; returns its Python."""
    python = folder / "bin" / "python"
    done = folder / f"done-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    if not done.exists():
        uv = str(Path(sys.executable).with_name("uv"))  # with pip it would take up to 40 s, most of it to compile
        subprocess.run(
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True, timeout=INSTALL_S
        )
        installed = subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)],
            capture_output=True, text=True, timeout=INSTALL_S, check=False,
        )  # fmt: skip
        if installed.returncode != 0:
            if any(word in installed.stderr for word in UNREACHABLE):
                pytest.skip(f"uv cannot install {requirements.name} here: {installed.stderr.splitlines()[-1]}")
            pytest.fail(installed.stderr)
        done.touch()
    return python


@pytest.fixture(scope="module")
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the clients' environments stay from run to run: pytest's cache, if it has one."""
    cache = getattr(request.config, "cache", None)
    return Path(cache.mkdir("foreign-clients")) if cache is not None else tmp_path_factory.mktemp("foreign-clients")


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    """Whole numbers from 0 to 16: half the bits of a float32 hold them as well."""
    return np.random.default_rng(5).integers(0, 17, (3, 28, 28)).astype(np.float32)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of pictures with ten classes, and one of a table with numbers and words."""
    folder = tmp_path_factory.mktemp("packages")
    return {
        "pictures": write_package(folder / "pictures", name="pictures", shape=(28, 28), labels=LABELS, seed=4),
        "table": write_kind(folder / "table", "binary words", name="table"),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path]) -> Iterator[str]:
    """The address of a server that has both models as champions."""
    folder = tmp_path_factory.mktemp("server")
    registry = Registry(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", registry.uri)  # the registry looks up a model's files by it
        for name, package in packages.items():
            registry.point(name, registry.add(name, package))
    process = Process(
        folder / "server.log",
        MLFLOW_TRACKING_URI=registry.uri,
        MODEL_SERVER_CACHE=str(folder / "cache"),
        MODEL_SERVER_MODELS=",".join(packages),
    )
    try:
        process.wait(lambda: loaded(process) == set(packages), "both models answer")
        yield process.url
    finally:
        process.end()


def loaded(process: Process) -> set[str]:
    """The names of the models that answer."""
    return {model["name"] for model in process.get("/models")["models"] if model["version"]}


def said(python: Path, script: str, address: str, samples: NDArray[np.float32]) -> dict[str, Any]:
    """Runs a script with a client, and returns what it printed."""
    done = subprocess.run(
        [str(python), "-I", str(FOLDER / script), address, json.dumps(samples.tolist())],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def triton(environments: Path, server: str, samples: NDArray[np.float32]) -> dict[str, Any]:
    """What tritonclient was told."""
    python = made_environment(environments / "tritonclient", FOLDER / "tritonclient.txt")
    return said(python, "ask_triton.py", server.removeprefix("http://"), samples)


@pytest.fixture(scope="module")
def kserve(environments: Path, server: str, samples: NDArray[np.float32]) -> dict[str, Any]:
    """What KServe's client was told."""
    python = made_environment(environments / "kserve", FOLDER / "kserve.txt")
    return said(python, "ask_kserve.py", server, samples)


@pytest.fixture(scope="module")
def scores(packages: dict[str, Path], samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph says to the samples when ONNX Runtime is asked directly."""
    return expected(packages["pictures"], samples)


def test_tritonclient_sees_what_is_ready(triton: dict[str, Any]) -> None:
    names = ("live", "ready", "model ready", "version ready", "other version ready")
    assert [triton[name] for name in names] == [True, True, True, True, False]


def test_tritonclient_reads_metadata_and_the_index(triton: dict[str, Any]) -> None:
    assert triton["server"]["name"] == "regatta"
    assert {"binary_tensor_data", "classification"} <= set(triton["server"]["extensions"])
    assert triton["metadata"]["versions"] == ["1"]
    assert triton["metadata"]["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 28, 28]}]
    assert triton["metadata"]["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
    columns = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in triton["table metadata"]["inputs"]}
    assert columns == {
        "age": ("FP32", [-1]), "city": ("BYTES", [-1]), "income": ("FP32", [-1]), "size": ("BYTES", [-1]),
    }  # fmt: skip
    index = {(entry["name"], entry["version"], entry["state"]) for entry in triton["index"]}
    assert index == {("pictures", "1", "READY"), ("table", "1", "READY")}


def test_tritonclient_reads_the_configuration(triton: dict[str, Any]) -> None:
    assert "model_configuration" in triton["server"]["extensions"]
    found = triton["configuration"]
    assert (found["name"], found["platform"], found["backend"]) == ("pictures", "onnxruntime_onnx", "onnxruntime")
    assert found["max_batch_size"] == 256
    assert found["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [28, 28]}]
    assert found["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]}]
    kinds = {tensor["name"]: tensor["data_type"] for tensor in triton["table configuration"]["input"]}
    assert kinds == {"age": "TYPE_FP32", "city": "TYPE_STRING", "income": "TYPE_FP32", "size": "TYPE_STRING"}


@pytest.mark.parametrize(
    "way",
    [
        "binary", "json", "json, answered in binary", "gzip", "deflate", "version", "half", "brain", "asynchronous",
    ],
)  # fmt: skip
def test_tritonclient_gets_the_scores_of_the_graph(
    triton: dict[str, Any], scores: NDArray[np.float32], way: str
) -> None:
    np.testing.assert_allclose(triton[way], scores, rtol=1e-5, atol=1e-7)


def test_tritonclient_gets_one_sample_answered_in_kind_and_its_id_back(
    triton: dict[str, Any], scores: NDArray[np.float32]
) -> None:
    np.testing.assert_allclose(triton["one"], scores[0], rtol=1e-5, atol=1e-7)
    assert triton["header"] == {"id": "mine", "model_name": "pictures", "model_version": "1"}


def test_tritonclient_gets_classes_with_their_labels(triton: dict[str, Any], scores: NDArray[np.float32]) -> None:
    order = np.argsort(-scores, axis=1)
    found = [text.split(":") for text in triton["classes"]]
    assert [(int(index), label) for _, index, label in found] == [
        (int(index), LABELS[index]) for row in order for index in row[:2]
    ]
    np.testing.assert_allclose(
        [float(value) for value, _, _ in found], np.sort(scores, axis=1)[:, ::-1][:, :2].ravel(), rtol=1e-6
    )
    assert [text.split(":")[2] for text in triton["classes in json"]] == [LABELS[index] for index in order[0]]


def test_tritonclient_sends_a_table_as_one_tensor_for_each_column(
    triton: dict[str, Any], packages: dict[str, Path]
) -> None:
    rows = [["39", "Oslo", "1200.5", "1"], ["61", "", "nan", "x,y"]]
    np.testing.assert_allclose(triton["table"], expected(packages["table"], rows), rtol=1e-5)


def test_tritonclient_reads_statistics(triton: dict[str, Any]) -> None:
    found = triton["statistics"]
    assert (found["name"], found["version"]) == ("pictures", "1")
    assert found["inference_stats"]["success"]["count"] == 12
    assert found["inference_count"] == 3 * 11 + 1
    assert sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in found["batch_stats"]) == 34
    assert found["inference_stats"]["compute_infer"]["ns"] > 0


@pytest.mark.parametrize(
    ("mistake", "status", "told"),
    [
        ("shape", "400", "Expected [-1,28,28], got [3,5,28]"),
        ("datatype", "400", "is INT64; this model takes FP32"),
        ("input", "400", "takes the input 'image' and nothing else, got: picture"),
        ("model", "404", "unknown model: 'nothing' is not found"),
        ("version", "404", "version 9 is not found; loaded: 1"),
        ("output", "400", "unexpected inference output 'logits'"),
        ("column", "400", "missing: city, size"),
        ("load", "501", "the registry"),
        ("unload", "501", "the registry"),
    ],
)
def test_tritonclient_is_told_what_is_wrong(triton: dict[str, Any], mistake: str, status: str, told: str) -> None:
    assert triton["wrong"][mistake]["status"] == status
    assert told in triton["wrong"][mistake]["message"]


def test_the_client_of_kserve_sees_what_is_ready_in_both_protocols(kserve: dict[str, Any]) -> None:
    second, first = kserve["v2"], kserve["v1"]
    names = ("live", "ready", "model ready", "other model ready")
    assert [second[name] for name in names] == [True, True, True, False]
    assert (first["live"], first["model ready"]) == (True, True)


@pytest.mark.parametrize("way", ["json to json", "json to binary", "binary to json", "binary to binary"])
def test_the_client_of_kserve_gets_the_scores_of_the_graph(
    kserve: dict[str, Any], scores: NDArray[np.float32], way: str
) -> None:
    np.testing.assert_allclose(kserve["v2"][way], scores, rtol=1e-5, atol=1e-7)
    assert kserve["v2"]["identity"] == ["mine", "pictures"]


def test_the_client_of_kserve_sends_bytes_of_pixels_and_speaks_v1(
    kserve: dict[str, Any], packages: dict[str, Path], samples: NDArray[np.float32], scores: NDArray[np.float32]
) -> None:
    pixels = samples.astype(np.uint8)
    np.testing.assert_allclose(kserve["v2"]["integers"], expected(packages["pictures"], pixels), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(kserve["v1"]["predictions"], scores, rtol=1e-5, atol=1e-7)


def test_the_client_of_kserve_is_told_what_is_wrong(kserve: dict[str, Any]) -> None:
    wrong = kserve["v2"]["wrong"]
    assert (wrong["shape"]["status"], wrong["model"]["status"]) == (400, 404)
    assert "Expected [-1,28,28], got [3,5,28]" in wrong["shape"]["message"]
