"""The model server as its users start it: a real process, over sockets, with a real MLflow registry in SQLite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[3]
ROWS = [[[1.0, 2.0], [3.0, 4.0]]]
DEADLINE_S = 40.0


class Registry:
    """An MLflow registry in one SQLite file, written to as promotion does it."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=self.uri)
        artifacts = folder / "artifacts"
        self._experiment = self._client.create_experiment("tiny", artifact_location=artifacts.as_uri())
        self._artifacts = artifacts

    def add(self, name: str, package: Path) -> str:
        """Registers a package as the next version, without an alias."""
        run = self._client.create_run(self._experiment)
        model = self._client.create_logged_model(self._experiment, name="packed", source_run_id=run.info.run_id)
        self._client.log_model_artifacts(model.model_id, str(package))
        self._client.finalize_logged_model(model.model_id, "READY")
        if not self._client.search_registered_models(filter_string=f"name = '{name}'"):
            self._client.create_registered_model(name)
        version = self._client.create_model_version(
            name, source=model.model_uri, run_id=run.info.run_id, model_id=model.model_id
        )
        return str(version.version)

    def point(self, name: str, version: str) -> None:
        """Moves the alias `champion`."""
        self._client.set_registered_model_alias(name, "champion", version)

    def stored(self, name: str) -> list[Path]:
        """Returns the stored copies of a file, oldest first."""
        return sorted(self._artifacts.rglob(name), key=lambda path: path.stat().st_mtime)


class Process:
    """A model server as its users start it."""

    def __init__(self, log: Path, **variables: str) -> None:
        self.log = log
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("MODEL_SERVER_", "MLFLOW_"))}
        environ |= {
            "MODEL_SERVER_PORT": "0",
            "MODEL_SERVER_POLL_S": "0.2",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        } | variables
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.model_server"], cwd=ROOT, env=environ, stderr=stream, stdout=stream
            )
        self.url = ""
        self.wait(lambda: bool(self.events("listening")), "it listens")
        self.url = self.events("listening")[0]["url"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until something is so, but not for ever."""
        end = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while not condition():
            if self._process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"waited in vain until {what}:\n{self.log.read_text()}")
            pause.wait(0.02)

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=DEADLINE_S).json()

    def predict(self) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/models/tiny:predict", json={"instances": ROWS}, timeout=DEADLINE_S)

    def wait_ready(self) -> None:
        self.wait(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, "it is ready")

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        return self._process.wait(DEADLINE_S)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
