from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.records import Event, MachineSampled, Stepped, Verdict
from pipelines.training.machine import MIB, OwnGpu, OwnProcess, Pulse, Usage
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
        Usage(25.0, 300 * MIB, 350 * MIB, {"gpu_memory_mb": 7.0, "gpu_percent": 40.0}),
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
    own = OwnProcess(gpu=lambda: {"gpu_percent": 5.0})
    own.begin()
    before = own.usage()
    held = bytearray(os.urandom(1 << 10)) * (64 << 10)  # 64 MiB, touched
    during = own.usage()
    size = len(held)
    del held
    after = own.usage()
    assert during.memory - before.memory > size * 0.9
    assert during.cpu_s > before.cpu_s
    assert during.device == {"gpu_percent": 5.0}
    if after.peak is not None:  # Linux says
        assert after.peak > after.memory + size * 0.9


class Nvml:
    """NVIDIA's library, as far as it is used, over a GPU that two processes share."""

    class NVMLError(Exception):
        pass

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.asked: list[Any] = []

    def nvmlInit(self) -> None:  # noqa: N802
        self.asked.append("init")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"index {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return f"uuid {uuid}"

    def nvmlDeviceGetProcessUtilization(self, handle: str, since: int) -> list[Any]:  # noqa: N802
        self.asked.append((handle, since))
        if self.quiet:
            raise self.NVMLError
        own, other = os.getpid(), os.getpid() + 1
        return [
            SimpleNamespace(pid=other, smUtil=90, timeStamp=since + 10),
            SimpleNamespace(pid=own, smUtil=30, timeStamp=since + 20),
        ]


@pytest.mark.parametrize(("visible", "handle"), [("1", "index 1"), ("GPU-ab", "uuid GPU-ab"), ("0,1", "index 0")])
def test_of_the_visible_gpu_the_share_of_this_process_is_told(
    keras: Any, monkeypatch: pytest.MonkeyPatch, visible: str, handle: str
) -> None:
    nvml = Nvml()
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = OwnGpu()
    assert [gpu(), gpu()] == [{"gpu_percent": 30.0}] * 2
    assert nvml.asked == ["init", (handle, 0), (handle, 20)]


def test_a_gpu_that_says_nothing_has_no_metrics(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", Nvml(quiet=True))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert OwnGpu()() == {}


@pytest.mark.parametrize("visible", ["-1", "0"])  # without its library
def test_without_a_gpu_or_its_library_there_are_no_metrics_of_it(
    keras: Any, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert OwnGpu()() == {}
