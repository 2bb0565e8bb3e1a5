"""Real parts for tests that start real processes: a home of their own, and Regatta run in it by its command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[1]
DIGITS = "configs/sweeps/digits.yaml"
INHERITED = dict(os.environ)
"""Of this process. Not read later: another test may be changing it at that very moment."""
WARM_BYTES = 200 << 20
"""A worker process that fills more memory than this has TensorFlow in it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Site:
    """One REGATTA_HOME with the ports of its services, used through the command line alone.

    `settings` are variables of the environment that every command of this site gets: of a server that is not the site's
    own, or of a database. `root` is the copy of the repository that commands run in.
    """

    home: Path
    port: int
    model_port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    root: Path = ROOT

    @property
    def server(self) -> str:
        return self.settings.get("MLFLOW_TRACKING_URI") or f"http://127.0.0.1:{self.port}"

    @property
    def model_server(self) -> str:
        return f"http://127.0.0.1:{self.model_port}"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in INHERITED.items()
            if not name.startswith(("MLFLOW_", "REGATTA_", "MODEL_SERVER_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        return kept | {
            "REGATTA_HOME": str(self.home),
            "MLFLOW_PORT": str(self.port),
            "MODEL_SERVER_PORT": str(self.model_port),
            **self.settings,
            **more,
        }

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`regatta …`, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            cwd=self.root,
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
            cwd=self.root,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def local(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m services.local …`."""
        return subprocess.run(
            [sys.executable, "-m", "services.local", *arguments],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sweep(self, *flags: str, recipe: str = DIGITS, **more: str) -> dict[str, Any]:
        """A sweep that must succeed; returns its JSON summary."""
        done = self.run("sweep", recipe, "--json", *flags, **more)
        assert done.returncode == 0, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.server, registry_uri=self.server)

    def checkpoint(self, run_id: str, folder: Path) -> Path:
        """The checkpoint of a run, as MLflow gives it to anybody: the file of the run's one model that is READY."""
        from mlflow.artifacts import download_artifacts

        client = self.client()
        experiment_id = client.get_run(run_id).info.experiment_id
        found = client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
        (model,) = (model for model in found if model.model_type == "checkpoint")  # the other is the champion's package
        assert (model.name, str(model.status)) == ("checkpoint", "READY")
        where = download_artifacts(model.artifact_location, dst_path=str(folder), tracking_uri=self.server)
        (path,) = Path(where).glob("*.keras")
        return path


@contextmanager
def made_site(home: Path, **settings: str) -> Iterator[Site]:
    """A site; whatever it started by itself ends with the block."""
    site = Site(home, free_port(), free_port(), settings)
    try:
        yield site
    finally:
        if (home / "run").exists():  # it has started services of its own
            site.local("down")


class Watched:
    """A command of Regatta in the background, with its progress lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    @property
    def said(self) -> str:
        """All that it has printed to stderr so far."""
        return "".join(self.lines)

    def until(self, seen: Callable[[list[str]], bool], timeout_s: float = 120) -> None:
        """Waits for lines of progress."""
        with self._changed:
            assert self._changed.wait_for(lambda: seen(self.lines), timeout_s), self.said

    def until_true(self, condition: Callable[[], bool], timeout_s: float = 120, look_s: float = 0.05) -> None:
        """Waits for what does not show in the progress; fails where the command ends before."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"it did not come to that within {timeout_s:g} s:\n{self.said}"
            try:
                self.process.wait(look_s)
            except subprocess.TimeoutExpired:
                continue
            assert condition(), f"it ended with code {self.process.returncode} too soon:\n{self.said}"

    def children(self) -> list[psutil.Process]:
        """All processes below it; none where it is gone."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """The processes that train: those with TensorFlow in their memory."""
        found = []
        for child in self.children():
            try:
                if "spawn_main" in str(child.cmdline()) and child.memory_info().rss > WARM_BYTES:
                    found.append(child)
            except psutil.Error:
                continue  # it has just ended
        return found

    def ended(self, timeout_s: float = 200) -> int:
        """Waits for its end and returns its exit code; all lines are there then."""
        code = self.process.wait(timeout_s)
        self._reader.join(10)
        return code

    def json(self) -> dict[str, Any]:
        """What it has printed to stdout at its end: one JSON object."""
        assert self.process.stdout is not None
        printed: dict[str, Any] = json.loads(self.process.stdout.read())
        return printed

    def summary(self) -> dict[str, Any]:
        """The JSON summary of a sweep that must succeed."""
        assert self.ended() == 0, self.said
        return self.json()

    def close(self) -> None:
        """Ends it, with all that it started."""
        family = self.children()
        self.process.kill()
        self.process.wait()
        for child in family:
            if child.is_running():
                child.kill()
        psutil.wait_procs(family, 10)
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
