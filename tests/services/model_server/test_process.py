"""The real process, over sockets, with a real MLflow registry in SQLite: its life from first champion to SIGTERM."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from services.model_server.needed import NEEDED, missing_packages
from tests.services.model_server.parts import expected, flip_byte, slow_graph, write_package
from tests.services.model_server.processes import DEADLINE_S, ROOT, ROWS, Process, Registry

# MLflow and SQLAlchemy warn about themselves; only our own warnings are errors.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts servers over one cache and ends those that a test leaves behind."""
    started: list[Process] = []

    def begin(uri: str, **variables: str) -> Process:
        cache = {"MLFLOW_TRACKING_URI": uri, "MODEL_SERVER_CACHE": str(tmp_path / "cache")}
        started.append(Process(tmp_path / f"server{len(started)}.log", **cache, **variables))
        return started[-1]

    yield begin
    for process in started:
        process.end()


class Load:
    """Clients that ask without a pause and keep what they saw."""

    def __init__(self, url: str, count: int = 3) -> None:
        self.seen: list[tuple[int, str | None]] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(timeout=DEADLINE_S) as client:
            while not self._stop.is_set():
                response = client.post(f"{self._url}/v1/models/tiny:predict", json={"instances": ROWS})
                self.seen.append((response.status_code, response.headers.get("x-model-version")))

    def stop(self) -> list[tuple[int, str | None]]:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        return self.seen


def test_a_server_lives_through_promotion_damage_shutdown_and_a_registry_that_is_away(
    tmp_path: Path, start: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)  # its SQL store asks the environment, not the client
    for seed in (1, 2, 3):
        write_package(tmp_path / f"v{seed}", seed=seed)
    registry.point("tiny", registry.add("tiny", tmp_path / "v1"))
    registry.point("slow", registry.add("slow", write_package(tmp_path / "slow", name="slow", graph=slow_graph())))
    server = start(registry.uri, MODEL_SERVER_MAX_BATCH="128")
    server.wait(lambda: len(server.events("model_available")) == 2, "both champions are loaded")
    first = server.predict()
    np.testing.assert_allclose(first.json()["predictions"], expected(tmp_path / "v1", ROWS), rtol=1e-5)

    load = Load(server.url)
    registry.point("tiny", registry.add("tiny", tmp_path / "v2"))
    server.wait(lambda: (200, "2") in load.seen, "version 2 answers")
    seen = load.stop()
    assert {status for status, _ in seen} == {200}
    versions = [version for _, version in seen]
    assert versions[0] == "1"
    np.testing.assert_allclose(server.predict().json()["predictions"], expected(tmp_path / "v2", ROWS), rtol=1e-5)

    before = set(registry.stored("model.onnx"))
    third = registry.add("tiny", tmp_path / "v3")
    (graph,) = set(registry.stored("model.onnx")) - before
    flip_byte(graph)
    registry.point("tiny", third)
    server.wait(lambda: bool(server.events("model_rejected")), "version 3 is rejected")
    (entry,) = (model for model in server.get("/models")["models"] if model["name"] == "tiny")
    assert (entry["version"], entry["rejected"]["version"]) == ("2", "3")
    assert "REJECTED: model.onnx is damaged" in entry["rejected"]["reason"]
    assert server.predict().headers["x-model-version"] == "2"

    answers: list[httpx.Response] = []
    body = {"instances": np.ones((2000, 2, 2)).tolist()}
    url = f"{server.url}/v1/models/slow:predict"
    clients = [threading.Thread(target=lambda: answers.append(httpx.post(url, json=body, timeout=DEADLINE_S)))]
    for client in clients:
        client.start()
    server.wait(
        lambda: float(gauge(server.url, 'model_server_queue_rows{model="slow",version="1"}')) > 0, "it computes"
    )
    server.terminate()
    assert server.exit_code() == 0, server.log.read_text()
    for client in clients:
        client.join(DEADLINE_S)
    assert [response.status_code for response in answers] == [200]
    assert len(answers[0].json()["predictions"]) == 2000
    assert "Traceback" not in server.log.read_text()

    later = start("http://127.0.0.1:9", MODEL_SERVER_MODELS="tiny")
    later.wait_ready()
    assert later.predict().headers["x-model-version"] == "2"
    assert later.get("/models")["models"][0]["staleness_s"] >= 0
    later.wait(lambda: later.get("/models")["registry"]["reachable"] is False, "it finds that nobody is there")
    assert asked(later.url, "--sample", "1").returncode == 0


