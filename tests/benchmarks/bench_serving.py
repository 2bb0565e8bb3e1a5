"""The model server against `mlflow models serve`, a bare ASGI echo, and FastAPI with Keras, in one run on one machine.

Each server is a process on one core, the load generator is one on another. What is compared is measured turn by turn,
in several rounds, and the medians of the rounds are compared: what else the machine does then hits all of them.
"""

from __future__ import annotations

import os
import timeit
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import simdjson

from tests.benchmarks import bench_serving_overload
from tests.benchmarks.lanes_parts import module, run
from tests.benchmarks.parts import arguments, scratch, table, where
from tests.benchmarks.serving_model import NAME, SHAPE, Body, binary_body, json_body
from tests.benchmarks.serving_peers import (
    Measured,
    Server,
    answer_size,
    bare_echo,
    cores,
    fastapi_keras,
    load,
    mlflow_serve,
    regatta,
    registry,
    running,
)

ROWS = (1, 32)
CONNECTIONS = (1, 16)
INFER, INVOCATIONS = f"/v2/models/{NAME}/infer", "/invocations"
STARTS = 3
# Below this share of a core the generator waits for the server, and not the other way round.
GENERATOR_SHARE = 0.85


class Case(NamedTuple):
    """One kind of request: `form` is json or binary."""

    form: str
    rows: int
    connections: int

    @property
    def body(self) -> Body:
        """What is sent."""
        return json_body(self.rows) if self.form == "json" else binary_body(self.rows)


@dataclass(frozen=True)
class Floor:
    """What is to hold: `found` is to be at least (or, if `below`, at most) `wanted`."""

    what: str
    wanted: float
    found: float
    below: bool = False

    @property
    def holds(self) -> bool:
        """Whether it does."""
        return self.found < self.wanted if self.below else self.found >= self.wanted

    def row(self) -> list[object]:
        """For the table."""
        return [self.what, f"{'<' if self.below else '>='} {self.wanted:g}", self.found, "yes" if self.holds else "NO"]


Results = Mapping[tuple[str, Case], Measured]


def cases(form: str) -> list[Case]:
    """All kinds of requests of a form."""
    return [Case(form, rows, connections) for connections in CONNECTIONS for rows in ROWS]


def middle(runs: Sequence[Measured]) -> Measured:
    """The medians of several runs, each figure for itself."""
    statuses: dict[str, int] = defaultdict(int)
    for one in runs:
        for status, count in one.statuses.items():
            statuses[status] += count
    figures = ("per_second", "p50_us", "p99_us", "server_us", "generator_share")
    return Measured(
        **{name: median(getattr(one, name) for one in runs) for name in figures}, statuses=statuses, raw=runs[0].raw
    )


def measure(servers: Mapping[str, Sequence[Server]], folder: Path, *, seconds: float, rounds: int) -> Results:
    """Asks every server every case, turn by turn; `servers` has them by the form that they read.

    An echo answers with one size only, so there is one for each number of rows; its name ends with it.
    """
    found: dict[tuple[str, Case], list[Measured]] = defaultdict(list)
    turns = [
        (server, case)
        for form, group in servers.items()
        for case in cases(form)
        for server in group
        if not server.name.startswith("bare echo") or server.name.endswith(f" {case.rows}")
    ]
    for server, case in turns:  # each once before anything counts: pages, caches and threads are there then
        load(server, _path(case), case.body, folder, connections=case.connections, seconds=min(0.5, seconds))
    for _ in range(rounds):
        for server, case in turns:
            one = load(server, _path(case), case.body, folder, connections=case.connections, seconds=seconds)
            found[_name(server), case].append(one)
    return {key: middle(runs) for key, runs in found.items()}


def _path(case: Case) -> str:
    return INVOCATIONS if case.form == "json" else INFER


def _name(server: Server) -> str:
    return "bare echo" if server.name.startswith("bare echo") else server.name


def starts(folder: Path, uri: str) -> tuple[list[float], float]:
    """Seconds from the start of the process to ready, with a warm cache; and MiB of memory after some load."""
    with running(partial(regatta, folder, uri)):
        pass  # fills the cache
    seconds, memory = [], 0.0
    for _ in range(STARTS):
        with running(partial(regatta, folder, uri)) as (server,):
            seconds.append(server.ready_s)
            for case in (Case("json", 32, 16), Case("binary", 32, 16)):
                load(server, _path(case), case.body, folder, connections=case.connections, seconds=1.0)
            memory = max(memory, server.memory_mb())
    return seconds, memory


def floors(results: Results, ready_s: float, memory_mb: float) -> list[Floor]:
    """What is to hold, beside what was found."""
    found = []
    for case in cases("json"):
        if case.connections == max(CONNECTIONS) and ("mlflow models serve", case) in results:
            ratio = results["regatta", case].per_second / results["mlflow models serve", case].per_second
            found.append(Floor(f"requests/s, times mlflow models serve, {_told(case)}", 300, ratio))
    for case in cases("binary"):
        ours, echo = results["regatta", case], results["bare echo", case]
        if case.connections == max(CONNECTIONS):
            found.append(
                Floor(f"requests/s, share of the bare echo, {_told(case)}", 0.5, ours.per_second / echo.per_second)
            )
        else:
            found.append(
                Floor(f"median, times the bare echo's, {_told(case)}", 2, ours.p50_us / echo.p50_us, below=True)
            )
    found.append(Floor("seconds from start to ready, warm cache", 3, ready_s, below=True))
    found.append(Floor("MiB of resident memory", 250, memory_mb, below=True))
    return found


