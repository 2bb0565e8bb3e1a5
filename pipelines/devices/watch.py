"""Looks at the one GPU of this process a few times a second, in a thread of its own, and adds up what it sees.

A look takes the driver up to some milliseconds (2.8 on an H200), in which other threads of this process go on. What is
added up is a share of time, so whoever reads twice has the mean between, however often others read.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.devices.inventories import VISIBLE
from pipelines.devices.nvml import MIB, Nvml, nvml

EVERY_S = 0.5


@dataclass(frozen=True)
class Seen:
    """What was seen by now, since the watch began.

    Attributes:
        watched_s: Seconds in which the device was looked at; 0.0 where its use is not told, as of a MIG slice.
        busy_s: Of them, those in which it was busy, whoever kept it so.
        own_watched_s: Seconds of which the driver told what this process did.
        own_busy_s: Of them, those in which this process kept it busy.
        used_mb: MiB of the device that are held by anybody, at the last look; None where that is not told.
    """

    watched_s: float = 0.0
    busy_s: float = 0.0
    own_watched_s: float = 0.0
    own_busy_s: float = 0.0
    used_mb: float | None = None


class GpuWatch:
    """Sees what the device does; `look` may also be called by hand."""

    def __init__(
        self,
        library: Nvml,
        handle: Any,
        *,
        clock: Callable[[], float] = time.monotonic,
        process: int | None = None,
    ) -> None:
        """Takes whom to ask, and about which device.

        Args:
            library: NVML.
            handle: The device's.
            clock: Seconds that only go forward.
            process: Number of the process that is told apart from others; this one's where left out.
        """
        self._library = library
        self._handle = handle
        self._clock = clock
        self._process = os.getpid() if process is None else process
        self._looked = clock()
        self._since = 0
        self._seen = Seen()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of_this_process(cls) -> GpuWatch | None:
        """That of the first device that this process sees; None where it sees none, or nobody tells of it."""
        name = os.environ.get(VISIBLE, "0").split(",")[0].strip()
        if not name or name.startswith("-"):
            return None
        library = nvml()
        if library is None:
            return None
        with suppress(library.library.NVMLError):
            return cls(library, library.handle(name))
        return None

    def start(self, every_s: float = EVERY_S) -> None:
        """Looks every so often from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, args=(every_s,), name="gpu-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def seen(self) -> Seen:
        """What was seen by now."""
        with self._lock:
            return self._seen

    def look(self) -> None:
        """Looks once: what is seen stands for the time since the last look."""
        now = self._clock()
        passed, self._looked = now - self._looked, now
        busy, own, used = self._device_busy(), self._own_busy(), self._library.memory(self._handle)
        with self._lock:
            before = self._seen
            self._seen = Seen(
                before.watched_s + (passed if busy is not None else 0.0),
                before.busy_s + passed * (busy or 0.0),
                before.own_watched_s + (passed if own is not None else 0.0),
                before.own_busy_s + passed * (own or 0.0),
                before.used_mb if used is None else float(used[2]),
            )

    def free_mb(self) -> float | None:
        """MiB of the device that nobody holds."""
        told = self._library.memory(self._handle)
        return None if told is None else float(told[1])

    def _watch(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            self.look()

    def _device_busy(self) -> float | None:
        library = self._library.library
        with suppress(library.NVMLError, AttributeError):
            return float(library.nvmlDeviceGetUtilizationRates(self._handle).gpu) / 100
        return None

    def _own_busy(self) -> float | None:
        """The mean of what the driver noted of this process since it was asked last; in a container, it may not know.

        Where it noted something of others only, this process did nothing.
        """
        library = self._library.library
        try:
            samples = list(library.nvmlDeviceGetProcessUtilization(self._handle, self._since))
        except (library.NVMLError, AttributeError):  # it says so, too, where it has noted nothing since
            return None
        fresh = [sample for sample in samples if sample.timeStamp > self._since]
        self._since = max((int(sample.timeStamp) for sample in fresh), default=self._since)
        own = [float(sample.smUtil) for sample in fresh if sample.pid == self._process]
        return sum(own) / len(own) / 100 if own else None


__all__ = ["EVERY_S", "MIB", "GpuWatch", "Seen"]
