"""Signs of life: that a training makes steps, and what its own process uses of the machine.

A training tells them itself, between two batches. So they never come from one that hangs, nor from another thread.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from pipelines.records import GpuSampled, MachineSampled, Stepped, TrialSpec
from pipelines.training.base import Emit
from pipelines.training.gpu import GpuUse, OwnGpu, percent_between

MIB = 1 << 20


@dataclass(frozen=True)
class Usage:
    """What the process has used.

    Attributes:
        cpu_s: Seconds of cores, since whenever.
        memory: Resident bytes.
        peak: The most that they were; None where the system does not say.
        gpu: What it has used of its GPU; None where it has none.
    """

    cpu_s: float
    memory: int
    peak: int | None = None
    gpu: GpuUse | None = None


class Machine(Protocol):
    """Knows what this process uses."""

    def begin(self) -> None:
        """Forgets the peaks of whatever was trained before."""

    def usage(self) -> Usage:
        """What is used now."""


class OwnProcess:
    """This process, by what the operating system and the GPU's driver say of it."""

    def __init__(self, gpu: OwnGpu | None = None) -> None:
        """Takes what is asked about the GPU; None for TensorFlow and NVIDIA's library, where they know of one."""
        self._process = psutil.Process()
        self._gpu = gpu or OwnGpu()

    def begin(self) -> None:
        """Has Linux forget the peak of resident memory, and TensorFlow that of the GPU's."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._gpu.begin()

    def usage(self) -> Usage:
        """Processor time and memory of this process, its threads included."""
        peak = None
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
            peak = int(found[1]) << 10 if found else None
        return Usage(time.process_time(), self._process.memory_info().rss, peak, self._gpu())


class Pulse:
    """Tells, every few seconds of an attempt, that it makes steps and what it uses.

    Attributes:
        earlier_s: Seconds that attempts before this one have trained.
        lanes: Trials that train in one program with this one, itself included; None for one that trains by itself.
    """

    def __init__(
        self,
        spec: TrialSpec,
        emit: Emit,
        machine: Machine,
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] | None = None,
        step_every_s: float = 5.0,
        sample_every_s: float = 10.0,
        gpu_every_s: float = 1.0,
    ) -> None:
        """Begins to count the time of an attempt; `spent` tells it, where it is not simply what passes from now on."""
        self.earlier_s = 0.0
        self.lanes: int | None = None
        self._spent = spent
        self._spec = spec
        self._emit = emit
        self._machine = machine
        self._clock = clock
        self._step_every_s = step_every_s
        self._sample_every_s = sample_every_s
        self._gpu_every_s = gpu_every_s
        if spent is None:  # otherwise others use it beside, and what was before is no matter of this attempt's alone
            machine.begin()
        self._begun = self._stepped_at = self._sampled_at = self._told_at = clock()
        self._before = machine.usage()
        self._peak = self._before.memory
        self._first = self._told = self._before.gpu
        self._gpu_peak_mb = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of this attempt."""
        return self._clock() - self._begun if self._spent is None else self._spent()

    def stepped(self) -> None:
        """A batch is done; called after every one, so it costs next to nothing."""
        now = self._clock()
        if now - self._stepped_at >= self._step_every_s:
            self._stepped_at = now
            self._emit(Stepped(self._spec.number, self._spec.attempt))
        if now - self._sampled_at >= self._sample_every_s:
            self.sample()

    def sample(self) -> None:
        """Tells what the process uses: processor time since the last time, memory as it is."""
        now, usage = self._clock(), self._machine.usage()
        passed, before = now - self._sampled_at, self._before
        self._sampled_at, self._before = now, usage
        self._peak = max(self._peak, usage.memory, usage.peak or 0)
        metrics = {"memory_mb": usage.memory / MIB, "memory_peak_mb": self._peak / MIB}
        if usage.gpu is not None:
            shares = percent_between(before.gpu, usage.gpu)
            metrics["gpu_memory_mb"] = usage.gpu.memory_mb
            metrics |= {"gpu_percent": shares["utilisation_percent"]} if shares else {}
        if passed > 0:
            metrics["cpu_percent"] = 100 * (usage.cpu_s - before.cpu_s) / passed
        self._emit(
            MachineSampled(
                self._spec.number,
                self._spec.attempt,
                int(self.earlier_s + self.seconds),
                {f"system/{name}": value for name, value in metrics.items()},
                time.time_ns() // 1_000_000,
            )
        )

    def epoch_ended(self, epoch: int) -> None:
        """Tells what the GPU did since it was told last, unless that was a moment ago: an epoch may take no time."""
        if self._told is None:
            return  # there is none
        now = self._clock()
        if now - self._told_at < self._gpu_every_s:
            return
        usage = self._machine.usage().gpu
        if usage is None:
            return
        metrics = {**percent_between(self._told, usage), "memory_mb": usage.memory_mb}
        if usage.seen is not None and usage.seen.used_mb is not None:
            metrics["device_memory_mb"] = usage.seen.used_mb
        self._told_at, self._told = now, usage
        self._gpu_peak_mb = max(self._gpu_peak_mb, usage.peak_mb)
        self._tell_gpu(epoch, metrics)

    def ended(self, epoch: int) -> None:
        """Tells what the process uses at the end, and of the GPU what the whole training used."""
        self.sample()
        usage = self._before.gpu
        if usage is None:
            return
        metrics = {"memory_peak_mb": max(self._gpu_peak_mb, usage.peak_mb)}
        metrics |= {f"mean_{name}": share for name, share in percent_between(self._first, usage).items()}
        self._tell_gpu(epoch, metrics)

    def _tell_gpu(self, epoch: int, metrics: dict[str, float]) -> None:
        """In lanes, what is told is of all of them together: their number stands beside it."""
        if self.lanes is not None:
            metrics["lanes"] = float(self.lanes)
        self._emit(
            GpuSampled(
                self._spec.number,
                self._spec.attempt,
                epoch,
                {f"system/gpu.{name}": value for name, value in metrics.items()},
                time.time_ns() // 1_000_000,
            )
        )
