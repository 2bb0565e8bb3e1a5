"""The devices of this machine: NVML is asked first, then TensorFlow in a short-lived process; else there is the CPU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipelines.devices.by_tensorflow import TensorFlowSilent, listed_by_tensorflow
from pipelines.devices.device import Device
from pipelines.devices.nvml import Nvml, nvml
from pipelines.devices.visible import seen, words_of

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DRIVER = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-ctrl-gpu", "/proc/driver/nvidia/version")
"""What lies there where there is a driver of NVIDIA's: on Linux, in WSL, on a Jetson."""
_OTHERS = {
    "/dev/kfd": "an AMD GPU",
    "/dev/accel0": "an accelerator that is no GPU (a TPU, or the like)",
    "/dev/vfio/0": "a device that is given to a virtual machine, perhaps a TPU",
}


@dataclass(frozen=True)
class Inventory:
    """What there is to train on, beside the CPU.

    Attributes:
        devices: GPUs and slices of GPUs that may be used, in the order in which workers get them.
        source: Who was asked; `none` where nobody knows of any.
        remarks: What people should know about it, a sentence each.
    """

    devices: tuple[Device, ...] = ()
    source: Literal["nvml", "tensorflow", "none"] = "none"
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """What `CUDA_VISIBLE_DEVICES` calls each."""
        return [device.visible for device in self.devices]

    @property
    def free_mb(self) -> int | None:
        """MiB that are free on the fullest of them; None where that is not known of all, or there is none."""
        free = [device.free_mb for device in self.devices if device.free_mb is not None]
        return min(free) if free and len(free) == len(self.devices) else None


@dataclass(frozen=True)
class Signs:
    """What can be told about a machine without asking any library.

    Attributes:
        driver: Whether there is a driver of NVIDIA's.
        without_gpus: Whether the TensorFlow that is installed is the build for CPUs alone.
        others: What else there is that is not made use of.
    """

    driver: bool = False
    without_gpus: bool = False
    others: tuple[str, ...] = ()

    @classmethod
    def read(cls, root: Path = Path("/")) -> Signs:
        """Looks about on this machine; `root` is where its files begin."""
        driver = any((root / path[1:]).exists() for path in _DRIVER) or shutil.which("nvidia-smi") is not None
        others = [what for path, what in _OTHERS.items() if (root / path[1:]).exists()]
        return cls(driver, driver and _has("tensorflow-cpu") and not _has("tensorflow"), tuple(others))


def take_inventory(
    visible: str | None,
    signs: Signs,
    *,
    library: Callable[[], Nvml | None] = nvml,
    tensorflow: Callable[[], Sequence[Device]] = listed_by_tensorflow,
) -> Inventory:
    """Finds out what there is.

    Args:
        visible: `CUDA_VISIBLE_DEVICES`; None where it is not set.
        signs: What the machine looks like.
        library: Gives NVML, where it is there.
        tensorflow: Asks TensorFlow.
    """
    if visible is not None and not words_of(visible):
        return Inventory()  # somebody wants no GPU, and knows why
    if not signs.driver:
        return Inventory(remarks=tuple(map(_unused, signs.others)))
    asked = library()
    if asked is not None:
        inventory = _by_nvml(asked, visible)
    else:
        inventory = Inventory() if signs.without_gpus else _by_tensorflow(tensorflow, visible)
    if signs.without_gpus:
        text = (
            "There is a driver for NVIDIA GPUs here, and the TensorFlow that is installed cannot use any "
            "(tensorflow-cpu): trials train on the CPU. With `make setup DEVICE=gpu` they would not."
        )
        return Inventory(remarks=(text,))
    return inventory


def inventory() -> Inventory:
    """The devices of this machine as this process may see them, with the memory that is free on them now."""
    return take_inventory(os.environ.get(VISIBLE), Signs.read())


def _by_nvml(asked: Nvml, visible: str | None) -> Inventory:
    try:
        everything = asked.devices()
    except asked.library.NVMLError as error:
        return Inventory(remarks=(f"NVIDIA's driver does not tell which GPUs there are ({error}): the CPU is used.",))
    devices = seen(everything, visible)
    remarks = [device.remark for device in devices if device.remark]
    if visible is not None and not devices:
        known = ", ".join(device.title for device in everything) or "none"
        remarks.append(f"{VISIBLE}={visible} names no device of this machine, which has: {known}. The CPU is used.")
    return Inventory(tuple(devices), "nvml" if devices else "none", tuple(remarks))


def _by_tensorflow(tensorflow: Callable[[], Sequence[Device]], visible: str | None) -> Inventory:
    try:
        found = list(tensorflow())
    except TensorFlowSilent as error:
        return Inventory(remarks=(f"{error}: trials train on the CPU.",))
    # the process that was asked saw what this one sees, counted from 0
    words = words_of(visible) if visible is not None else [str(device.index) for device in found]
    named = [
        replace(device, index=int(word)) if word.isdigit() else replace(device, uuid=word)
        for device, word in zip(found, words, strict=False)
    ]
    return Inventory(tuple(named), "tensorflow" if named else "none")


def _unused(what: str) -> str:
    return f"There is {what} here, which Regatta does not use: it trains on NVIDIA GPUs and on CPUs."


def _has(distribution: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
