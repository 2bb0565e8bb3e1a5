"""A real server beside a real MLflow server: champion, challenger, promotion, a damaged version, feedback, SIGTERM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pipelines.datasets.base import Samples
from pipelines.inputs import InputFacts
from pipelines.packaging.profile import profile_of
from tests.services.model_server.parts import LABELS, expected, seal, write_package
from tests.services.model_server.processes import DEADLINE_S, Process
from tests.sites import Site, made_site

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and SQLAlchemy warn about themselves

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.uniform(0, 16, (60, 2, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An MLflow server."""
    with made_site(tmp_path_factory.mktemp("learning") / "home") as site:
        done = site.local("up", "tracking_server")
        assert done.returncode == 0, done.stderr
        yield site


class Registered:
    """Registers packages of one model as promotion does."""

    def __init__(self, site: Site, name: str = "tiny") -> None:
        self.client, self.name = site.client(), name
        self.experiment = self.client.create_experiment(name)
        self.client.create_registered_model(name)

    def add(self, package: Path) -> tuple[str, str]:
        """Returns the version and the run that made it."""
        run = self.client.create_run(self.experiment).info.run_id
        model = self.client.create_logged_model(self.experiment, name="packed", source_run_id=run)
        self.client.log_model_artifacts(model.model_id, str(package))
        self.client.finalize_logged_model(model.model_id, "READY")
        made = self.client.create_model_version(self.name, model.model_uri, run_id=run, model_id=model.model_id)
        return str(made.version), run

    def point(self, alias: str, version: str) -> None:
        self.client.set_registered_model_alias(self.name, alias, version)


def package(folder: Path, seed: int) -> Path:
    write_package(folder, seed=seed)
    facts = InputFacts((2, 2), 0, 16, LABELS)
    train = Samples(RANDOM.uniform(0, 16, (500, 2, 2)).astype(np.float32), RANDOM.integers(0, 3, 500))
    (folder / "profile.json").write_text(json.dumps(profile_of(train, facts)))
    seal(folder)
    return folder


def ask(server: Process, rows: np.ndarray, path: str = "") -> httpx.Response:
    body = {"instances": rows.tolist()}
    return httpx.post(f"{server.url}/v1/models/tiny{path}:predict", json=body, timeout=DEADLINE_S)


def traffic(server: Process, version: str) -> dict[str, Any]:
    found = next(told for told in server.get("/traffic/tiny")["versions"] if told["version"] == version)
    assert isinstance(found, dict)
    return found


