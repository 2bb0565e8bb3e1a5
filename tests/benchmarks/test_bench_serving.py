"""That the benchmark of the model server counts and compares rightly; what it measures is nobody's to assert."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.benchmarks import bench_serving_overload
from tests.benchmarks.__main__ import main as run_benchmarks
from tests.benchmarks.bench_serving import Case, bounds, cases, floors, middle, readings_per_s, told, warnings
from tests.benchmarks.bench_serving_overload import COLUMNS, row, verdict
from tests.benchmarks.serving_load import Load, _Connection, http_request, moments, spread_us
from tests.benchmarks.serving_model import SHAPE, V2_HEADER, Body, binary_body, json_body, pictures
from tests.benchmarks.serving_peers import Measured


class Answers(socketserver.StreamRequestHandler):
    """Answers every third request with 429, and every body in two pieces."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while line.strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                line = self.rfile.readline()
            self.rfile.read(length)
            with self.server.lock:  # type: ignore[attr-defined]
                self.server.count += 1  # type: ignore[attr-defined]
                status = b"429 Too Many" if self.server.count % 3 == 0 else b"200 OK"  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.1 " + status + b"\r\nserver: x\r\nContent-Length: 8\r\nx-last: 1\r\n\r\n1234")
            self.wfile.flush()
            self.wfile.write(b"5678")


