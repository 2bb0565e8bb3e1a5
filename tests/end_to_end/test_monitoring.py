"""A real Prometheus, a real model server and a real sweep: every expression of the board gives data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.asking import answers
from tests.faults.places import Place, made_place
from tests.services.model_server.parts import write_package
from tests.services.model_server.processes import Process, Registry
from tests.services.test_monitoring import FOLDER, board
from tests.sites import free_port

PATIENCE_S = 90.0
KEY = "the-key-of-the-model-server"
VARIABLES = {"$model": ".*", "$study": ".*", "$__rate_interval": "10s", "$__range": "1m"}

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and SQLAlchemy warn about themselves


@pytest.fixture
def model_server(tmp_path: Path) -> Iterator[Process]:
    """One that serves a champion, and wants a key."""
    registry, package = Registry(tmp_path / "registry"), tmp_path / "package"
    write_package(package, name="pictures", shape=(8, 8), seed=4)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", registry.uri)  # the registry looks up a model's files by it
        registry.point("pictures", registry.add("pictures", package))
    process = Process(
        tmp_path / "server.log",
        MLFLOW_TRACKING_URI=registry.uri,
        MODEL_SERVER_CACHE=str(tmp_path / "cache"),
        MODEL_SERVER_MODELS="pictures",
        MODEL_SERVER_API_KEY=KEY,
    )
    try:
        process.wait(lambda: [each["version"] for each in told(process, "/models")["models"]] == ["1"], "it answers")
        yield process
    finally:
        process.end()


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Place]:
    """A sweep that goes on for as long as the test, and tells of itself."""
    with made_place(tmp_path / "home", "watched", {"REGATTA_METRICS_PORT": str(free_port())}) as place:
        at = place.begin("--trials", "2000", "--no-promote", "--lanes", "off")
        at.until(lambda: at.trials_over() >= 1)
        yield place


@pytest.fixture
def prometheus(tmp_path: Path, model_server: Process, sweep: Place) -> Iterator[str]:
    """The address of one with the repository's own settings, but for the places and the pace."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed (apt-get install prometheus)")
    text, key = (FOLDER / "prometheus.yml").read_text(), tmp_path / "key"
    key.write_text(KEY)
    for before, after in {
        "model_server:8080": urllib.parse.urlsplit(model_server.url).netloc,
        '"sweep:9464", "host.docker.internal:9464"': f'"127.0.0.1:{sweep.site.settings["REGATTA_METRICS_PORT"]}"',
        "/tmp/model_server_key": str(key),
        "scrape_interval: 5s": "scrape_interval: 1s",
        "scrape_timeout: 4s": "scrape_timeout: 1s",
    }.items():
        assert before in text
        text = text.replace(before, after)
    settings, port = tmp_path / "prometheus.yml", free_port()
    settings.write_text(text)
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={settings}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if answers(address, "/-/ready"):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def told(process: Process, path: str, body: bytes | None = None) -> Any:
    """What the model server answers to somebody with its key."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(process.url + path, body, headers), timeout=10) as answer:
        return json.load(answer)


def asked(address: str, expression: str) -> list[Any]:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=10) as answer:
        result: list[Any] = json.load(answer)["data"]["result"]
        return result


def test_every_expression_of_the_board_gives_data(prometheus: str, model_server: Process, sweep: Place) -> None:
    expressions = [target["expr"] for panel in board()["panels"] for target in panel.get("targets", ())]
    image = json.dumps({"inputs": [[[3.0] * 8] * 8]}).encode()
    empty = set(expressions)

    def ask_all() -> bool:
        told(model_server, "/invocations", image)
        empty.difference_update([each for each in empty if asked(prometheus, each)])
        return not empty

    (watched,) = sweep.begun
    watched.until_true(lambda: ask_all() or watched.process.poll() is not None, PATIENCE_S, look_s=0.5)

    assert empty == set()
    up = {series["metric"]["job"]: series["value"][1] for series in asked(prometheus, "up")}
    assert up == {"model_server": "1", "sweep": "1"}
    (best,) = asked(prometheus, "regatta_best_value")
    assert re.fullmatch(r"watched val_loss", f"{best['metric']['study']} {best['metric']['metric']}")