def test_what_a_server_learns_from_champion_challenger_and_feedback_is_in_mlflow(site: Site, tmp_path: Path) -> None:
    registered = Registered(site)
    first, source = registered.add(package(tmp_path / "v1", 1))
    registered.point("champion", first)
    server = Process(
        tmp_path / "server.log",
        MLFLOW_TRACKING_URI=site.server,
        MODEL_SERVER_CACHE=str(tmp_path / "cache"),
        MODEL_SERVER_MODELS="tiny",
        MODEL_SERVER_SHADOW="1",
        MODEL_SERVER_DRIFT="1",
        MODEL_SERVER_FEEDBACK="on",
        MODEL_SERVER_TRAFFIC_LOG_S="0.2",
    )
    try:
        server.wait_ready()
        second, _ = registered.add(package(tmp_path / "v2", 2))
        registered.point("challenger", second)
        server.wait(lambda: len(server.events("model_available")) == 2, "the challenger is loaded")

        right = expected(tmp_path / "v1", ROWS).argmax(1)
        ask(server, ROWS[:1])  # opens the profile
        server.wait(lambda: "inputs" in traffic(server, first)["drift"], "the profile is read")
        for row, label in zip(ROWS, right, strict=True):
            asked = ask(server, row[None])
            told = {"request_id": asked.headers["x-request-id"], "label": LABELS[label]}
            assert httpx.post(f"{server.url}/feedback", json=told).json()["right"] == 1
        ask(server, ROWS)
        server.wait(lambda: traffic(server, first)["drift"]["rows"] == 2 * len(ROWS), "all rows were looked at")
        server.wait(lambda: (traffic(server, first)["shadow"] or {}).get("rows", 0) > len(ROWS), "it was compared")
        agreement = (right == expected(tmp_path / "v2", ROWS).argmax(1)).mean()
        assert traffic(server, first)["shadow"]["agreement"] == pytest.approx(agreement, abs=0.1)

        registered.point("previous", first)
        registered.point("champion", second)
        registered.client.delete_registered_model_alias("tiny", "challenger")
        server.wait(lambda: ask(server, ROWS[:1]).headers["x-model-version"] == second, "the new champion answers")
        assert ask(server, ROWS[:1], "/labels/previous").headers["x-model-version"] == first
        shared = [event for event in server.events("model_available") if event.get("shared")]
        assert (shared[0]["model"], shared[0]["version"]) == ("tiny@previous", first)

        flipped = package(tmp_path / "v3", 3)
        (flipped / "model.onnx").write_bytes((tmp_path / "v1" / "model.onnx").read_bytes())
        third, _ = registered.add(flipped)
        registered.point("champion", third)
        server.wait(lambda: bool(tags(registered, third)), "the registry knows of the rejection")
        assert tags(registered, third)[0].startswith("REJECTED: model.onnx is damaged")
        assert ask(server, ROWS[:1]).headers["x-model-version"] == second

        run = server.get("/traffic")["mlflow"]["runs"][f"tiny/{first}"]
        server.terminate()
        assert server.exit_code() == 0, server.log.read_text()
    finally:
        server.end()
    assert "Traceback" not in server.log.read_text()
    kept = registered.client.get_run(run)
    experiment = kept.info.experiment_id
    assert registered.client.get_experiment(experiment).name == "tiny serving"
    assert kept.info.status == "FINISHED"
    assert {kept.data.tags[f"regatta.{key}"] for key in ("kind", "run_id", "version")} == {"serving", source, first}
    metrics = kept.data.metrics
    assert (metrics["feedback.accuracy"], metrics["feedback.rows"]) == (1, len(ROWS))
    assert metrics["shadow.agreement"] == pytest.approx(agreement, abs=0.1)
    assert metrics["drift.rows"] >= 2 * len(ROWS)
    assert metrics["drift.inputs.psi"] < 0.5
    last = registered.client.search_runs(
        [registered.experiment, experiment], "tags.`regatta.kind` = 'serving' and attributes.status = 'RUNNING'"
    )
    assert list(last) == []


def test_feedback_finds_the_process_that_answered(site: Site, tmp_path: Path) -> None:
    registered = Registered(site, "both")
    version, _ = registered.add(write_package(tmp_path / "v1", name="both", seed=1))
    registered.point("champion", version)
    server = Process(
        tmp_path / "server.log",
        MLFLOW_TRACKING_URI=site.server,
        MODEL_SERVER_CACHE=str(tmp_path / "cache"),
        MODEL_SERVER_MODELS="both",
        MODEL_SERVER_WORKERS="2",
        MODEL_SERVER_FEEDBACK="on",
        MODEL_SERVER_TRAFFIC_LOG_S="0",
    )
    try:
        server.wait_ready()
        server.wait(lambda: len(server.events("model_available")) == 2, "both processes have it")
        url = f"{server.url}/v1/models/both:predict"
        for row in ROWS[:40]:  # each on a connection of its own, so that any process may take it
            asked = httpx.post(url, json={"instances": row[None].tolist()}, timeout=DEADLINE_S)
            told = {"request_id": asked.headers["x-request-id"], "label": "zero"}
            assert httpx.post(f"{server.url}/feedback", json=told, timeout=DEADLINE_S).status_code == 200
        page = httpx.get(f"{server.url}/metrics", timeout=DEADLINE_S).text
        assert f'model_server_feedback_rows_total{{model="both",version="{version}"}} 40.0' in page
        server.terminate()
        assert server.exit_code() == 0, server.log.read_text()
    finally:
        server.end()


def tags(registered: Registered, version: str) -> list[str]:
    found = registered.client.get_model_version("tiny", version).tags
    return [text for key, text in found.items() if key.startswith("regatta.serving.")]
