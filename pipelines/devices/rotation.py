"""Which devices are still worth a worker: one that fell off the bus, or that its workers die on, is left out.

An executor asks it about every worker that is gone, before it starts another in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.devices.inventories import VISIBLE
from pipelines.devices.nvml import nvml
from pipelines.devices.xids import Xids

_DEATHS = 2
"""Workers of one device that die one after another, without a task done in between."""
_IN_A_ROW_S = 900.0
"""Deaths that lie further apart have nothing to do with each other."""
NO_GPU = "-1"


def _asked(name: str) -> str | None:
    library = nvml()
    return None if library is None else library.lost(name)


@dataclass
class _Place:
    """One device.

    Attributes:
        workers: Numbers of the workers that are on it.
        deaths: Workers that died on it since the last time that one did something there.
        died: When the last of them did.
        out: Why it is out of the rotation, or nothing.
    """

    workers: set[int] = field(default_factory=set)
    deaths: int = 0
    died: float = 0.0
    out: str = ""


class Rotation:
    """Keeps count of what happens on each device.

    A worker may die of its trial as well as of its device. So a device is out at once only if the driver says that it
    is lost; otherwise when two of its workers have died one after another, and others do well on another device
    meanwhile. The last device stays unless the driver says that it is lost: nothing could be done without it, and
    what a trial does to every device is the trial's own end.
    """

    def __init__(
        self,
        devices: Sequence[str],
        *,
        lost: Callable[[str], str | None] = _asked,
        xids: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes where the workers are.

        Args:
            devices: Of each worker, what `CUDA_VISIBLE_DEVICES` calls its device; `-1` for the CPU.
            lost: What is wrong with a device: a part of a sentence, empty where it answers, None where nobody knows.
            xids: What the driver has told of errors of a device, as a part of a sentence; empty for nothing.
            clock: Seconds that only go forward.
        """
        self._clock = clock
        self._of_worker = dict(enumerate(devices))
        self._lost = lost
        self._xids = xids if xids is not None else Xids(sorted({one for one in devices if one != NO_GPU}))
        self._places: dict[str, _Place] = {}
        for worker, device in enumerate(devices):
            if device != NO_GPU:
                self._places.setdefault(device, _Place()).workers.add(worker)

    @classmethod
    def of(cls, environments: Sequence[Mapping[str, str]], **more: Any) -> Rotation:
        """The rotation of workers with these environments."""
        return cls([environment.get(VISIBLE, NO_GPU).split(",")[0] for environment in environments], **more)

    def did_something(self, worker: int) -> None:
        """The worker has done a task: its device works."""
        place = self._places.get(self._of_worker.get(worker, NO_GPU))
        if place is not None:
            place.deaths = 0

    def gone(self, worker: int, reason: str, *, by_itself: bool = True) -> str:
        """A worker is gone. Returns why no other is to be started in its place; empty where one is.

        Args:
            worker: Its number.
            reason: What it died of, as far as that is known.
            by_itself: Whether it died without anybody having ended it, and not for lack of memory.
        """
        device = self._of_worker.get(worker, NO_GPU)
        place = self._places.get(device)
        if place is None:
            return ""
        if place.out:
            return place.out
        if by_itself:
            now = self._clock()
            place.deaths = place.deaths + 1 if now - place.died < _IN_A_ROW_S else 1
            place.died = now
        broken = self._lost(device) if by_itself else ""
        others = [other for name, other in self._places.items() if name != device and not other.out]
        healthier = any(other.deaths < _DEATHS for other in others)
        if broken or (place.deaths >= _DEATHS and healthier):
            told = self._xids(device)
            why = broken or f"{place.deaths} workers died on it one after another, the last one as {reason}"
            rest = f"{len(others)} other{'' if len(others) == 1 else 's'} go{'es' if len(others) == 1 else ''} on"
            place.out = (
                f"the device {device} is taken out of the rotation: {why}{'; ' + told if told else ''}. "
                f"{rest if others else 'There is no other'}"
            )
        return place.out

    @property
    def out(self) -> list[str]:
        """Names of the devices that are out."""
        return [name for name, place in self._places.items() if place.out]
