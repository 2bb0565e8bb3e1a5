"""Several real processes on one port: a death under load, the end under load, and the sums of their metrics."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from services.model_server.following.model_cache import ModelCache
from services.model_server.host.workers import wait_before_restart_s
from services.model_server.settings import Ref
from tests.services.model_server.parts import FolderStore, write_package
from tests.services.model_server.processes import DEADLINE_S, Process

BODY = b'{"instances":[[[1,2],[3,4]]]}'
POST = b"POST /v1/models/tiny:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
ANSWERED = 'model_server_requests_total{model="tiny",protocol="tf_serving",status="200",version="1"}'
CLIENTS = 8


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts servers that have their model from the cache, so that no registry is needed."""
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1", seed=1), "tiny", "1")
    target = store.target("tiny", "1")
    assert target is not None
    store.fetch(target)
    store.confirm(Ref("tiny", "champion"), target, time.time())
    started: list[Process] = []

    def begin(**variables: str) -> Process:
        own = {
            "MODEL_SERVER_CACHE": str(tmp_path / "cache"),
            "MODEL_SERVER_MODELS": "tiny",
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "MODEL_SERVER_ACCESS_LOG": "off",
            "MODEL_SERVER_WORKERS": "2",
        }
        started.append(Process(tmp_path / f"server{len(started)}.log", **own | variables))
        return started[-1]

    yield begin
    for process in started:
        process.terminate()
        process.end()


class Crowd:
    """Clients that ask without a pause on connections that they keep; counts what they saw."""

    def __init__(self, url: str) -> None:
        self.seen: Counter[str] = Counter()
        self._port = int(url.rpartition(":")[2])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(CLIENTS)))

    async def _one(self) -> None:
        pair = None
        while not self._stopped.is_set():
            if pair is None:
                try:
                    pair = await asyncio.open_connection("127.0.0.1", self._port)
                except OSError:  # nobody listens any more: nothing was promised
                    self.seen["refused"] += 1
                    await asyncio.sleep(0.01)
                    continue
            reader, writer = pair
            try:
                writer.write(POST)
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                body = await reader.readexactly(int(length[1]))
            except (OSError, asyncio.IncompleteReadError):
                self.seen["broken"] += 1
                writer.close()
                pair = None
                continue
            status = head[9:12].decode()
            self.seen[status if status == "200" else f"{status}: {body.decode()}"] += 1
            if b"connection: close" in head:
                writer.close()
                pair = None
        if pair is not None:
            pair[1].close()

    def stop(self) -> Counter[str]:
        self._stopped.set()
        self._thread.join(DEADLINE_S)
        return self.seen


def metric(server: Process, series: str) -> float:
    text = httpx.get(f"{server.url}/metrics", timeout=DEADLINE_S).text
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series)), 0.0)


def all_ready(server: Process, workers: int = 2) -> bool:
    ready = httpx.get(f"{server.url}/readyz", timeout=DEADLINE_S).status_code == 200
    return ready and metric(server, "model_server_ready") == 1 and metric(server, "model_server_workers") == workers


