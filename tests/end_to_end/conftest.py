"""Real parts for the end-to-end tests: a home of their own, a tracking server on a free port, one finished sweep."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "configs/sweeps/digits.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.end_to_end)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Site:
    """One REGATTA_HOME with the ports of its services, used through the command line alone."""

    home: Path
    port: int
    model_port: int

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def model_server(self) -> str:
        return f"http://127.0.0.1:{self.model_port}"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "REGATTA_", "MODEL_SERVER_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        return kept | {
            "REGATTA_HOME": str(self.home),
            "MLFLOW_PORT": str(self.port),
            "MODEL_SERVER_PORT": str(self.model_port),
            **more,
        }

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`regatta …`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=ROOT,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def begin(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """`regatta …`, left running; its progress comes line by line on stderr."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=ROOT,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def local(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m services.local …`."""
        return subprocess.run(
            [sys.executable, "-m", "services.local", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sweep(self, *flags: str, **more: str) -> dict[str, Any]:
        """A sweep that must succeed; returns its JSON summary."""
        done = self.run("sweep", DIGITS, "--json", *flags, **more)
        assert done.returncode == 0, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.server, registry_uri=self.server)


@contextmanager
def made_site(home: Path) -> Iterator[Site]:
    site = Site(home, free_port(), free_port())
    try:
        yield site
    finally:
        site.local("down")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A home that nothing has used yet."""
    with made_site(tmp_path / "home") as made:
        yield made


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Any]]]:
    """A home in which one small sweep of the default recipe has run to its end, with its summary."""
    with made_site(tmp_path_factory.mktemp("swept") / "home") as made:
        yield made, made.sweep("--trials", "6", "--set", "epochs=8", "--set", "pruner.n_startup_trials=2")
