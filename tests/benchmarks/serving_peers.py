"""The servers that `bench_serving` measures, each a process on a core of its own, away from the load generator's.

All of them may run at the same time: a server that nobody asks costs the others nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.lanes_parts import ROOT, free_port, module
from tests.benchmarks.serving_model import NAME, Body, binary_body, registry_uri

START_S = 180.0
_LOAD_S = 120.0


def cores() -> tuple[int, int]:
    """A core for the server and one for the load generator; the same one twice where there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return -1, -1
    own = sorted(os.sched_getaffinity(0))
    return own[0], own[-1]


@dataclass
class Server:
    """A server that answers.

    Attributes:
        name: What tables call it.
        url: Its address.
        process: The process, with its children.
        ready_s: Seconds from its start to its first "ready".
        log: Where it writes.
    """

    name: str
    url: str
    process: subprocess.Popen[bytes]
    ready_s: float
    log: Path

    def cpu_s(self) -> float:
        """Processor seconds of the process and its children so far."""
        return sum(sum(one.cpu_times()[:2]) for one in self._family())

    def held_up_s(self) -> float:
        """Seconds in which its main thread could have run, and something else was on its core; 0 if nobody counts."""
        try:
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def memory_mb(self) -> float:
        """Resident memory of the process and its children, in MiB."""
        return float(sum(one.memory_info().rss for one in self._family())) / 2**20

    def _family(self) -> list[psutil.Process]:
        head = psutil.Process(self.process.pid)
        return [head, *head.children(recursive=True)]

    def end(self) -> None:
        """Stops the process and its children."""
        family = self._family() if self.process.poll() is None else []
        for one in family:
            one.terminate()
        _, alive = psutil.wait_procs(family, timeout=15)
        for one in alive:
            one.kill()
        self.process.wait()


def start(
    name: str,
    command: Sequence[str],
    folder: Path,
    port: int,
    ready: str,
    environ: Mapping[str, str] | None = None,
    beside: bool = False,
) -> Server:
    """Starts a server on the servers' core, and waits until the address `ready` answers 200.

    One that is nobody's to measure runs `beside` it, on the load generator's core, and gives way to that.

    Raises:
        SystemExit: it ended, or does not become ready; with the end of its log.
    """
    core, url, log = cores()[beside], f"http://127.0.0.1:{port}", folder / f"{name.split()[0]}-{port}.log"
    taskset = ["taskset", "-c", str(core), *command] if core >= 0 else list(command)
    if beside:
        taskset = ["nice", "-n", "19", *taskset]
    begun, pause = time.perf_counter(), threading.Event()
    with log.open("wb") as words:
        process = subprocess.Popen(
            taskset, cwd=ROOT, env={**os.environ, **(environ or {})}, stdout=words, stderr=subprocess.STDOUT
        )
    while not _answers(url + ready):
        if process.poll() is not None or time.perf_counter() - begun > START_S:
            process.kill()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise SystemExit(f"{name} does not become ready. It said last:\n{tail}")
        pause.wait(0.01)
    return Server(name, url, process, time.perf_counter() - begun, log)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def registry(folder: Path, model: Path) -> Server:
    """An MLflow server over the registry in `model`.

    It is somebody else's machine, nearly always, so it leaves the servers' core alone: asked every two seconds, it took
    so much of it that the slowest hundredth of all answers was its work.
    """
    port = free_port()
    command = module(
        "mlflow", "server", "--backend-store-uri", registry_uri(model), "--artifacts-destination",
        str(model / "artifacts"), "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    )  # fmt: skip
    environ = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return start("registry", command, folder, port, "/health", environ, beside=True)


def regatta(folder: Path, uri: str, **settings: str) -> Server:
    """Our model server, over the registry at `uri`; its cache is in `folder`, and stays for the next start."""
    port = free_port()
    environ = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MODEL_SERVER_PORT": str(port),
        "MODEL_SERVER_MODELS": NAME,
        "MODEL_SERVER_CACHE": str(folder / "cache"),
    } | settings
    return start("regatta", module("services.model_server"), folder, port, "/readyz", environ)


