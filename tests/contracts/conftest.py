"""MLflow's real stores for the trackers' contract: one migrated database, and one server on a copy of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all its tables; making them takes up to ten seconds."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("mlflow")
    before = Path.cwd()
    os.chdir(folder)  # MLflow puts the artifacts of a bare database below the working directory
    try:
        path = folder / "mlflow.db"
        MlflowClient(tracking_uri=f"sqlite:///{path}", registry_uri=f"sqlite:///{path}").search_experiments()
    finally:
        os.chdir(before)
    return path


@pytest.fixture(scope="session")
def server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a local tracking server, as `make up-local` starts it."""
    home = tmp_path_factory.mktemp("served")
    (home / "mlflow").mkdir()
    shutil.copy(database, home / "mlflow" / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "REGATTA_"))}
    environment = {**kept, "REGATTA_HOME": str(home), "MLFLOW_PORT": str(port)}

    def local(*arguments: str) -> str:
        command = [sys.executable, "-m", "services.local", *arguments, "tracking_server", "--json"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    try:
        yield str(json.loads(local("up"))["services"]["tracking_server"]["address"])
    finally:
        local("down")