@contextmanager
def answering() -> Iterator[tuple[str, int]]:
    """The address of a server that counts what it is asked."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        count = 0
        lock = threading.Lock()

    with Server(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        host, port = server.server_address[:2]
        try:
            yield str(host), int(port)
        finally:
            server.shutdown()
            thread.join()


def test_a_closed_loop_counts_answers_by_their_status() -> None:
    with answering() as (host, port):
        load = Load(host, port, http_request(f"http://{host}:{port}/x", b"body", [("a", "b")]), 3)
        seen = load.closed_loop(0.05)
        load.close()
    total = sum(seen.statuses.values())
    assert set(seen.statuses) == {"200", "429"}
    assert seen.statuses["429"] == total // 3
    assert seen.per_second == pytest.approx(seen.statuses["200"] / seen.seconds)
    assert 0 < seen.answered_us["p50"] <= seen.answered_us["p99"] <= seen.answered_us["max"]
    assert seen.refused_us["max"] > 0


def test_answers_that_come_again_byte_by_byte_keep_their_status() -> None:
    good, bad = (b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\nab" % status for status in (200, 429))
    connection, seen = _Connection(cast(Any, None)), []
    for piece in (bad, bad, good, bad, good[:-1], good[-1:], bad, bad, good, good):
        if connection.take(memoryview(piece)):
            seen.append(connection.status)
    assert seen == [429, 429, 200, 429, 200, 429, 429, 200, 200]


def test_an_open_loop_sends_as_many_as_were_due() -> None:
    with answering() as (host, port):
        load = Load(host, port, http_request(f"http://{host}:{port}/x", b"", []), 4)
        seen = load.open_loop(0.1, rate=300)
        load.close()
    assert sum(seen.statuses.values()) == len(moments(0.1, 300))


def test_what_is_due_before_the_load_has_settled_is_sent_and_does_not_count() -> None:
    with answering() as (host, port):
        load = Load(host, port, http_request(f"http://{host}:{port}/x", b"", []), 4)
        seen = load.open_loop(0.05, rate=400, settle=0.05)
        load.close()
    assert sum(seen.statuses.values()) == sum(moment >= 0.05 for moment in moments(0.1, 400))


def test_what_finds_no_idle_connection_is_late_and_counts_from_when_it_was_due() -> None:
    with answering() as (host, port):
        load = Load(host, port, http_request(f"http://{host}:{port}/x", b"", []), 1)
        seen = load.open_loop(0.001, rate=20_000)
        load.close()
    assert sum(seen.statuses.values()) == len(moments(0.001, 20_000))
    assert seen.late > 0
    assert seen.lag_us["max"] > seen.answered_us["mean"], "they waited for the answers before them"
    assert seen.answered_due_us["max"] > seen.lag_us["p50"]
    assert seen.answered_us["max"] <= seen.answered_due_us["max"], "what a request waited for its turn is not in it"


def test_moments_are_as_many_as_the_rate_says_on_average_and_each_for_itself() -> None:
    found = np.asarray(moments(100.0, 200.0))
    gaps = np.diff(found)
    assert len(found) == pytest.approx(20_000, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05), "as of an exponential distribution"
    assert np.array_equal(found, moments(100.0, 200.0)), "the same ones every time"


def test_percentiles_are_of_the_ordered_values_in_microseconds() -> None:
    found = spread_us([0.003, 0.001, 0.002])
    assert found["p50"] == pytest.approx(2000)
    assert found["max"] == found["p99"] == pytest.approx(3000)
    assert spread_us([]) == {}


def test_the_bodies_hold_the_same_pictures() -> None:
    x = pictures(2)
    assert x.shape == (2, *SHAPE)
    assert np.array_equal(json.loads(json_body(2).content)["instances"], x)
    body = binary_body(2)
    head = int(dict(body.headers)[V2_HEADER])
    assert json.loads(body.content[:head])["inputs"][0]["shape"] == [2, *SHAPE]
    assert body.content[head:] == x.tobytes()


def measured(per_second: float, p50_us: float = 100.0, share: float = 0.2, **statuses: int) -> Measured:
    counts = {name.removeprefix("s"): count for name, count in statuses.items()} or {"200": 10}
    raw = {"answered_us": {"p50": p50_us, "p99": 300.0}, "refused_us": {"p50": 1000.0, "p99": 2000.0}}
    return Measured(per_second, p50_us, 300.0, 80.0, share, counts, raw)


def results(ours: float, mlflow: float, echo: float) -> dict[tuple[str, Case], Measured]:
    found = {}
    for case in (*cases("json"), *cases("binary")):
        found["regatta", case] = measured(ours, p50_us=150.0)
        peer, rate = ("mlflow models serve", mlflow) if case.form == "json" else ("bare echo", echo)
        found[peer, case] = measured(rate)
    return found


def test_floors_are_ratios_of_one_run() -> None:
    lines = floors(results(ours=3000, mlflow=10, echo=7000), ready_s=2.5, memory_mb=260)
    held = {floor.what: (floor.wanted, floor.found, floor.holds) for floor in lines}
    wanted = {
        "requests/s, times mlflow models serve, json, 1 row, 16 connections": (300, 300, True),
        "requests/s, share of the bare echo, binary, 32 rows, 16 connections": (0.5, 3 / 7, False),
        "median, times the bare echo's, binary, 1 row, 1 connection": (2, 1.5, True),
        "seconds from start to ready, warm cache": (3, 2.5, True),
        "MiB of resident memory": (250, 260, False),
    }
    assert {what: held[what] for what in wanted} == wanted


def test_what_no_server_can_skip_is_told_beside_the_floor() -> None:
    found = results(ours=3000, mlflow=10, echo=7000)
    found |= {("bare echo", case): measured(5000) for case in cases("json")}
    one, many = bounds(found)
    assert one.startswith(
        "json, 1 row, 16 connections: times mlflow models serve, a bare echo that looks at nothing is 500,"
    )
    assert many.startswith("json, 32 rows, 16 connections")
    assert readings_per_s(Body(b"[1.5]", ())) > readings_per_s(Body(b"[" + b"1.5," * 9999 + b"1.5]", ()))


def test_figures_are_medians_of_the_rounds_and_statuses_are_added_up() -> None:
    one = middle([measured(100, s200=5), measured(300, s200=6), measured(120, s200=7, s503=1)])
    assert one.per_second == 120
    assert one.statuses == {"200": 18, "503": 1}


def test_the_table_has_every_server_beside_ours() -> None:
    lines = told(results(ours=3000, mlflow=10, echo=6000)).splitlines()
    assert len(lines) == 1 + 16
    assert lines[2].split()[-1] == "300.000"
    assert lines[-1].split()[-1] == "0.500"


def test_a_run_that_says_little_is_told_so() -> None:
    found = results(ours=3000, mlflow=10, echo=6000)
    case = Case("binary", 1, 16)
    found["bare echo", case] = measured(6000, share=0.97)
    found["regatta", case] = measured(3000, s200=9, s429=1)
    said = "\n".join(warnings(found))
    assert "bottleneck of: binary, 1 row, 16 connections on bare echo." in said
    assert "Not every answer was 200 for: binary, 1 row, 16 connections on regatta." in said


def overload(answered_ms: float, refused_ms: float, **statuses: int) -> Measured:
    raw = {
        "answered_us": {"p50": answered_ms * 500, "p99": answered_ms * 1e3},
        "answered_due_us": {"p99": answered_ms * 2e3},
        "refused_us": {"p50": refused_ms * 500, "p99": refused_ms * 1e3},
        "late": 2,
    }
    counts = {name.removeprefix("s"): count for name, count in statuses.items()}
    return Measured(90.0, 0.0, 0.0, 80.0, 0.2, counts, raw)


def test_a_row_of_the_overload_has_medians_of_the_rounds_and_all_answers() -> None:
    rounds = [overload(one, 4, s200=90, s429=100, s503=10) for one in (1, 9, 2)]
    cells = dict(zip(COLUMNS[:8], row("json", "2 x capacity", 200.0, rounds), strict=False))
    assert cells["sent/s"] == 200
    assert cells["refused"] == "55%"
    assert (cells["p50 ms"], cells["p99"], cells["due p99"]) == (1, 2, 4)
    assert row("json", "2 x capacity", 200.0, rounds)[-1] == "270x200 300x429 30x503"
    assert row("json", "2 x capacity", 200.0, rounds)[12] == 6, "all that were late"


@pytest.mark.parametrize(
    ("busy", "holds"),
    [
        ([overload(3, 10, s200=1, s429=1)] * 3, "yes"),
        ([overload(3, 10, s200=1, s429=1), overload(50, 50, s200=1, s429=1), overload(3, 10, s200=1, s429=1)], "yes"),
        ([overload(3.1, 10, s200=1, s429=1)] * 3, "NO"),
        ([overload(3, 10.1, s200=1, s429=1)] * 3, "NO"),
        ([overload(3, 10, s200=1, s429=1)] * 2 + [overload(3, 10, s200=2)], "NO"),
    ],
    ids=["at the limits", "one round is another", "slow answers", "slow refusals", "a round with nobody refused"],
)
def test_the_overload_holds_when_answers_and_refusals_are_quick_and_somebody_is_refused(
    busy: list[Measured], holds: str
) -> None:
    assert verdict("json", "2 x capacity", [overload(1, 1, s200=1)] * 3, busy)[-1] == holds


@pytest.mark.parametrize(
    ("echo", "loads"),
    [
        (300.0, ["capacity", "0.2 x capacity", "2 x capacity"]),
        (153.0, ["capacity", "0.2 x capacity", "1.53 x capacity", "2 x capacity"]),
    ],
    ids=["an echo could read all of it", "no server in Python could"],
)
def test_what_an_echo_answers_is_tried_where_it_is_less_than_twice_the_capacity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, echo: float, loads: list[str]
) -> None:
    def load(server: Any, *_: Any, rate: float = 0.0, **__: Any) -> Measured:
        return measured(rate or {"regatta": 100.0, "echo": echo}[server])

    monkeypatch.setattr(bench_serving_overload, "load", load)
    ours, other = cast(Any, "regatta"), cast(Any, "echo")
    found = bench_serving_overload.measured(ours, other, tmp_path, "/x", json_body(1), 1.0)
    assert [name for name, _, _ in found] == loads
    assert [round(rate) for _, rate, _ in found][-1] == 200


def test_the_benchmark_is_listed() -> None:
    with pytest.raises(SystemExit, match="serving"):
        run_benchmarks(["speed"])
