"""The page that Prometheus scrapes: the numbers of all processes on the port, added up, and what each of them takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.model_server.metrics.board import PID, Key
from services.model_server.metrics.counters import FAMILIES, Family, ServerStats, loaded, version_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition(Collector):
    """Writes the page; the same on every process."""

    def __init__(self, stats: ServerStats) -> None:
        self._stats = stats
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        PlatformCollector(registry=self._registry)
        if not stats.others:
            ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Returns the page in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yields every metric; called by Prometheus's registry at a scrape."""
        numbers = self._numbers()
        for word, family in FAMILIES.items():
            metric = _metric(family)
            for key, values in numbers.items():
                if key[0] == word:
                    _add(metric, family, key[1:], values)
            if metric.samples or family.labels:
                yield metric
        if self._stats.others:
            yield from self._processes()

    def _numbers(self) -> dict[Key, list[float]]:
        """Adds up the boards: counters of all, gauges of those that live, versions that one of them has loaded."""
        stats = self._stats
        stats.publish()
        alive = stats.alive()
        boards = [(True, dict(stats.board.read()))]
        boards += [(other in alive, dict(other.read())) for other in stats.others]
        open_now = set().union(*(loaded(board) for lives, board in boards if lives))
        numbers: dict[Key, list[float]] = {}
        for lives, board in boards:
            for key, values in board.items():
                family = FAMILIES.get(key[0])
                if family is None or (family.kind == "gauge" and not lives):
                    continue
                version = version_of(key)
                if version is not None and version not in open_now:
                    continue
                before = numbers.get(key)
                numbers[key] = values if before is None else _merged(family, before, values)
        return numbers

    def _processes(self) -> Iterator[Metric]:
        """What each process takes, with its place as a label; a dead one has nothing."""
        stats = self._stats
        pids = [int(stats.board.values[PID]), *(int(other.head()[PID]) for other in stats.alive())]
        workers = GaugeMetricFamily("model_server_workers", "Processes that answer on the port.", len(pids))
        yield workers
        families: dict[str, Metric] = {}
        for pid in sorted(pids):
            for metric in _process(pid):
                whole = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    whole.add_sample(sample.name, {**sample.labels, "pid": str(pid)}, sample.value)
        yield from families.values()


def _process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _merged(family: Family, before: list[float], values: list[float]) -> list[float]:
    if family.merge == "sum":
        return [one + other for one, other in zip(before, values, strict=True)]
    choose = max if family.merge == "max" else min
    return [choose(one, other) for one, other in zip(before, values, strict=True)]


def _metric(family: Family) -> Any:
    kinds: dict[str, Any] = {
        "counter": CounterMetricFamily,
        "histogram": HistogramMetricFamily,
        "gauge": GaugeMetricFamily,
    }
    return kinds[family.kind](family.name, family.meaning, labels=list(family.labels))


def _add(metric: Any, family: Family, labels: Iterable[str], values: list[float]) -> None:
    if family.kind == "histogram":
        bounds = (*map(str, family.bounds), "+Inf")
        metric.add_metric(labels, list(zip(bounds, accumulate(values[:-1]), strict=True)), values[-1])
    else:
        metric.add_metric(labels, values[0])
