"""NVIDIA's library over a machine that is written down beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

MIB = 1 << 20


class NVMLError(Exception):
    """Its one kind of error; `value` is the code."""

    def __init__(self, value: int, text: str = "Unknown Error") -> None:
        super().__init__(text)
        self.value = value


@dataclass
class Card:
    """A GPU, or a slice of one."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    total_mb: int = 81559
    used_mb: int = 0
    capability: tuple[int, int] = (9, 0)
    slices: Sequence[Card] = ()
    mig: bool = False
    processes: Mapping[int, int | None] = field(default_factory=dict)
    busy: Sequence[int] = ()
    own: Sequence[Sequence[tuple[int, int, int]]] = ()
    lost: bool = False
    silent: bool = False


class FakeNvml:
    """The module, as far as it is used."""

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NOT_FOUND = 6
    NVML_ERROR_TIMEOUT = 10
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_ERROR_RESET_REQUIRED = 16
    NVML_DEVICE_MIG_ENABLE = 1
    nvmlMemory_v2 = 2  # noqa: N815
    nvmlEventTypeXidCriticalError = 8  # noqa: N815

    def __init__(self, *cards: Card, old: bool = False, started: bool = True) -> None:
        self.cards = list(cards)
        self.old = old
        self.started = started
        self.watched: list[str] = []
        self.events: list[tuple[str, int]] = []
        self.since: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.started:
            raise NVMLError(9, "Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        if index >= len(self.cards):
            raise NVMLError(2, "Invalid Argument")
        return self._answering(self.cards[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:  # noqa: N802
        for card in (*self.cards, *(part for whole in self.cards for part in whole.slices)):
            if card.uuid == uuid:
                return self._answering(card)
        raise NVMLError(self.NVML_ERROR_NOT_FOUND, "Not Found")

    def nvmlDeviceGetIndex(self, card: Card) -> int:  # noqa: N802
        return self.cards.index(card)

    def nvmlDeviceGetUUID(self, card: Card) -> str | bytes:  # noqa: N802
        return card.uuid.encode() if self.old else card.uuid

    def nvmlDeviceGetName(self, card: Card) -> str | bytes:  # noqa: N802
        return card.name.encode() if self.old else card.name

    def nvmlDeviceGetMemoryInfo(self, card: Card, version: int | None = None) -> Any:  # noqa: N802
        self._answering(card)
        if version is not None and self.old:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED, "Not Supported")
        kept = 0 if version is None else 600  # what the driver keeps for itself
        free = card.total_mb - card.used_mb - 600
        return SimpleNamespace(total=card.total_mb * MIB, free=free * MIB, used=(card.total_mb - free - kept) * MIB)

    def nvmlDeviceGetCudaComputeCapability(self, card: Card) -> tuple[int, int]:  # noqa: N802
        return card.capability

    def nvmlDeviceGetMigMode(self, card: Card) -> list[int]:  # noqa: N802
        if self.old:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED, "Not Supported")
        return [int(card.mig), int(card.mig)]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, place: int) -> Card:  # noqa: N802
        if place >= len(card.slices):
            raise NVMLError(self.NVML_ERROR_NOT_FOUND, "Not Found")
        return card.slices[place]

    def nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[Any]:  # noqa: N802
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if used is None else used * MIB)
            for pid, used in card.processes.items()
        ]

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> Any:  # noqa: N802
        if not card.busy:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED, "Not Supported")
        now, *rest = card.busy
        card.busy = rest or [now]
        return SimpleNamespace(gpu=now)

    def nvmlDeviceGetProcessUtilization(self, card: Card, since: int) -> list[Any]:  # noqa: N802
        self.since.append(since)
        if not card.own:
            raise NVMLError(self.NVML_ERROR_NOT_FOUND, "Not Found")
        now, *rest = card.own
        card.own = rest
        return [SimpleNamespace(pid=pid, smUtil=share, timeStamp=when) for pid, share, when in now]

    def nvmlEventSetCreate(self) -> str:  # noqa: N802
        return "events"

    def nvmlDeviceRegisterEvents(self, card: Card, kinds: int, events: str) -> None:  # noqa: N802
        assert (kinds, events) == (self.nvmlEventTypeXidCriticalError, "events")
        if card.silent:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED, "Not Supported")
        self.watched.append(card.uuid)

    def nvmlEventSetWait_v2(self, events: str, timeout_ms: int) -> Any:  # noqa: N802
        assert timeout_ms == 0, "the controller never waits for a driver"
        if not self.events:
            raise NVMLError(self.NVML_ERROR_TIMEOUT, "Timeout")
        uuid, number = self.events.pop(0)
        card = next(card for card in self.cards if card.uuid == uuid)
        return SimpleNamespace(device=card, eventData=number)

    def _answering(self, card: Card) -> Card:
        if card.lost:
            raise NVMLError(self.NVML_ERROR_GPU_IS_LOST, "GPU is lost")
        return card
