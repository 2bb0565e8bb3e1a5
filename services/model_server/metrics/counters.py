"""What the server counts. `exposition` adds it up over all processes and writes it for Prometheus.

Counting happens on the event loop for every request, so it is additions to places on a board; only a scrape builds
Prometheus's objects. Series of a model version live as long as a process has the version loaded.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from services.model_server.metrics.board import ACCEPTING, BEAT, PID, READY, Board, Cells, Key, Reader

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# A process that did not say for this long how it is counts as gone; its counters stay.
BEAT_S = 5.0
_MODEL = ("model", "version")


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: As Prometheus sees it, without `_total`.
        kind: `counter`, `histogram` or `gauge`.
        meaning: Its HELP line.
        labels: Names of the labels. A series with `model` and `version` ends when no process has the version loaded.
        bounds: Upper bounds of a histogram's buckets.
        merge: How a gauge of several processes becomes one: `sum`, `max` or `min`.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: str = "sum"


FAMILIES = {
    "requests": Family("model_server_requests", "counter", "Requests answered.", (*_MODEL, "protocol", "status")),
    "latency": Family(
        "model_server_request_duration_seconds",
        "histogram",
        "Seconds from the arrival of a request to its answer.",
        (*_MODEL, "protocol"),
        SECONDS,
    ),
    "batch_rows": Family("model_server_batch_rows", "histogram", "Rows of one call of the model.", _MODEL, ROWS),
    "queue": Family("model_server_queue_rows", "gauge", "Rows that wait now.", _MODEL),
    "strange": Family(
        "model_server_out_of_range_rows",
        "counter",
        "Rows outside the contract's range, not finite, or with unknown words.",
        _MODEL,
    ),
    "info": Family(
        "model_server_model_info",
        "gauge",
        "1 for every loaded version.",
        (*_MODEL, "alias", "digest", "run_id"),
        merge="max",
    ),
    "rejected": Family("model_server_rejected", "counter", "Times a version was refused.", ("model",)),
    "rejected_now": Family(
        "model_server_rejected_now", "gauge", "1 while a wanted version is refused.", _MODEL, merge="max"
    ),
    "stale": Family(
        "model_server_staleness_seconds",
        "gauge",
        "Seconds since the registry last confirmed the alias.",
        ("model",),
        merge="max",
    ),
    "keras_up": Family(
        "model_server_keras_engine_up", "gauge", "1 while its Keras engine answers.", _MODEL, merge="min"
    ),
    "keras_restarts": Family(
        "model_server_keras_engine_restarts", "counter", "Times its Keras engine was started again.", _MODEL
    ),
    "worker_restarts": Family("model_server_worker_restarts", "counter", "Processes that died and were replaced."),
    "connections": Family("model_server_connections", "gauge", "Open connections."),
    "body_bytes": Family("model_server_body_bytes", "gauge", "Bytes of long request bodies that are held now."),
    "registry_up": Family("model_server_registry_up", "gauge", "1 if the last poll was answered.", merge="min"),
    "ready": Family("model_server_ready", "gauge", "1 while every process is ready.", merge="min"),
}
"""Every metric by the first word of its keys. Another part of the server adds its own here, and counts with `count`."""
# These name versions that are not loaded.
_OF_REFUSED = frozenset({"rejected_now"})

Sample = tuple[str, tuple[str, ...], float]


class Histogram:
    """Counts of values by upper bound, and their sum: one cell for each bound, one above, one for the sum."""

    __slots__ = ("_at", "_sum", "_values", "bounds", "cells")

    def __init__(self, bounds: tuple[float, ...], cells: Cells | None = None) -> None:
        self.bounds = bounds
        self.cells = cells or Cells.loose(len(bounds) + 2)
        self._values, self._at, self._sum = self.cells.values, self.cells.at, self.cells.at + len(bounds) + 1

    def observe(self, value: float, times: int = 1) -> None:
        """Adds one value, in the unit of the bounds, perhaps some times over."""
        values = self._values
        values[self._at + bisect_left(self.bounds, value)] += times
        values[self._sum] += value * times

    @property
    def counts(self) -> list[int]:
        """How many values lie up to each bound and above the one before, and how many above the last."""
        return [int(count) for count in self.cells.read()[:-1]]


@dataclass(slots=True)
class Tally:
    """How often something happened, and how long it took all together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Adds one that took so long."""
        self.count += 1
        self.seconds += seconds


@dataclass
class ModelStats:
    """What is counted for one loaded version. `queued_rows` and `waited_s` ask the batcher when they are read.

    Attributes:
        answered: Predictions that were answered, from the arrival of the request to the outputs.
        failed: Predictions that were not, from the arrival to the error.
        parsing_s: Seconds from arrival to admission, of those that were answered.
        runs: Calls of the model by their rows.
        last_inference: Unix time of the newest answer; 0 before the first.
    """

    name: str
    version: str
    alias: str = ""
    digest: str = ""
    run_id: str = ""
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    strange: Cells = field(default_factory=lambda: Cells.loose(1))
    queued_rows: Callable[[], int] = int
    waited_s: Callable[[], float] = float
    answered: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    parsing_s: float = 0.0
    runs: dict[int, Tally] = field(default_factory=dict)
    last_inference: float = 0.0

    @property
    def strange_rows(self) -> int:
        """Rows with what training never saw."""
        return int(self.strange.values[self.strange.at])

    @strange_rows.setter
    def strange_rows(self, rows: int) -> None:
        self.strange.values[self.strange.at] = rows

    def ran(self, rows: int, seconds: float) -> None:
        """Counts one call of the model."""
        tally = self.runs.get(rows)
        if tally is None:
            # Replaced, not changed: who reads the statistics may be walking it while this thread computes.
            tally = Tally()
            self.runs = {**self.runs, rows: tally}
        tally.add(seconds)


class ServerStats:
    """All counters of the process. Touch it on the event loop only."""

    def __init__(self, board: Board | None = None, others: Iterable[Reader] = ()) -> None:
        """Starts to count.

        Args:
            board: Where numbers are kept; in memory of this process if not given.
            others: The boards of the other processes on the same port.
        """
        self.board = board or Board()
        self.others = tuple(others)
        self.models: dict[tuple[str, str], ModelStats] = {}
        self.rejected_now: Callable[[], Iterable[tuple[str, str]]] = tuple
        self.staleness_s: Callable[[], Iterable[tuple[str, float]]] = tuple
        self.registry_up: bool | None = None
        self.ready: Callable[[], bool] = bool
        self.connections: Callable[[], int] = int
        self.body_bytes, self.most_body_bytes = 0, 2**62
        self.gauges: list[Callable[[], Iterable[Sample]]] = []
        """Asked at every scrape for more gauges: first word of the key, values of the labels, value."""
        self._requests: dict[tuple[str, str, str, int], tuple[memoryview[float], int, Histogram]] = {}

    def request(self, protocol: str, name: str, version: str, status: int, seconds: float) -> None:
        """Counts one answered request; `name` and `version` are empty when no loaded model answered it."""
        series = self._requests.get((name, version, protocol, status))
        if series is None:
            series = self._series(name, version, protocol, status)
        values, at, latency = series
        values[at] += 1.0
        latency.observe(seconds)

    def refused(self, status: int, times: int) -> None:
        """Counts requests that came no further than the connection."""
        values, at, latency = self._series("", "", "http", status)
        values[at] += times
        latency.observe(0.0, times)

    def _series(self, name: str, version: str, protocol: str, status: int) -> tuple[memoryview[float], int, Histogram]:
        if (name, version) not in self.models:
            name = version = ""  # an unloaded version must not come back, nor a client invent series
        key = (name, version, protocol, status)
        series = self._requests.get(key)
        if series is None:
            cells = self.board.place(("requests", name, version, protocol, str(status)))
            place = self.board.place(("latency", name, version, protocol), len(SECONDS) + 2)
            series = self._requests[key] = cells.values, cells.at, Histogram(SECONDS, place)
        return series

    def count(self, family: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Adds to a counter of `FAMILIES`; not for every request, which has a quicker way."""
        cells = self.board.place((family, *labels))
        cells.values[cells.at] += amount

    def observe(self, family: str, labels: tuple[str, ...], value: float) -> None:
        """Adds a value to a histogram of `FAMILIES`."""
        bounds = FAMILIES[family].bounds
        Histogram(bounds, self.board.place((family, *labels), len(bounds) + 2)).observe(value)

    def add(self, stats: ModelStats) -> None:
        """Starts the series of a loaded version, or goes on with them."""
        key = (stats.name, stats.version)
        self.models[key] = stats
        stats.batch_rows = Histogram(ROWS, self.board.place(("batch_rows", *key), len(ROWS) + 2))
        stats.strange = self.board.place(("strange", *key))
        self.publish()

    def forget(self, stats: ModelStats) -> None:
        """Ends the series of an unloaded version; they are shown until the last process has unloaded it."""
        key = (stats.name, stats.version)
        if self.models.get(key) is stats:
            del self.models[key]
            self._requests = {k: series for k, series in self._requests.items() if k[:2] != key}
            self.publish()

    def rejected(self, name: str) -> None:
        """Counts one refusal to serve a version of a model."""
        self.count("rejected", (name,))

    def publish(self) -> None:
        """Writes the gauges for the other processes to read, and gives up places that nobody needs."""
        now = {(family, *labels): value for family, labels, value in self._measured()}
        for key in self.board:
            if FAMILIES[key[0]].kind == "gauge" and key not in now:
                self.board.drop(key)
        for key, value in now.items():
            cells = self.board.place(key)
            cells.values[cells.at] = value
        head = self.board.values
        head[BEAT], head[READY] = time.monotonic(), float(self.ready())
        self._sweep()

    def _measured(self) -> Iterator[Sample]:
        for (name, version), stats in self.models.items():
            yield "queue", (name, version), stats.queued_rows()
            yield "info", (name, version, stats.alias, stats.digest, stats.run_id), 1
        for name, version in self.rejected_now():
            yield "rejected_now", (name, version), 1
        for name, seconds in self.staleness_s():
            yield "stale", (name,), seconds
        if self.registry_up is not None:
            yield "registry_up", (), self.registry_up
        yield "ready", (), self.ready()
        yield "connections", (), self.connections()
        yield "body_bytes", (), self.body_bytes
        for more in self.gauges:
            yield from more()

    def _sweep(self) -> None:
        """Gives up the places of versions that no process has loaded."""
        kept = {key for key in self.board if (version := version_of(key)) and version not in self.models}
        if kept:
            elsewhere = set(self.models) | loaded(key for other in self.alive() for key, _ in other.read())
            for key in kept:
                if version_of(key) not in elsewhere:
                    self.board.drop(key)

    def unready_others(self) -> int:
        """Returns how many other processes take connections and are not ready."""
        if not self.others:
            return 0
        heads = (other.head() for other in self.alive())
        return sum(1 for head in heads if head[ACCEPTING] and not head[READY])

    def alive(self) -> list[Reader]:
        """Returns the boards of the other processes that have said lately how they are."""
        now = time.monotonic()
        heads = ((other, other.head()) for other in self.others)
        return [other for other, head in heads if head[PID] and now - head[BEAT] < BEAT_S]


def version_of(key: Key) -> tuple[str, str] | None:
    """Returns model and version of a series that ends with the version, None of another one."""
    if FAMILIES[key[0]].labels[:2] != _MODEL or key[0] in _OF_REFUSED or not key[1]:
        return None
    return key[1], key[2]


def loaded(keys: Iterable[Key]) -> set[tuple[str, str]]:
    """Returns the versions that a board says are loaded."""
    return {(key[1], key[2]) for key in keys if key[0] == "info"}