def bounds(results: Results) -> list[str]:
    """How much faster than `mlflow models serve` a server in Python could be on this core, by what none can skip."""
    lines = []
    for case in cases("json"):
        if case.connections == max(CONNECTIONS) and ("mlflow models serve", case) in results:
            theirs = results["mlflow models serve", case].per_second
            echo, reading = results["bare echo", case].per_second / theirs, readings_per_s(case.body) / theirs
            lines.append(
                f"{_told(case)}: times mlflow models serve, a bare echo that looks at nothing is {echo:.0f}, "
                f"and checking that the body is JSON (simdjson) with no server around it {reading:.0f}."
            )
    return lines


def readings_per_s(body: Body) -> float:
    """How many times a second simdjson reads a body, without a look at what is in it; the fastest of several tries."""
    parser = simdjson.Parser()
    timer = timeit.Timer(lambda: parser.parse(body.content))
    times, _ = timer.autorange()
    return times / min(timer.repeat(5, times))


def _told(case: Case) -> str:
    rows = "1 row" if case.rows == 1 else f"{case.rows} rows"
    return f"{case.form}, {rows}, {case.connections} connection{'s' if case.connections > 1 else ''}"


def told(results: Results) -> str:
    """The table of all runs. The last column is our requests a second by the server's."""
    rows = []
    for case in (*cases("json"), *cases("binary")):
        for name in dict.fromkeys(name for name, other in results if other == case):
            one = results[name, case]
            rows.append(
                [
                    _told(case),
                    name,
                    round(one.per_second, 1),
                    round(one.p50_us),
                    round(one.p99_us),
                    round(one.server_us),
                    f"{one.generator_share:.0%}",
                    " ".join(f"{count}x{status}" for status, count in one.statuses.items()),
                    results["regatta", case].per_second / one.per_second,
                ]
            )
    columns = ["request", "server", "req/s", "p50 us", "p99 us", "cpu us", "load's core", "answers", "regatta is times"]
    return table(columns, rows)


def warnings(results: Results) -> list[str]:
    """Whatever makes figures worth less."""
    busy = [
        f"{_told(case)} on {name}" for (name, case), one in results.items() if one.generator_share > GENERATOR_SHARE
    ]
    lines = [f"The load generator was the bottleneck of: {', '.join(busy)}."] if busy else []
    if cores()[0] == cores()[1]:
        lines.append("Servers and load generator share a core on this machine: the ratios are too favourable.")
    wrong = [f"{_told(case)} on {name}" for (name, case), one in results.items() if set(one.statuses) != {"200"}]
    return lines + ([f"Not every answer was 200 for: {', '.join(wrong)}."] if wrong else [])


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run of the load generator")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default="mlflow,fastapi", help="separated by commas; none if empty")
    parser.add_argument("--model", type=Path, help="folder with a registry that an earlier run has made there")
    parser.add_argument("--no-overload", action="store_true", help="leaves out what happens at twice the capacity")
    chosen = parser.parse_args(given)
    peers = {"mlflow": mlflow_serve, "fastapi": fastapi_keras}
    wanted = [peers[name] for name in chosen.peers.split(",") if name]
    print(f"A dense classifier of {SHAPE[0]}x{SHAPE[1]} pictures, one core for each server; {where()}", flush=True)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        model = (chosen.model or folder / "model").resolve()
        if not (model / "mlflow.db").exists():
            model.mkdir(parents=True, exist_ok=True)
            run(module("tests.benchmarks.serving_model", str(model)), os.environ, folder / "model.log")
        (server,) = stack.enter_context(running(partial(registry, folder, model)))
        seconds, memory = starts(folder, server.url)
        makers = [partial(maker, folder, model) for maker in wanted]
        with running(partial(regatta, folder, server.url)) as (ours,):
            sizes = {rows: answer_size(ours, INFER, rows) for rows in ROWS}
            echoes = [partial(bare_echo, folder, size) for size in sizes.values()]
            with running(*echoes) as both, running(*makers) as others:
                for rows, echo in zip(ROWS, both, strict=True):
                    echo.name = f"bare echo {rows}"
                servers = {"json": [ours, *both, *others], "binary": [ours, *both]}
                results = measure(servers, folder, seconds=chosen.seconds, rounds=chosen.rounds)
        print(told(results), *warnings(results), *bounds(results), sep="\n")
        print("Ready after", ", ".join(f"{one:.2f} s" for one in seconds), "with a warm cache.\n")
        lines = [floor.row() for floor in floors(results, median(seconds), memory)]
        print(table(["floor", "wanted", "found", "holds"], lines), flush=True)
        if not chosen.no_overload:
            print()
            bench_serving_overload.show(folder, server.url, seconds=max(3.0, chosen.seconds))


if __name__ == "__main__":
    main()
