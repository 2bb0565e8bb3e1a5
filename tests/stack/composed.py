"""One stack in containers, used as a person uses it: by make, Docker Compose, Docker, and the ports that it opens."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import env_file
from services.compose import compose_command
from tests.sites import INHERITED, free_port

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROJECT = "regatta_s_test"
IMAGES = "regatta_test"
Done = subprocess.CompletedProcess[str]


def docker(*arguments: str, check: bool = True, timeout_s: float = 120) -> Done:
    """`docker …`, to its end."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0 or not check, (
        f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
    return done


@cache
def _compose() -> tuple[str, ...]:
    return tuple(compose_command())


@dataclass(frozen=True)
class Composition:
    """A copy of the repository, and the stack that is started from it. `settings` are variables of every command."""

    folder: Path
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    model_port: int = field(default_factory=free_port)

    @property
    def server(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def model_server(self) -> str:
        return f"http://127.0.0.1:{self.model_port}"

    @property
    def secrets(self) -> dict[str, str]:
        return env_file.read(self.folder / ".env")

    def image(self, name: str) -> str:
        return f"{IMAGES}/{name}"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in INHERITED.items()
            if not name.startswith(("MLFLOW_", "REGATTA_", "MODEL_SERVER_", "COMPOSE_", "MAKE", "MFLAGS", "POSTGRES_"))
        }
        return kept | {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "REGATTA_IMAGES": IMAGES,
            "REGATTA_HOME": str(self.folder / ".regatta"),
            "MLFLOW_PORT": str(self.port),
            "MODEL_SERVER_PORT": str(self.model_port),
            **self.settings,
            **more,
        }

    def make(self, *words: str, timeout_s: float = 890, **more: str) -> Done:
        """`make …` in the copy."""
        return subprocess.run(
            ["make", *words],
            cwd=self.folder, env=self.environment(**more), capture_output=True, text=True, check=False,
            timeout=timeout_s,
        )  # fmt: skip

    def compose(self, *arguments: str, check: bool = True, timeout_s: float = 600, **more: str) -> Done:
        """`docker compose …` in the copy."""
        done = subprocess.run(
            [*_compose(), *arguments],
            cwd=self.folder, env=self.environment(**more), capture_output=True, text=True, check=False,
            timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def sweep(self, *flags: str, recipe: str = "configs/sweeps/digits.yaml", timeout_s: float = 600) -> dict[str, Any]:
        """`docker compose run sweep`, which must succeed; returns its JSON summary."""
        done = self.compose(
            *("--profile", "sweep", "run", "--rm", "-T", "sweep", "sweep", recipe, "--json", *flags),
            timeout_s=timeout_s,
        )
        summary: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return summary

    def begin_sweep(self, name: str, *flags: str, recipe: str = "configs/sweeps/digits.yaml") -> str:
        """A sweep in a container of this name, in the background."""
        docker("rm", "--force", name, check=False)
        self.compose(*("--profile", "sweep", "run", "-d", "--name", name, "sweep", "sweep", recipe, *flags))
        return name

    def container(self, service: str) -> str:
        """The name of a service's container."""
        listed = docker(
            *("ps", "--all", "--filter", f"label=com.docker.compose.project={PROJECT}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
            *("--filter", "label=com.docker.compose.oneoff=False", "--format", "{{.Names}}"),
        ).stdout.split()
        (name,) = listed
        return name

    def inspect(self, container: str) -> dict[str, Any]:
        told: list[dict[str, Any]] = json.loads(docker("inspect", container).stdout)
        return told[0]

    def health(self, service: str) -> str:
        state = self.inspect(self.container(service))["State"]
        return str(state["Health"]["Status"]) if state["Status"] == "running" else str(state["Status"])

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 240, look_s: float = 0.3) -> None:
        """Waits for what only asking shows."""
        deadline, pause = time.monotonic() + timeout_s, threading.Event()
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
            pause.wait(look_s)

    def until_healthy(self, *services: str) -> None:
        for service in services:
            self.until(lambda service=service: self.health(service) == "healthy", f"{service} is healthy")  # type: ignore[misc]

    def exit_code(self, container: str, timeout_s: float = 600) -> int:
        """Waits for a container's end."""
        return int(docker("wait", container, timeout_s=timeout_s).stdout.split()[-1])

    def logs(self, container: str) -> str:
        done = docker("logs", container, check=False)
        return done.stdout + done.stderr

    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.server, registry_uri=self.server)

    def runs(self, experiment: str) -> list[Any]:
        """All runs of an experiment; none where it is not there yet."""
        client = self.client()
        found = client.get_experiment_by_name(experiment)
        return [] if found is None else list(client.search_runs([found.experiment_id], max_results=1000))

    def query(self, database: str, sql: str) -> list[str]:
        """What PostgreSQL answers, line by line."""
        told = docker(
            *("exec", self.container("postgres"), "psql", "-U", "postgres", "-h", "/var/run/postgresql"),
            *("-d", database, "-tAc", sql),
        )
        return told.stdout.split("\n")[:-1]

    def clear(self) -> None:
        """Removes the stack with its volumes, and the sweeps that ran beside it."""
        of_project = f"label=com.docker.compose.project={PROJECT}"
        containers = docker("ps", "--all", "--quiet", "--filter", of_project, check=False).stdout.split()
        if containers:
            docker("rm", "--force", "--volumes", *containers, check=False)
        for kind in ("volume", "network"):
            named = docker(kind, "ls", "--quiet", "--filter", of_project, check=False).stdout.split()
            if named:
                docker(kind, "rm", *named, check=False)


def ports_of(told: Mapping[str, Any]) -> set[str]:
    """The addresses of this machine on which a container's ports are open."""
    bound = told["NetworkSettings"]["Ports"] or {}
    return {each["HostIp"] for bindings in bound.values() for each in bindings or []}
