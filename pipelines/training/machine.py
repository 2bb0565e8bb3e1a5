"""Signs of life: that a training makes steps, and what its own process uses of the machine.

A training tells them itself, between two batches. So they never come from one that hangs, nor from another thread.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from pipelines.records import MachineSampled, Stepped, TrialSpec
from pipelines.training.base import Emit

MIB = 1 << 20


@dataclass(frozen=True)
class Usage:
    """What the process has used.

    Attributes:
        cpu_s: Seconds of cores, since whenever.
        memory: Resident bytes.
        peak: The most that they were; None where the system does not say.
        device: Metrics of the GPU, by their names without `system/`.
    """

    cpu_s: float
    memory: int
    peak: int | None = None
    device: Mapping[str, float] = field(default_factory=dict)


class Machine(Protocol):
    """Knows what this process uses."""

    def begin(self) -> None:
        """Forgets the peaks of whatever was trained before."""

    def usage(self) -> Usage:
        """What is used now."""


class OwnProcess:
    """This process, by what the operating system and the GPU's driver say of it."""

    def __init__(self, gpu: Callable[[], Mapping[str, float]] | None = None) -> None:
        """Takes what is asked about the GPU; None for TensorFlow and NVIDIA's library, where they know of one."""
        self._process = psutil.Process()
        self._gpu = gpu or OwnGpu()

    def begin(self) -> None:
        """Has Linux forget the peak of resident memory."""
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def usage(self) -> Usage:
        """Processor time and memory of this process, its threads included."""
        times = self._process.cpu_times()
        peak = None
        with suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
            peak = int(found[1]) << 10 if found else None
        return Usage(times.user + times.system, self._process.memory_info().rss, peak, self._gpu())


class OwnGpu:
    """Memory that TensorFlow holds on the one GPU it sees, and the share of time that this process keeps it busy."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handle: Any = None
        self._looked = False
        self._since = 0

    def __call__(self) -> dict[str, float]:
        """`gpu_memory_mb` and `gpu_percent`, as far as they are known."""
        return {**self._memory(), **self._busy()}

    def _memory(self) -> dict[str, float]:
        import tensorflow as tf

        if not tf.config.list_logical_devices("GPU"):
            return {}
        return {"gpu_memory_mb": tf.config.experimental.get_memory_info("GPU:0")["current"] / MIB}

    def _busy(self) -> dict[str, float]:
        if not self._looked:
            self._looked = True
            self._find()
        if self._handle is None:
            return {}
        try:
            samples = self._nvml.nvmlDeviceGetProcessUtilization(self._handle, self._since)
        except self._nvml.NVMLError:  # it says so where it has seen nothing since
            return {}
        self._since = max((sample.timeStamp for sample in samples), default=self._since)
        # in a container, its numbers of processes may be others than ours
        own = [sample.smUtil for sample in samples if sample.pid == os.getpid()]
        return {"gpu_percent": float(own[-1])} if own else {}

    def _find(self) -> None:
        """The GPU that this worker's environment names; NVIDIA's library is not always there."""
        name = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if not name or name.startswith("-"):
            return
        try:
            import pynvml  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return
        self._nvml = pynvml
        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            by_index = name.isdigit()
            self._handle = (
                pynvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(name)
            )


class Pulse:
    """Tells, every few seconds of an attempt, that it makes steps and what it uses.

    Attributes:
        earlier_s: Seconds that attempts before this one have trained.
    """

    def __init__(
        self,
        spec: TrialSpec,
        emit: Emit,
        machine: Machine,
        *,
        clock: Callable[[], float] = time.monotonic,
        step_every_s: float = 5.0,
        sample_every_s: float = 10.0,
    ) -> None:
        """Begins to count the time of an attempt."""
        self.earlier_s = 0.0
        self._spec = spec
        self._emit = emit
        self._machine = machine
        self._clock = clock
        self._step_every_s = step_every_s
        self._sample_every_s = sample_every_s
        machine.begin()
        self._begun = self._stepped_at = self._sampled_at = clock()
        self._before = machine.usage()
        self._peak = self._before.memory

    @property
    def seconds(self) -> float:
        """Seconds of this attempt."""
        return self._clock() - self._begun

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
        metrics = {"memory_mb": usage.memory / MIB, "memory_peak_mb": self._peak / MIB, **usage.device}
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
