"""What a sweep tells Prometheus while it runs, where `REGATTA_METRICS_PORT` asks for it; nothing and no thread without.

The controller tells it what it tells the display; a thread of its own answers `GET /metrics` from the numbers that have
come of that. Nobody who trains or decides ever waits for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_REUSEADDR, SOL_SOCKET
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.controller.budgets import Ending
from pipelines.controller.failures import Remedy
from pipelines.controller.watcher import Watcher
from pipelines.errors import ConfigError, Mistake
from pipelines.records import EpochEnded, TrialResult, TrialSpec, TrialState
from pipelines.study import Counts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

PORT, HOST = "REGATTA_METRICS_PORT", "REGATTA_METRICS_HOST"
_REUSE = (SOL_SOCKET, SO_REUSEADDR, 1)


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: As Prometheus sees it, without `_total`.
        kind: `counter` or `gauge`.
        meaning: Its HELP line.
        labels: Names of its labels beside `study`.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


FAMILIES = {
    "trials": Family("regatta_trials", "gauge", "Trials of the study, by what became of them.", ("state",)),
    "wanted": Family("regatta_trials_wanted", "gauge", "Trials that shall end complete or pruned."),
    "epochs": Family("regatta_epochs", "counter", "Epochs that were trained since this sweep was started."),
    "best": Family("regatta_best_value", "gauge", "The best value of the objective so far.", ("metric",)),
    "workers": Family("regatta_workers", "gauge", "Workers at once."),
    "troubles": Family("regatta_troubles", "counter", "Workers that were lost, and trials that met with trouble."),
    "written": Family("regatta_journal_written_entries", "gauge", "Entries of the journal."),
    "delivered": Family("regatta_journal_delivered_entries", "gauge", "Entries of it that MLflow has."),
    "stuck": Family("regatta_delivery_stuck", "gauge", "1 while MLflow takes nothing."),
    "begun": Family("regatta_sweep_start_time_seconds", "gauge", "When this sweep was started, since 1970."),
}
"""Every metric, by the word that `Observed` has for it."""


@dataclass(frozen=True)
class Record:
    """Asks the journal and its sender how far they are; from another thread than theirs."""

    written: Callable[[], int] = int
    delivered: Callable[[], int] = int
    stuck: Callable[[], bool] = bool


class Observed:
    """The watcher of a sweep (see `pipelines.controller.watcher.Watcher`): passes on what it is told, and counts."""

    def __init__(
        self, watcher: Watcher, study: str, metric: str, sense: str, record: Record, best_before: float | None = None
    ) -> None:
        """Takes the watcher that people see, and what the study is about.

        Args:
            watcher: Told everything that this is told.
            study: The study's name.
            metric: The objective.
            sense: `minimize` or `maximize`.
            record: Tells how far the journal is.
            best_before: The best value of the trials that a resumed study has already.
        """
        self._watcher = watcher
        self._study, self._metric = study, metric
        self._better: Callable[..., float] = min if sense == "minimize" else max
        self._record = record
        self._counts = Counts()
        self._running: set[int] = set()
        self._wanted = self._workers = self._epochs = self._troubles = 0
        self._best = best_before
        self._begun = time.time()

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        """See `Watcher`."""
        self._workers, self._wanted, self._counts = workers, wanted, counts
        self._watcher.began(workers, wanted, counts)

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        """See `Watcher`."""
        self._running.add(spec.number)
        self._watcher.working(worker, spec, params)

    def epoch(self, worker: int, event: EpochEnded) -> None:
        """See `Watcher`."""
        self._epochs += 1
        self._watcher.epoch(worker, event)

    def ended(self, result: TrialResult, counts: Counts) -> None:
        """See `Watcher`."""
        self._running.discard(result.number)
        self._counts = counts
        if result.state is TrialState.COMPLETE and result.feasible and result.value is not None:
            self._best = result.value if self._best is None else self._better(self._best, result.value)
        self._watcher.ended(result, counts)

    def trouble(self, worker: int, text: str, remedies: Mapping[int, Remedy]) -> None:
        """See `Watcher`."""
        self._troubles += 1
        self._running.difference_update(remedies)
        self._watcher.trouble(worker, text, remedies)

    def ending(self, ending: Ending) -> None:
        """See `Watcher`."""
        self._watcher.ending(ending)

    def numbers(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """What there is to tell now: a word of `FAMILIES`, the labels beside the study, the value."""
        counts = self._counts
        for state, count in (("complete", counts.complete), ("pruned", counts.pruned), ("failed", counts.failed)):
            yield "trials", (state,), count
        yield "trials", ("running",), len(self._running)
        yield "wanted", (), self._wanted
        yield "epochs", (), self._epochs
        if self._best is not None:
            yield "best", (self._metric,), self._best
        yield "workers", (), self._workers
        yield "troubles", (), self._troubles
        yield "written", (), self._record.written()
        yield "delivered", (), self._record.delivered()
        yield "stuck", (), self._record.stuck()
        yield "begun", (), self._begun

    def collect(self) -> Iterator[Metric]:
        """Yields every metric; called by Prometheus's registry at a scrape."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        kinds: dict[str, Any] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        found: dict[str, Any] = {}
        for word, labels, value in self.numbers():
            family = FAMILIES[word]
            if word not in found:
                found[word] = kinds[family.kind](family.name, family.meaning, labels=["study", *family.labels])
            found[word].add_metric([self._study, *labels], float(value))
        yield from found.values()


