"""What is seen of a GPU while a process uses it."""

from __future__ import annotations

import threading

import pytest

from pipelines.devices import watch as watching
from pipelines.devices.nvml import Nvml
from pipelines.devices.watch import GpuWatch, Seen
from tests.pipelines.devices.fake_nvml import Card, FakeNvml


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch_of(card: Card, clock: Clock, process: int = 7) -> tuple[GpuWatch, FakeNvml]:
    library = FakeNvml(card)
    return GpuWatch(Nvml(library), card, clock=clock, process=process), library


def test_each_look_stands_for_the_time_since_the_last() -> None:
    clock = Clock()
    watch, _ = watch_of(Card("GPU-a", used_mb=1000, busy=[50, 100, 0]), clock)
    for clock.now in (101.0, 102.0, 104.0):
        watch.look()
    seen = watch.seen()
    assert (seen.watched_s, seen.busy_s, seen.used_mb) == (4.0, 1.5, 1000.0)
    assert (seen.own_watched_s, seen.own_busy_s) == (0.0, 0.0)


def test_what_this_process_does_is_told_apart_from_others() -> None:
    clock = Clock()
    card = Card("GPU-a", busy=[90], own=[[(7, 30, 10), (8, 60, 12)], [(7, 99, 11), (7, 10, 20), (7, 20, 21)], []])
    watch, library = watch_of(card, clock)
    clock.now = 102.0
    watch.look()
    assert watch.seen().own_watched_s == 2.0
    assert watch.seen().own_busy_s == pytest.approx(0.6)
    clock.now = 104.0
    watch.look()
    assert watch.seen().own_busy_s == pytest.approx(0.6 + 2 * 0.15), "what was told before is not counted again"
    watch.look()
    assert library.since == [0, 12, 21]


def test_a_slice_does_not_tell_its_use_and_says_so_by_silence() -> None:
    clock = Clock()
    watch, _ = watch_of(Card("MIG-a", used_mb=300), clock)
    clock.now = 110.0
    watch.look()
    assert watch.seen() == Seen(used_mb=300.0)
    assert watch.free_mb() == 81559 - 300 - 600


def test_a_gpu_that_is_lost_meanwhile_stops_nothing() -> None:
    clock = Clock()
    card = Card("GPU-a", busy=[40])
    watch, _ = watch_of(card, clock)
    clock.now = 101.0
    watch.look()
    card.lost, card.busy = True, ()
    clock.now = 102.0
    watch.look()
    assert watch.seen().watched_s == 1.0
    assert watch.free_mb() is None


def test_it_looks_by_itself_until_it_is_stopped() -> None:
    looked = threading.Event()
    clock = Clock()
    watch, library = watch_of(Card("GPU-a", busy=[10]), clock)
    usual = library.nvmlDeviceGetUtilizationRates

    def looks(card: Card) -> object:
        looked.set()
        return usual(card)

    library.nvmlDeviceGetUtilizationRates = looks  # type: ignore[method-assign]
    watch.start(0.001)
    watch.start(0.001)  # once is enough
    assert looked.wait(30)
    watch.stop()
    assert [thread.name for thread in threading.enumerate()].count("gpu-watch") == 0


@pytest.mark.parametrize(("visible", "uuid"), [("GPU-b,GPU-a", "GPU-b"), ("0", "GPU-a"), ("1", "GPU-b")])
def test_the_device_of_this_process_is_the_first_that_it_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str, uuid: str
) -> None:
    library = FakeNvml(Card("GPU-a", total_mb=1000), Card("GPU-b", total_mb=2000))
    monkeypatch.setattr(watching, "nvml", lambda: Nvml(library))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    watch = GpuWatch.of_this_process()
    assert watch is not None
    assert watch.free_mb() == {"GPU-a": 400, "GPU-b": 1400}[uuid]


@pytest.mark.parametrize("visible", ["-1", "", "GPU-gone"])
def test_where_it_sees_none_there_is_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setattr(watching, "nvml", lambda: Nvml(FakeNvml(Card("GPU-a"))))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert GpuWatch.of_this_process() is None
    monkeypatch.setattr(watching, "nvml", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert GpuWatch.of_this_process() is None
