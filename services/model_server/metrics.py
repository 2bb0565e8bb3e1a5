"""What the server counts, and how Prometheus reads it.

Counting happens on the event loop for every request, so it is plain integers; only a scrape builds Prometheus objects.
Series of a model version live as long as the version is loaded: `forget` drops them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of values by upper bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Adds one value, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yields (upper bound as text, values up to it), as Prometheus counts."""
        running = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            yield bound, running


@dataclass
class ModelStats:
    """What is counted for one loaded version. `queued_rows` asks the batcher when it is read."""

    name: str
    version: str
    alias: str = ""
    digest: str = ""
    run_id: str = ""
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    strange_rows: int = 0
    queued_rows: Callable[[], int] = int


class ServerStats(Collector):
    """All counters of the process. Touch it on the event loop only."""

    def __init__(self) -> None:
        self.models: dict[tuple[str, str], ModelStats] = {}
        self.requests: dict[tuple[str, str, str, str], int] = {}
        self.latency: dict[tuple[str, str, str], Histogram] = {}
        self.rejections: dict[str, int] = {}
        self.rejected_now: Callable[[], Iterable[tuple[str, str]]] = tuple
        self.staleness_s: Callable[[], Iterable[tuple[str, float]]] = tuple
        self.registry_up: bool | None = None
        self.ready: Callable[[], bool] = bool

    def request(self, protocol: str, name: str, version: str, status: int, seconds: float) -> None:
        """Counts one answered request; `name` and `version` are empty when no loaded model answered it."""
        if (name, version) not in self.models:
            name = version = ""  # an unloaded version must not come back, nor a client invent series
        key = (name, version, protocol, str(status))
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.latency.get(key[:3])
        if histogram is None:
            histogram = self.latency[key[:3]] = Histogram(SECONDS)
        histogram.observe(seconds)

    def add(self, stats: ModelStats) -> None:
        """Starts the series of a loaded version."""
        self.models[stats.name, stats.version] = stats

    def forget(self, stats: ModelStats) -> None:
        """Ends the series of an unloaded version."""
        key = (stats.name, stats.version)
        if self.models.get(key) is stats:
            del self.models[key]
            self.requests = {k: count for k, count in self.requests.items() if k[:2] != key}
            self.latency = {k: histogram for k, histogram in self.latency.items() if k[:2] != key}

    def rejected(self, name: str) -> None:
        """Counts one refusal to serve a version of a model."""
        self.rejections[name] = self.rejections.get(name, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yields every metric; called by Prometheus's registry at a scrape."""
        model = ["model", "version"]
        requests = CounterMetricFamily(
            "model_server_requests", "Requests answered.", labels=[*model, "protocol", "status"]
        )
        for key, count in self.requests.items():
            requests.add_metric(key, count)
        yield requests
        latency = HistogramMetricFamily(
            "model_server_request_duration_seconds",
            "Seconds from the arrival of a request to its answer.",
            labels=[*model, "protocol"],
        )
        for labels, histogram in self.latency.items():
            latency.add_metric(labels, list(histogram.buckets()), histogram.total)
        yield latency
        batches = HistogramMetricFamily("model_server_batch_rows", "Rows of one call of the model.", labels=model)
        queue = GaugeMetricFamily("model_server_queue_rows", "Rows that wait now.", labels=model)
        strange = CounterMetricFamily(
            "model_server_out_of_range_rows",
            "Rows outside the contract's range, not finite, or with unknown words.",
            labels=model,
        )
        info = GaugeMetricFamily(
            "model_server_model_info", "1 for every loaded version.", labels=[*model, "alias", "digest", "run_id"]
        )
        for stats in self.models.values():
            key2 = (stats.name, stats.version)
            batches.add_metric(key2, list(stats.batch_rows.buckets()), stats.batch_rows.total)
            queue.add_metric(key2, stats.queued_rows())
            strange.add_metric(key2, stats.strange_rows)
            info.add_metric((*key2, stats.alias, stats.digest, stats.run_id), 1)
        yield from (batches, queue, strange, info)
        rejections = CounterMetricFamily("model_server_rejected", "Times a version was refused.", labels=["model"])
        for name, count in self.rejections.items():
            rejections.add_metric((name,), count)
        yield rejections
        now = GaugeMetricFamily("model_server_rejected_now", "1 while a wanted version is refused.", labels=model)
        for pair in self.rejected_now():
            now.add_metric(pair, 1)
        yield now
        stale = GaugeMetricFamily(
            "model_server_staleness_seconds", "Seconds since the registry last confirmed the alias.", labels=["model"]
        )
        for name, seconds in self.staleness_s():
            stale.add_metric((name,), seconds)
        yield stale
        if self.registry_up is not None:
            yield GaugeMetricFamily("model_server_registry_up", "1 if the last poll was answered.", self.registry_up)
        yield GaugeMetricFamily("model_server_ready", "1 while the server is ready.", self.ready())


class Exposition:
    """The page that Prometheus scrapes: our counters and the process's own."""

    def __init__(self, stats: ServerStats) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(stats)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def text(self) -> bytes:
        """Returns the page in Prometheus's text format."""
        return generate_latest(self._registry)
