"""The champion changes again and again under constant load: nobody notices, but for what the headers say."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.services.model_server.parts import expected, write_package
from tests.services.model_server.processes import DEADLINE_S, Process, Registry

SHAPE, LABELS = (28, 28), tuple("0123456789")
VERSIONS = 3
CLIENTS = 3
# Loading, warming and freeing leave something behind the first times: threads, arenas, caches of the libraries.
SETTLING = 12

# MLflow and SQLAlchemy warn about themselves; only our own warnings are errors.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]


class Load:
    """Clients that ask without a pause, and hold every answer against the version that its header names."""

    def __init__(self, url: str, rows: NDArray[np.float32], right: dict[str, NDArray[np.float32]]) -> None:
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._right = right
        self._address = urlsplit(url)
        self._body = json.dumps({"instances": rows.tolist()}).encode()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=DEADLINE_S)
        headers = {"content-type": "application/json"}
        while not self._stop.is_set() and not self.wrong:
            try:
                connection.request("POST", "/v1/models/tiny:predict", self._body, headers)
                response = connection.getresponse()
                content = response.read()
            except OSError as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                return
            version = response.headers.get("x-model-version", "")
            if response.status != 200 or version not in self._right:
                self.wrong.append(f"{response.status} of version {version!r}: {content[:300]!r}")
            elif not np.allclose(json.loads(content)["predictions"], self._right[version], rtol=1e-4, atol=1e-6):
                self.wrong.append(f"an answer of version {version} is not that version's")
            self.answers[version] += 1
        connection.close()

    def seen(self, version: str, before: int) -> bool:
        """Whether a version has answered since there were so many answers of it, or something went wrong."""
        return self.answers[version] > before or bool(self.wrong)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    return np.random.default_rng(9).uniform(0, 16, (2, *SHAPE)).astype(np.float32)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with some versions of one model."""
    made = Registry(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)  # its SQL store asks the environment, not the client
    for seed in range(1, VERSIONS + 1):
        made.add("tiny", write_package(tmp_path / f"v{seed}", seed=seed, shape=SHAPE, labels=LABELS))
    return made


@pytest.fixture
def server(tmp_path: Path, registry: Registry) -> Iterator[Process]:
    registry.point("tiny", "1")
    process = Process(
        tmp_path / "server.log",
        MLFLOW_TRACKING_URI=registry.uri,
        MODEL_SERVER_CACHE=str(tmp_path / "cache"),
        MODEL_SERVER_MODELS="tiny",
        MODEL_SERVER_POLL_S="0.05",
        MODEL_SERVER_ACCESS_LOG="off",
    )
    process.wait_ready()
    yield process
    process.end()


@pytest.mark.parametrize(
    "changes", [pytest.param(8, marks=pytest.mark.end_to_end), pytest.param(100, marks=pytest.mark.soak)]
)
def test_changes_of_the_champion_under_load_fail_no_request_mix_no_answers_and_keep_no_memory(
    tmp_path: Path, registry: Registry, server: Process, rows: NDArray[np.float32], changes: int
) -> None:
    right = {str(seed): expected(tmp_path / f"v{seed}", rows) for seed in range(1, VERSIONS + 1)}
    load = Load(server.url, rows, right)
    sizes = [resident_mb(server)]
    try:
        for change in range(changes + SETTLING):
            version = str((change + 1) % VERSIONS + 1)
            registry.point("tiny", version)
            server.wait(partial(load.seen, version, load.answers[version]), f"version {version} answers")
            if load.wrong:
                break
            sizes.append(resident_mb(server))
    finally:
        load.end()

    assert load.wrong == []
    assert sum(load.answers.values()) > changes
    assert len(server.events("model_available")) > changes
    assert server.events("model_rejected") == []
    assert grown(sizes) < 0.05, f"MiB of resident memory after each change: {[round(size) for size in sizes]}"


def resident_mb(server: Process) -> float:
    return psutil.Process(server.pid).memory_info().rss / 2**20


def grown(sizes: Sequence[float]) -> float:
    """By which share the memory has grown since the storm had settled; the least of a few changes says what is kept."""
    window = 4
    start, end = min(sizes[SETTLING : SETTLING + window]), min(sizes[-window:])
    return end / start - 1