def pid_of(server: Process, number: int) -> int:
    return int([event for event in server.events("worker_started") if event["number"] == number][-1]["pid"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_dies_under_load_and_the_end_comes_under_load(start: Callable[..., Process]) -> None:
    server = start()
    server.wait(lambda: all_ready(server), "both workers are ready")
    crowd = Crowd(server.url)
    server.wait(lambda: crowd.seen["200"] > 300, "there is load")
    killed = pid_of(server, 0)
    os.kill(killed, signal.SIGKILL)
    server.wait(lambda: bool(server.events("worker_died")), "the parent has seen it")
    before = crowd.seen["200"]
    server.wait(lambda: crowd.seen["200"] > before + 300, "the other one goes on")
    server.wait(lambda: all_ready(server), "another process is ready in its place")
    seen = crowd.stop()
    assert set(seen) <= {"200", "broken"}
    assert seen["broken"] <= CLIENTS, "only what the dead process had in its hands"
    (death,) = server.events("worker_died")
    assert (death["pid"], death["how"], death["next_in_s"]) == (killed, "signal 9", 0.0)
    assert pid_of(server, 0) != killed
    counted = metric(server, ANSWERED)
    assert seen["200"] <= counted <= seen["200"] + seen["broken"], "no answer of the dead process is forgotten"
    for _ in range(6):  # whichever process is asked
        assert metric(server, ANSWERED) == counted
        computed = metric(server, 'model_server_batch_rows_sum{model="tiny",version="1"}')
        assert counted <= computed <= counted + CLIENTS, "the last ones were computed, and not answered any more"

    crowd = Crowd(server.url)
    server.wait(lambda: crowd.seen["200"] > 300, "there is load again")
    workers = [pid_of(server, number) for number in (0, 1)]
    server.terminate()
    assert server.exit_code() == 0, server.log.read_text()
    seen = crowd.stop()
    assert set(seen) == {"200", "refused"}, "no answer was broken, and later nobody listened"
    assert not any(is_alive(pid) for pid in workers)
    assert {event["worker"] for event in server.events("draining")} == {0, 1}
    assert "Traceback" not in server.log.read_text()


def test_one_process_alone_ends_under_load_without_a_broken_answer(start: Callable[..., Process]) -> None:
    server = start(MODEL_SERVER_WORKERS="1")
    server.wait_ready()
    crowd = Crowd(server.url)
    server.wait(lambda: crowd.seen["200"] > 300, "there is load")
    server.terminate()
    assert server.exit_code() == 0, server.log.read_text()
    seen = crowd.stop()
    assert set(seen) == {"200", "refused"}
    assert "Traceback" not in server.log.read_text()


def test_every_request_is_in_the_sums_exactly_once(start: Callable[..., Process]) -> None:
    server = start(MODEL_SERVER_WORKERS="3")
    server.wait(lambda: all_ready(server, 3), "all workers are ready")
    for _ in range(40):  # a connection each, so that all workers get some
        assert server.predict().status_code == 200
        assert httpx.get(f"{server.url}/v2/models/nobody", timeout=DEADLINE_S).status_code == 404
    assert metric(server, ANSWERED) == 40
    missing = 'model_server_requests_total{model="",protocol="open_inference",status="404",version=""}'
    assert metric(server, missing) == 40
    latency = 'model_server_request_duration_seconds_count{model="tiny",protocol="tf_serving",version="1"}'
    assert metric(server, latency) == 40


def test_a_worker_that_hangs_is_replaced(start: Callable[..., Process]) -> None:
    server = start(MODEL_SERVER_HANG_S="1")
    server.wait(lambda: all_ready(server), "both workers are ready")
    assert metric(server, "model_server_worker_restarts_total") == 0
    stopped = pid_of(server, 0)
    os.kill(stopped, signal.SIGSTOP)
    server.wait(lambda: bool(server.events("worker_hangs")), "the parent sees that it says nothing")
    server.wait(lambda: pid_of(server, 0) != stopped and all_ready(server), "another process is ready in its place")
    assert metric(server, "model_server_worker_restarts_total") == 1
    assert server.events("worker_hangs")[0]["pid"] == stopped


def test_workers_end_when_their_parent_is_killed(start: Callable[..., Process]) -> None:
    server = start()
    server.wait(lambda: len(server.events("worker_started")) == 2, "the workers are started")
    server.wait(lambda: all_ready(server), "both are ready")
    workers = [pid_of(server, number) for number in (0, 1)]
    server.end()
    end = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while any(is_alive(pid) for pid in workers):
        assert time.monotonic() < end
        pause.wait(0.02)
    assert {event["signal"] for event in server.events("draining")} == {"parent died"}


@pytest.mark.parametrize(
    ("lived_s", "failures", "wait_s"),
    [(0.1, 0, 0), (0.1, 1, 0.5), (0.1, 2, 1), (0.1, 4, 4), (0.1, 7, 30), (0.1, 1000, 30), (31, 5, 0)],
)
def test_what_dies_young_again_and_again_is_replaced_ever_more_rarely(
    lived_s: float, failures: int, wait_s: float
) -> None:
    assert wait_before_restart_s(lived_s, failures) == wait_s


def test_two_processes_do_not_download_the_same_version_at_once(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "cache")
    store.add(write_package(tmp_path / "v1"), "tiny", "1")
    target = store.target("tiny", "1")
    assert target is not None
    other = ModelCache(tmp_path / "cache")  # opens the file anew, as another process does
    with store.cache.locked(target):
        (lock,) = (tmp_path / "cache" / "locks").iterdir()
        with lock.open("ab") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with other.locked(target):
        pass
