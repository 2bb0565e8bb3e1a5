"""What a sweep tells Prometheus, and that it tells nothing where nobody asked."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.error import HTTPError

import pytest

from pipelines.controller.budgets import Ending
from pipelines.controller.failures import Remedy
from pipelines.errors import ConfigError
from pipelines.exposition import FAMILIES, Observed, Record, metrics_address, observed
from pipelines.records import EpochEnded, TrialResult, TrialSpec, TrialState
from pipelines.study import Counts
from tests.sites import free_port

SPEC = TrialSpec(3, 1, {"epochs": 2}, "data", "folder", "val_loss", "minimize")


class Told:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.calls.append(name)


def result(number: int, value: float | None, state: str = "COMPLETE", **more: Any) -> TrialResult:
    return TrialResult(number, 1, TrialState(state), {}, value, 1, **more)


def made(sense: str = "minimize", **more: Any) -> Observed:
    return Observed(Told(), "digits", "val_loss", sense, Record(lambda: 9, lambda: 7, lambda: True), **more)


def told(around: Observed) -> dict[tuple[str, ...], float]:
    return {(word, *labels): value for word, labels, value in around.numbers()}


def get(address: tuple[str, int], path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture
def rooms() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(rooms: ExitStack, address: tuple[str, int] | None, said: list[str]) -> tuple[Told, Any]:
    told = Told()
    around = observed(
        told,
        address,
        study='a "study"',
        metric="val_loss",
        sense="minimize",
        record=Record(lambda: 9, lambda: 7, lambda: True),
        best_before=None,
        say=said.append,
    )
    return told, rooms.enter_context(around)


def test_everything_is_passed_on_in_its_order() -> None:
    watcher = Told()
    around = Observed(watcher, "digits", "val_loss", "minimize", Record())

    around.began(2, 10, Counts())
    around.working(0, SPEC, {})
    around.epoch(0, EpochEnded(3, 1, 0, {"val_loss": 0.5}, 0))
    around.trouble(0, "worker 0 was lost", {3: Remedy.AGAIN})
    around.ended(result(3, 0.5), Counts(complete=1))
    around.ending(Ending("trials", "all trials are done"))

    assert watcher.calls == ["began", "working", "epoch", "trouble", "ended", "ending"]


def test_trials_epochs_and_the_record_are_counted() -> None:
    around = made()
    around.began(2, 10, Counts(complete=4, failed=1))
    for number in (5, 6, 7):
        around.working(0, TrialSpec(number, 1, {"epochs": 2}, "data", "folder", "val_loss", "minimize"), {})
    for epoch in range(3):
        around.epoch(0, EpochEnded(5, 1, epoch, {"val_loss": 0.5}, 0))
    around.ended(result(5, 0.5, "PRUNED"), Counts(complete=4, pruned=1, failed=1))
    around.trouble(1, "worker 1 was lost", {6: Remedy.AGAIN})

    assert told(around) | {("begun",): 0.0} == {
        ("trials", "complete"): 4,
        ("trials", "pruned"): 1,
        ("trials", "failed"): 1,
        ("trials", "running"): 1,
        ("wanted",): 10,
        ("epochs",): 3,
        ("workers",): 2,
        ("troubles",): 1,
        ("written",): 9,
        ("delivered",): 7,
        ("stuck",): True,
        ("begun",): 0.0,
    }


@pytest.mark.parametrize(("sense", "best"), [("minimize", 0.2), ("maximize", 0.6)])
def test_the_best_value_is_that_of_a_complete_trial_that_keeps_the_constraints(sense: str, best: float) -> None:
    around = made(sense, best_before=0.4)
    for each in (
        result(0, 0.6),
        result(1, 0.2),
        result(2, 0.01, "PRUNED"),
        result(3, 0.02, violations={"seconds": 1.0}),
        result(4, 0.99, violations={"seconds": 1.0}),
        result(5, None, "FAILED"),
    ):
        around.ended(each, Counts())

    assert told(around)["best", "val_loss"] == best


def test_every_family_is_told_and_nothing_else() -> None:
    around = made(best_before=1.0)

    assert {word for word, _, _ in around.numbers()} == set(FAMILIES)
    assert {family.name for family in around.collect()} == {family.name for family in FAMILIES.values()}


def test_the_page_is_in_prometheus_format_and_follows_the_sweep(rooms: ExitStack) -> None:
    address = ("127.0.0.1", free_port())
    _, around = opened(rooms, address, [])
    assert 'regatta_trials{state="complete",study="a \\"study\\""} 0.0' in get(address)

    around.began(2, 10, Counts(complete=3))
    around.epoch(0, EpochEnded(3, 1, 0, {"val_loss": 0.5}, 0))

    page = get(address)
    assert 'regatta_trials{state="complete",study="a \\"study\\""} 3.0' in page
    assert 'regatta_epochs_total{study="a \\"study\\""} 1.0' in page
    assert "# TYPE regatta_epochs_total counter" in page
    assert "regatta_best_value" not in page, "there is none yet"
    assert "process_resident_memory_bytes" in page
    with pytest.raises(HTTPError) as caught:
        get(address, "/elsewhere")
    with caught.value as answer:
        assert answer.code == 404


def test_with_the_end_of_the_sweep_the_port_is_free_and_the_thread_gone() -> None:
    address = ("127.0.0.1", free_port())
    with ExitStack() as rooms:
        opened(rooms, address, [])
        get(address)
        assert any(thread.name == "metrics" for thread in threading.enumerate())
    assert not any(thread.name == "metrics" for thread in threading.enumerate())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def test_without_an_address_there_is_no_thread_and_the_watcher_itself(rooms: ExitStack) -> None:
    before = threading.active_count()

    watcher, around = opened(rooms, None, [])

    assert around is watcher
    assert threading.active_count() == before


def test_a_port_that_is_taken_costs_the_page_and_not_the_sweep(rooms: ExitStack) -> None:
    said: list[str] = []
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        watcher, around = opened(rooms, ("127.0.0.1", port), said)

    assert around is watcher
    assert f"127.0.0.1:{port} cannot be listened on" in said[0]
    assert "REGATTA_METRICS_PORT names another" in said[0]


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"REGATTA_METRICS_PORT": " "}, None),
        ({"REGATTA_METRICS_PORT": "9464"}, ("127.0.0.1", 9464)),
        ({"REGATTA_METRICS_PORT": "9464", "REGATTA_METRICS_HOST": "0.0.0.0"}, ("0.0.0.0", 9464)),
    ],
)
def test_the_environment_says_where(
    environ: dict[str, str], found: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REGATTA_METRICS_PORT", "REGATTA_METRICS_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert metrics_address() == found


@pytest.mark.parametrize("text", ["metrics", "0", "65536", "-1", "9464.5"])
def test_what_is_no_port_is_one_sentence(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_METRICS_PORT", text)

    with pytest.raises(ConfigError, match=rf"REGATTA_METRICS_PORT: is '{text}'; a port is a whole number"):
        metrics_address()
