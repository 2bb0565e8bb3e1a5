from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipelines.devices.watch import Seen
from pipelines.records import Event, GpuSampled, MachineSampled, Stepped, Verdict
from pipelines.training.gpu import GpuUse, OwnGpu, percent_between
from pipelines.training.machine import MIB, OwnProcess, Pulse, Usage
from tests.pipelines.small_training import attempt


class Scripted:
    """A machine that is used more and more."""

    def __init__(self, *usages: Usage) -> None:
        self.usages = list(usages)
        self.begun = 0
        self.looks = 0

    def begin(self) -> None:
        self.begun += 1

    def usage(self) -> Usage:
        self.looks += 1
        return self.usages.pop(0) if self.usages else Usage(float(self.looks), self.looks * MIB)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


gpu_begun: list[float] = []


class Gpu(OwnGpu):
    """A GPU of which it is written down what is used."""

    def __init__(self, use: GpuUse) -> None:
        super().__init__(lambda: None)
        self.use = use

    def __call__(self) -> GpuUse:
        return self.use

    def begin(self) -> None:
        gpu_begun.append(self.use.memory_mb)


def beating(machine: Scripted) -> tuple[Pulse, Clock, list[Event]]:
    clock = Clock()
    events: list[Event] = []

    def emit(event: Event) -> Verdict:
        events.append(event)
        return Verdict.GO_ON

    return Pulse(attempt(Path("folder")), emit, machine, clock=clock), clock, events


def test_a_step_is_told_every_few_seconds_as_long_as_steps_are_made() -> None:
    pulse, clock, events = beating(Scripted())
    told = []
    for clock.now in [101.0, 104.9, 105.1, 106.0, 109.9, 110.2, 300.0, 300.1]:
        pulse.stepped()
        told.append(sum(isinstance(event, Stepped) for event in events))
    assert told == [0, 0, 1, 1, 1, 2, 3, 3]


def test_samples_say_what_the_process_used_since_the_last_one() -> None:
    usages = [
        Usage(10.0, 100 * MIB),
        Usage(25.0, 300 * MIB, 350 * MIB, GpuUse(7.0, 9.0, Seen(10.0, 6.0, 10.0, 4.0))),
        Usage(30.0, 200 * MIB, 320 * MIB),
    ]
    pulse, clock, events = beating(Scripted(*usages))
    pulse.earlier_s = 50.5
    for clock.now in [105.0, 110.0, 112.0]:
        pulse.stepped()
    clock.now = 120.0
    pulse.sample()
    first, second = [event for event in events if isinstance(event, MachineSampled)]
    assert (first.trial, first.attempt, first.second) == (5, 1, 60)
    assert first.metrics == {
        "system/cpu_percent": 150.0,
        "system/memory_mb": 300.0,
        "system/memory_peak_mb": 350.0,
        "system/gpu_memory_mb": 7.0,
        "system/gpu_percent": 40.0,
    }
    assert second.second == 70
    assert second.metrics == {
        "system/cpu_percent": 50.0,
        "system/memory_mb": 200.0,
        "system/memory_peak_mb": 350.0,
    }


def test_a_sample_that_comes_in_no_time_says_nothing_of_the_processor() -> None:
    pulse, _, events = beating(Scripted())
    pulse.sample()
    (sampled,) = events
    assert isinstance(sampled, MachineSampled)
    assert set(sampled.metrics) == {"system/memory_mb", "system/memory_peak_mb"}


def test_the_peaks_of_the_trial_before_are_forgotten() -> None:
    machine = Scripted()
    beating(machine)
    assert machine.begun == 1


def test_this_very_process_is_measured() -> None:
    own = OwnProcess(gpu=Gpu(GpuUse(5.0, 6.0)))
    gpu_begun.clear()
    own.begin()
    before = own.usage()
    held = bytearray(os.urandom(1 << 10)) * (64 << 10)  # 64 MiB, touched
    during = own.usage()
    size = len(held)
    del held
    after = own.usage()
    assert during.memory - before.memory > size * 0.9
    assert during.cpu_s > before.cpu_s
    assert during.gpu == GpuUse(5.0, 6.0)
    assert gpu_begun == [5.0]
    if after.peak is not None:  # Linux says
        assert after.peak > after.memory + size * 0.9


def gpu(memory: float, peak: float, watched: float, busy: float, own: tuple[float, float] = (0.0, 0.0)) -> Usage:
    return Usage(0.0, MIB, None, GpuUse(memory, peak, Seen(watched, busy, *own, used_mb=3000.0)))


def test_an_epoch_tells_what_the_gpu_did_since_it_was_told_last() -> None:
    pulse, clock, events = beating(Scripted(gpu(1, 1, 10, 5), gpu(20, 25, 12, 6), gpu(30, 90, 16, 9, (2, 1))))
    clock.now = 102.0
    pulse.epoch_ended(0)
    clock.now = 102.5
    pulse.epoch_ended(1)  # a moment later: nobody looks that often
    clock.now = 106.0
    pulse.lanes = 8
    pulse.epoch_ended(7)
    assert [event for event in events if not isinstance(event, GpuSampled)] == []
    first, second = [event for event in events if isinstance(event, GpuSampled)]
    assert (first.trial, first.attempt, first.epoch, second.epoch) == (5, 1, 0, 7)
    assert first.metrics == {
        "system/gpu.device_utilisation_percent": 50.0,
        "system/gpu.utilisation_percent": 50.0,
        "system/gpu.memory_mb": 20.0,
        "system/gpu.device_memory_mb": 3000.0,
    }
    assert second.metrics == {
        "system/gpu.device_utilisation_percent": 75.0,
        "system/gpu.utilisation_percent": 50.0,
        "system/gpu.memory_mb": 30.0,
        "system/gpu.device_memory_mb": 3000.0,
        "system/gpu.lanes": 8.0,
    }


def test_the_end_tells_the_peak_and_the_means_of_the_whole_training() -> None:
    pulse, clock, events = beating(Scripted(gpu(1, 1, 10, 5), gpu(20, 90, 12, 6), gpu(2, 40, 20, 7)))
    clock.now = 102.0
    pulse.epoch_ended(0)
    clock.now = 109.0
    pulse.ended(3)
    *_, last = events
    assert isinstance(last, GpuSampled)
    assert last.epoch == 3
    assert last.metrics == {
        "system/gpu.memory_peak_mb": 90.0,
        "system/gpu.mean_device_utilisation_percent": 20.0,
        "system/gpu.mean_utilisation_percent": 20.0,
    }


def test_where_there_is_no_gpu_an_epoch_asks_nobody_and_nothing_is_told() -> None:
    machine = Scripted()
    pulse, clock, events = beating(machine)
    looks = machine.looks
    clock.now = 200.0
    pulse.epoch_ended(0)
    assert machine.looks == looks
    pulse.ended(0)
    assert [type(event) for event in events] == [MachineSampled]


def test_shares_are_told_only_for_time_that_was_watched() -> None:
    assert percent_between(None, GpuUse(1.0, 1.0)) == {}
    assert percent_between(GpuUse(1.0, 1.0), GpuUse(1.0, 1.0, Seen())) == {}
    seen = GpuUse(1.0, 1.0, Seen(4.0, 1.0))
    assert percent_between(seen, seen) == {}
    assert percent_between(None, seen)["utilisation_percent"] == 25.0


def test_on_the_cpu_there_is_no_gpu_and_no_thread_looks_for_one(keras: Any) -> None:
    def never() -> None:
        raise AssertionError("a watch was made")

    own = OwnGpu(never)
    own.begin()
    assert own() is None
