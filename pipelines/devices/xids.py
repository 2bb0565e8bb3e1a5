"""What NVIDIA's driver tells of a GPU's critical errors (XID), for those who want to know what a worker died of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pipelines.devices.nvml import Nvml, nvml

_MEANINGS = {
    13: "a fault in a program that ran on it",
    31: "a program reached for memory that is not its own",
    43: "a program on it stopped",
    45: "a program on it was cleared away",
    48: "an error in its memory that could not be corrected",
    62: "its firmware halted",
    63: "a page of its memory was retired",
    64: "a page of its memory could not be retired",
    74: "an error of NVLink",
    79: "it has fallen off the bus",
    92: "many errors in its memory were corrected",
    94: "a contained error in its memory",
    95: "an uncontained error in its memory",
    119: "its firmware does not answer",
    120: "an error of its firmware",
}
"""Those that are met most, in NVIDIA's own sense (https://docs.nvidia.com/deploy/xid-errors/)."""


class Xids:
    """Notes what comes from the time that it is made. Where the driver does not tell, there is nothing."""

    def __init__(self, names: Sequence[str], library: Nvml | None = None) -> None:
        """Asks to be told of these devices.

        Args:
            names: What `CUDA_VISIBLE_DEVICES` calls them.
            library: NVML; that of this process where left out.
        """
        self._library = (library or nvml()) if names else None
        self._heard: dict[str, list[int]] = {}
        self._events: Any = None
        if self._library is None:
            return
        nv = self._library.library
        with suppress(nv.NVMLError, AttributeError):
            self._events = nv.nvmlEventSetCreate()
            for name in names:
                with suppress(nv.NVMLError):
                    nv.nvmlDeviceRegisterEvents(
                        self._library.handle(name), nv.nvmlEventTypeXidCriticalError, self._events
                    )

    def __call__(self, name: str) -> str:
        """What was told of a device by now, as a part of a sentence; empty where nothing was."""
        self._listen()
        heard = dict.fromkeys(self._heard.get(name, ()))
        return ", ".join(
            f"XID {number} ({_MEANINGS[number]})" if number in _MEANINGS else f"XID {number}" for number in heard
        )

    def _listen(self) -> None:
        if self._library is None or self._events is None:
            return
        nv = self._library.library
        with suppress(nv.NVMLError, AttributeError):  # one of them says that nothing more has come
            for _ in range(100):
                told = nv.nvmlEventSetWait_v2(self._events, 0)
                uuid = nv.nvmlDeviceGetUUID(told.device)
                index = str(nv.nvmlDeviceGetIndex(told.device))
                for name in (uuid.decode() if isinstance(uuid, bytes) else str(uuid), index):
                    self._heard.setdefault(name, []).append(int(told.eventData))