def mlflow_serve(folder: Path, model: Path) -> Server:
    """`mlflow models serve` of the same model version, in this environment."""
    port = free_port()
    command = module(
        "mlflow", "models", "serve", "--model-uri", f"models:/{NAME}@champion", "--env-manager", "local",
        "--host", "127.0.0.1", "--port", str(port),
    )  # fmt: skip
    environ = {
        "MLFLOW_TRACKING_URI": registry_uri(model),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # it starts `uvicorn` by its name
    }
    return start("mlflow models serve", command, folder, port, "/ping", environ)


def fastapi_keras(folder: Path, model: Path) -> Server:
    """FastAPI around the Keras model of the same package."""
    port = free_port()
    keras_file = next((model / "package").rglob("*.keras"))
    command = module("tests.benchmarks.peers.fastapi_keras", "--port", str(port), "--model", str(keras_file))
    return start("fastapi + keras", command, folder, port, "/ping", {"TF_CPP_MIN_LOG_LEVEL": "2"})


def bare_echo(folder: Path, answer_bytes: int) -> Server:
    """The bare ASGI echo whose answers have so many bytes."""
    port = free_port()
    command = module("tests.benchmarks.peers.bare_echo", "--port", str(port), "--bytes", str(answer_bytes))
    return start("bare echo", command, folder, port, "/")


@contextmanager
def running(*makers: Callable[[], Server]) -> Iterator[list[Server]]:
    """Starts servers one after the other, and ends them."""
    with ExitStack() as stack:
        servers = []
        for maker in makers:
            servers.append(maker())
            stack.callback(servers[-1].end)
        yield servers


@dataclass(frozen=True)
class Measured:
    """One run of the load generator against one server."""

    per_second: float
    p50_us: float
    p99_us: float
    server_us: float
    """Processor time of the server for one answer, in microseconds."""
    generator_share: float
    statuses: Mapping[str, int]
    raw: Mapping[str, Any]
    held_up_share: float = 0.0
    """For which share of the time something else was on the server's core, and the server could have run."""


def load(
    server: Server,
    path: str,
    body: Body,
    folder: Path,
    *,
    connections: int,
    seconds: float,
    rate: float = 0.0,
    settle: float = 0.0,
) -> Measured:
    """Runs the load generator, in a process on its own core; an open loop at `rate`, which counts after `settle` s."""
    sent = folder / "sent"
    sent.write_bytes(body.content)
    command = module(
        "tests.benchmarks.serving_load", server.url + path, "--body", str(sent), "--connections", str(connections),
        "--seconds", str(seconds), "--rate", str(rate), "--settle", str(settle),
        "--core", str(cores()[1]), "--warm-up", "0",
        *(word for name, value in body.headers for word in ("--header", f"{name}:{value}")),
    )  # fmt: skip
    before, held_up = server.cpu_s(), server.held_up_s()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LOAD_S)
    spent, held_up = server.cpu_s() - before, server.held_up_s() - held_up
    if done.returncode != 0:
        raise SystemExit(f"The load generator failed on {server.name}: {done.stderr.strip().splitlines()[-1]}")
    raw = json.loads(done.stdout)
    statuses, answered = raw["statuses"], raw["answered_us"]
    return Measured(
        per_second=statuses.get("200", 0) / raw["seconds"],
        p50_us=answered.get("p50", float("nan")),
        p99_us=answered.get("p99", float("nan")),
        server_us=spent / max(1, sum(statuses.values())) * 1e6,
        generator_share=raw["cpu_share"],
        statuses=statuses,
        raw=raw,
        held_up_share=held_up / (raw["seconds"] + settle),
    )


def answer_size(server: Server, path: str, rows: int) -> int:
    """How many bytes our answer to a binary request has: what the echo is to answer with."""
    body = binary_body(rows)
    asked = urllib.request.Request(server.url + path, body.content, dict(body.headers), method="POST")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return len(answer.read())
