"""What a training uses of the one GPU that its process sees: memory by TensorFlow, time by NVIDIA's library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.devices.watch import MIB, GpuWatch, Seen

WatchMaker = Callable[[], GpuWatch | None]


@dataclass(frozen=True)
class GpuUse:
    """What was used by now.

    Attributes:
        memory_mb: MiB of tensors that this process holds.
        peak_mb: The most that they were since `OwnGpu.begin`.
        seen: What the driver says of the device's time and memory; None where it cannot be asked.
    """

    memory_mb: float
    peak_mb: float
    seen: Seen | None = None


class OwnGpu:
    """The GPU of this process. Asked for the first time, it begins to look at it a few times a second."""

    def __init__(self, watch: WatchMaker | None = None) -> None:
        """Takes what makes the watch; one of this process's device where left out."""
        self._make_watch = watch or GpuWatch.of_this_process
        self._watch: GpuWatch | None = None
        self._there: bool | None = None

    def __call__(self) -> GpuUse | None:
        """What is used; None where there is no GPU."""
        if not self._is_there():
            return None
        told: dict[str, Any] = _memory().get_memory_info("GPU:0")
        seen = None if self._watch is None else self._watch.seen()
        return GpuUse(told["current"] / MIB, told["peak"] / MIB, seen)

    def begin(self) -> None:
        """Forgets the peak of whatever was trained before."""
        if self._is_there():
            _memory().reset_memory_stats("GPU:0")

    def _is_there(self) -> bool:
        if self._there is None:
            import tensorflow as tf

            self._there = bool(tf.config.list_logical_devices("GPU"))
            if self._there:
                self._watch = self._make_watch()
                if self._watch is not None:
                    self._watch.start()
        return self._there


def percent_between(before: GpuUse | None, now: GpuUse) -> dict[str, float]:
    """The shares of the time between, in percent, as far as the driver tells.

    Returns:
        `utilisation_percent` of this process, or of the whole device where the driver does not tell processes apart;
        `device_utilisation_percent` of the device, whoever uses it. Neither where no look fell between.
    """
    if now.seen is None:
        return {}
    first = before.seen if before is not None and before.seen is not None else Seen()
    found: dict[str, float] = {}
    watched = now.seen.watched_s - first.watched_s
    if watched > 0:
        found["device_utilisation_percent"] = 100 * (now.seen.busy_s - first.busy_s) / watched
        found["utilisation_percent"] = found["device_utilisation_percent"]
    own = now.seen.own_watched_s - first.own_watched_s
    if own > 0:
        found["utilisation_percent"] = 100 * (now.seen.own_busy_s - first.own_busy_s) / own
    return found


def _memory() -> Any:
    import tensorflow as tf

    return tf.config.experimental