def test_a_request_that_outlasts_the_drain_is_told_so_and_the_server_leaves_in_time(
    tmp_path: Path, start: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    registry.point("slow", registry.add("slow", write_package(tmp_path / "slow", name="slow", graph=slow_graph())))
    server = start(registry.uri, MODEL_SERVER_DRAIN_S="1", MODEL_SERVER_DEADLINE_S="60")
    server.wait_ready()
    answers: list[httpx.Response] = []
    body = json.dumps({"instances": np.ones((60_000, 2, 2)).tolist()})  # at least ten seconds of work
    url = f"{server.url}/v1/models/slow:predict"
    client = threading.Thread(target=lambda: answers.append(httpx.post(url, content=body, timeout=DEADLINE_S)))
    client.start()
    server.wait(
        lambda: float(gauge(server.url, 'model_server_queue_rows{model="slow",version="1"}')) > 0, "it computes"
    )
    start_s = time.monotonic()
    server.terminate()
    assert server.exit_code() == 0
    assert time.monotonic() - start_s < 5
    client.join(DEADLINE_S)
    assert answers[0].status_code == 503
    assert "shutting down" in answers[0].json()["error"]
    assert "Traceback" not in server.log.read_text()


def gauge(url: str, series: str) -> str:
    text = httpx.get(f"{url}/metrics").text
    return next((line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(series)), "0")


def asked(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.model_server.ask", "--url", url, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def run_module(**variables: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MODEL_SERVER_")} | variables
    command = [sys.executable, "-m", "services.model_server"]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def test_wrong_settings_are_one_sentence_each_and_exit_code_2(tmp_path: Path) -> None:
    done = run_module(MODEL_SERVER_PORT="http", MODEL_SERVER_WORKERS="many", MODEL_SERVER_CACHE=str(tmp_path))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(" is ")[0] for line in lines] == ["MODEL_SERVER_PORT", "MODEL_SERVER_WORKERS"]


def test_a_taken_port_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_module(MODEL_SERVER_PORT=str(port), MODEL_SERVER_CACHE=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"Port {port} on 127.0.0.1 is taken by another process; stop it or set another MODEL_SERVER_PORT."
    ]


def test_a_cache_that_cannot_be_made_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_module(MODEL_SERVER_PORT="0", MODEL_SERVER_CACHE=str(tmp_path / "file" / "cache"))
    assert done.returncode == 2
    assert done.stderr.startswith("MODEL_SERVER_CACHE is ")
    assert len(done.stderr.splitlines()) == 1


def test_the_server_never_imports_tensorflow_pandas_or_the_pipelines() -> None:
    names = "{'tensorflow', 'keras', 'pandas', 'pipelines', 'mlflow'}"
    code = f"import sys, services.model_server.app, services.model_server.__main__; print({names} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_python_without_the_packages_is_told_so_in_one_sentence() -> None:
    command = [sys.executable, "-S", "-m", "services.model_server"]  # -S: without what is installed
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "needs pillow, httptools, mlflow-skinny, numpy" in line
    assert "Start it with .venv/bin/python -m services.model_server" in line


def test_every_package_that_the_server_imports_is_looked_for_at_its_start() -> None:
    found = set()
    for path in (ROOT / "services" / "model_server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                found.add(node.module.partition(".")[0])
    assert found - sys.stdlib_module_names - {"services", "tensorflow", "keras"} == NEEDED.keys()
    assert missing_packages() == []