@contextmanager
def observed(
    watcher: Watcher,
    address: tuple[str, int] | None,
    *,
    study: str,
    metric: str,
    sense: str,
    record: Record,
    best_before: float | None,
    say: Callable[[str], None],
) -> Iterator[Watcher]:
    """The watcher; around it, where there is an address to listen on, one whose numbers can be asked for in the block.

    A port that is taken, by another sweep perhaps, costs the page and not the sweep. The other arguments are those of
    `Observed`; `say` takes a sentence for people.
    """
    if address is None:
        yield watcher
        return
    around = Observed(watcher, study, metric, sense, record, best_before)
    try:
        page = _Page(address, _registry_of(around))
    except OSError as error:
        host, port = address
        say(f"No metrics for Prometheus: {host}:{port} cannot be listened on ({error.strerror}); {PORT} names another.")
        yield watcher
        return
    thread = Thread(target=page.serve_forever, args=(0.1,), name="metrics", daemon=True)
    thread.start()
    try:
        yield around
    finally:
        page.shutdown()
        page.server_close()
        thread.join(5)


def metrics_address() -> tuple[str, int] | None:
    """Where to listen: `REGATTA_METRICS_HOST`, 127.0.0.1 by default, and `REGATTA_METRICS_PORT`; None without a port.

    Raises:
        ConfigError: The second holds no port.
    """
    text = os.environ.get(PORT, "").strip()
    if not text:
        return None
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise ConfigError("the environment", [Mistake(PORT, f"is {text!r}; a port is a whole number from 1 to 65535")])
    return os.environ.get(HOST) or "127.0.0.1", int(text)


def _registry_of(around: Observed) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    registry.register(around)
    ProcessCollector(registry=registry)
    return registry


class _Page(ThreadingHTTPServer):
    """Answers `GET /metrics`."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

        self.kind = CONTENT_TYPE_PLAIN_0_0_4
        self.text: Callable[[], bytes] = lambda: generate_latest(registry)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Binds; the base class would ask the network for this machine's name, which may take seconds."""
        self.socket.setsockopt(*_REUSE)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Page
    timeout = 10

    def do_GET(self) -> None:
        page = self.path.partition("?")[0] == "/metrics"
        content = self.server.text() if page else b"The page is /metrics.\n"
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", self.server.kind if page else "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """It is quiet."""
