"""An MLflow server as a stranger sees it, by its REST API alone; and the processes behind such servers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from services.asking import answers
from tests.sites import INHERITED, Site, free_port

API = "/api/2.0/mlflow/"
START_S = 90.0


@dataclass(frozen=True)
class Point:
    step: int
    value: float
    time_ms: int


@dataclass(frozen=True)
class RunSeen:
    """A run as `runs/search` tells it."""

    run_id: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]

    @property
    def trial(self) -> int | None:
        """The trial that it is the record of; None of a parent."""
        return int(self.tags["regatta.trial"]) if "regatta.trial" in self.tags else None

    @property
    def state(self) -> str:
        return self.tags["regatta.state"]


@dataclass(frozen=True)
class Server:
    """Questions to one server."""

    address: str

    def post(self, path: str, **body: Any) -> Any:
        return self._ask("POST", API + path, json=body)

    def get(self, path: str, /, **params: Any) -> Any:
        return self._ask("GET", API + path, params=params)

    def experiment(self, name: str) -> str:
        """The id of an experiment that must be there."""
        found = self.get("experiments/get-by-name", experiment_name=name)["experiment"]
        return str(found["experiment_id"])

    def runs(self, experiment_id: str) -> list[RunSeen]:
        """All runs that are not deleted, page by page."""
        found, token = [], None
        while True:
            page = self.post(
                "runs/search",
                experiment_ids=[experiment_id],
                max_results=100,
                **({"page_token": token} if token else {}),
            )
            found += [_run(run) for run in page.get("runs", ())]
            token = page.get("next_page_token")
            if not token:
                return found

    def children(self, experiment_id: str, parent: str) -> list[RunSeen]:
        """The trials of a sweep, by number."""
        runs = [run for run in self.runs(experiment_id) if run.tags.get("mlflow.parentRunId") == parent]
        return sorted(runs, key=lambda run: run.trial or 0)

    def history(self, run_id: str, key: str) -> list[Point]:
        """All points of a metric in the order of their steps, doubled ones too."""
        found, token = [], None
        while True:
            more: dict[str, str] = {"page_token": token} if token else {}
            page = self.get("metrics/get-history", run_id=run_id, metric_key=key, max_results=1000, **more)
            found += [
                Point(int(point.get("step", 0)), float(point["value"]), int(point["timestamp"]))
                for point in page.get("metrics", ())
            ]
            token = page.get("next_page_token")
            if not token:
                return sorted(found, key=lambda point: point.step)

    def models(self, experiment_id: str) -> list[dict[str, Any]]:
        """The `info` of all logged models, with tags as a plain mapping."""
        found, token = [], None
        while True:
            more: dict[str, str] = {"page_token": token} if token else {}
            page = self.post("logged-models/search", experiment_ids=[experiment_id], max_results=50, **more)
            found += [_model(model["info"]) for model in page.get("models", ())]
            token = page.get("next_page_token")
            if not token:
                return found

    def model_files(self, model_id: str, folder: str = "") -> list[str]:
        """Paths of the files of a logged model."""
        params = {"artifact_directory_path": folder} if folder else {}
        listed = self.get(f"logged-models/{model_id}/artifacts/directories", **params)
        found = []
        for file in listed.get("files", ()):
            found += self.model_files(model_id, file["path"]) if file.get("is_dir") else [str(file["path"])]
        return found

    def model_file(self, model_id: str, path: str) -> bytes:
        """The content of a file of a logged model."""
        where = f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"
        return self._raw("GET", where, params={"artifact_file_path": path})

    def versions(self, name: str) -> list[dict[str, Any]]:
        """The registered versions of a model."""
        found = self.get("model-versions/search", filter=f"name = '{name}'", max_results=1000)
        return list(found.get("model_versions", ()))

    def artifacts(self, run_id: str, folder: str = "") -> set[str]:
        """Paths of a run's artifacts in one folder."""
        listed = self.get("artifacts/list", run_id=run_id, **({"path": folder} if folder else {}))
        return {str(file["path"]) for file in listed.get("files", ())}

    def artifact(self, run_id: str, path: str) -> str:
        """The text of a run's artifact."""
        return self._raw("GET", "/get-artifact", params={"run_uuid": run_id, "path": path}).decode()

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        return json.loads(self._raw(method, path, **more))

    def _raw(self, method: str, path: str, **more: Any) -> bytes:
        with requests.Session() as session:
            session.trust_env = False
            response = session.request(method, self.address + path, timeout=30, **more)
            assert response.status_code == 200, f"{method} {path}: {response.status_code} {response.text[:500]}"
            return bytes(response.content)


def _run(raw: dict[str, Any]) -> RunSeen:
    info, data = raw["info"], raw["data"]
    pairs = {
        name: {entry["key"]: entry.get("value", "") for entry in data.get(name, ())} for name in ("tags", "params")
    }
    metrics = {entry["key"]: float(entry["value"]) for entry in data.get("metrics", ())}
    return RunSeen(info["run_id"], info["status"], pairs["tags"], metrics, pairs["params"])


def _model(info: dict[str, Any]) -> dict[str, Any]:
    tags = {tag["key"]: tag.get("value", "") for tag in info.get("tags", ())}
    return {**info, "tags": tags, "status": info["status"].removeprefix("LOGGED_MODEL_")}


class LocalServer:
    """The server that a sweep starts for its home by itself."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def family(self) -> list[psutil.Process]:
        """Its processes; none while it does not run."""
        file = self._site.home / "run" / "tracking_server.json"
        if not file.exists():
            return []
        try:
            process = psutil.Process(json.loads(file.read_text())["pid"])
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        kill_all(self.family())

    def revive(self) -> None:
        """Nothing to do: the next sweep starts it."""

    def up(self) -> None:
        """Starts it now, for the questions of a test."""
        done = self._site.local("up", "tracking_server")
        assert done.returncode == 0, done.stderr


class OwnServer:
    """`mlflow server`, as somebody sets it up who wants a database of their own behind it."""

    def __init__(self, store: str, folder: Path) -> None:
        self.port = free_port()
        self._store = store
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Starts it, and waits until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self._store]
        command += ["--artifacts-destination", str(self._folder / "artifacts"), "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        log = self._folder / "server.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, env=INHERITED | settings, stdout=out, stderr=out)
        for _ in range(int(START_S / 0.1)):
            if answers(self.address, "/api/2.0/mlflow/experiments/search?max_results=1"):
                return
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(f"mlflow server did not start:\n{log.read_text(errors='replace')[-3000:]}")

    revive = up

    def family(self) -> list[psutil.Process]:
        """Its processes; none while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return []
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def kill(self) -> None:
        kill_all(self.family())
        if self._process is not None:
            self._process.wait(10)


def kill_all(processes: list[psutil.Process]) -> None:
    """SIGKILL for all of them, and waits until they are gone.

    Our own children are left to whoever began them to wait for: who asks for their exit code twice is told 0.
    """
    own = {child.pid for child in psutil.Process().children()}
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs([process for process in processes if process.pid not in own], 10)
