"""NVIDIA's management library (NVML): the devices that the driver knows, and what it says of each.

`nvidia-ml-py` is a part of the extra `gpu`; where it or the driver is missing there is nothing to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from pipelines.devices.device import Device

MIB = 1 << 20
_LOST = ("NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_NOT_FOUND", "NVML_ERROR_RESET_REQUIRED")
"""What the library answers about a GPU that does not compute any more; by name, as numbers are its own business."""


class Nvml:
    """The library, begun. Every question may fail, and what it could not answer is then None.

    Attributes:
        library: The module itself.
    """

    def __init__(self, library: Any) -> None:
        """Begins it.

        Raises:
            library.NVMLError: There is no driver that would answer.
        """
        self.library = library
        library.nvmlInit()

    def devices(self) -> list[Device]:
        """All that there are, in the order of `nvidia-smi`; of a GPU that is cut into slices (MIG), the slices."""
        found: list[Device] = []
        for index in range(int(self.library.nvmlDeviceGetCount())):
            with suppress(self.library.NVMLError):  # one that is broken keeps no other from its work
                handle = self.library.nvmlDeviceGetHandleByIndex(index)
                whole = self._device(index, handle)
                if self._is_sliced(handle):
                    found += [self._device(index, part, whole) for part in self._slices(handle)]
                else:
                    found.append(whole)
        return found

    def handle(self, name: str) -> Any:
        """The library's own handle of a device by what `CUDA_VISIBLE_DEVICES` calls it.

        Raises:
            library.NVMLError: It knows none of this name.
        """
        if name.isdigit():
            return self.library.nvmlDeviceGetHandleByIndex(int(name))
        return self.library.nvmlDeviceGetHandleByUUID(name)

    def lost(self, name: str) -> str | None:
        """What is wrong with a device: a part of a sentence, empty where it answers; None where nobody can say."""
        try:
            handle = self.handle(name)
            self.library.nvmlDeviceGetMemoryInfo(handle)
        except self.library.NVMLError as error:
            code = getattr(error, "value", None)
            known = {getattr(self.library, word, object()) for word in _LOST}
            return f"NVIDIA's driver says of it: {error}" if code in known else None
        return ""

    def memory(self, handle: Any) -> tuple[int, int, int] | None:
        """MiB of a device in all, free, and held by anybody."""
        with suppress(self.library.NVMLError, AttributeError, TypeError):
            # the first version of this answer counts what the driver keeps for itself as used
            told = self.library.nvmlDeviceGetMemoryInfo(handle, version=self.library.nvmlMemory_v2)
            return int(told.total) // MIB, int(told.free) // MIB, int(told.used) // MIB
        with suppress(self.library.NVMLError):
            told = self.library.nvmlDeviceGetMemoryInfo(handle)
            return int(told.total) // MIB, int(told.free) // MIB, int(told.used) // MIB
        return None

    def processes(self, handle: Any) -> dict[int, int | None]:
        """MiB of a device that each process holds, by its number, as far as they can be seen from here."""
        with suppress(self.library.NVMLError):
            told = self.library.nvmlDeviceGetComputeRunningProcesses(handle)
            return {int(one.pid): None if one.usedGpuMemory is None else int(one.usedGpuMemory) // MIB for one in told}
        return {}

    def _device(self, index: int, handle: Any, whole: Device | None = None) -> Device:
        memory = self.memory(handle)
        total, free, used = memory or (None, None, None)
        capability = None if whole is None else whole.capability
        if whole is None:
            with suppress(self.library.NVMLError):
                major, minor = self.library.nvmlDeviceGetCudaComputeCapability(handle)
                capability = (int(major), int(minor))
        name = whole.name if whole is not None else ""
        with suppress(self.library.NVMLError):
            name = _text(self.library.nvmlDeviceGetName(handle))
        return Device(
            index,
            _text(self.library.nvmlDeviceGetUUID(handle)),
            name,
            total,
            free,
            used,
            tuple(sorted(self.processes(handle))),
            capability,
            "" if whole is None else whole.uuid,
        )

    def _is_sliced(self, handle: Any) -> bool:
        with suppress(self.library.NVMLError, AttributeError):
            now, _ = self.library.nvmlDeviceGetMigMode(handle)
            return bool(now == self.library.NVML_DEVICE_MIG_ENABLE)
        return False

    def _slices(self, handle: Any) -> Iterator[Any]:
        for place in range(int(self.library.nvmlDeviceGetMaxMigDeviceCount(handle))):
            with suppress(self.library.NVMLError):  # a place without a slice
                yield self.library.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)


@cache
def nvml() -> Nvml | None:
    """NVIDIA's library in this process; None where it, or a driver behind it, is not there."""
    try:
        library = import_module("pynvml")
    except ImportError:
        return None
    try:
        return Nvml(library)
    except Exception:  # of a class of the library's, which may be any version of it
        return None


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)
