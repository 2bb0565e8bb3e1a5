"""What this machine is: its name, system, processor, memory and GPUs. Starts no program but the driver's own."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines import devices

_CPU_INFO = Path("/proc/cpuinfo")
_GPU_INFO = Path("/proc/driver/nvidia")


@dataclass(frozen=True)
class Machine:
    """A machine, without a word about who uses it.

    Attributes:
        host: Its name in the network.
        system: The operating system and its version.
        cpu: The processor's model, as far as the system tells.
        cores: Cores that this process may use; `cores_in_all` is how many there are.
        memory_mb: Memory in MiB.
        devices: The NVIDIA GPUs that may be used, by index or by name.
        gpus: Models of all NVIDIA GPUs, as far as the driver tells without being asked.
        driver: Version of NVIDIA's driver.
        python: Version of Python.
    """

    host: str
    system: str
    cpu: str
    cores: int
    cores_in_all: int
    memory_mb: int
    devices: tuple[str, ...]
    gpus: tuple[str, ...]
    driver: str | None
    python: str


def this_machine() -> Machine:
    """The machine that this process is on."""
    return Machine(
        host=platform.node() or "unknown",
        system=platform.platform(),
        cpu=cpu_model(_CPU_INFO),
        cores=devices.cores(),
        cores_in_all=psutil.cpu_count() or devices.cores(),
        memory_mb=psutil.virtual_memory().total >> 20,
        devices=_usable_gpus(),
        gpus=gpu_models(_GPU_INFO),
        driver=driver_version(_GPU_INFO),
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def _usable_gpus() -> tuple[str, ...]:
    try:
        return tuple(devices.gpus())
    except (OSError, subprocess.SubprocessError):  # a driver that hangs is a matter for whoever trains on it
        return ()


def cpu_model(info: Path) -> str:
    """The processor's model, from Linux's `/proc/cpuinfo`; where there is no such word, its architecture."""
    return _first(r"^(?:model name|Model|cpu model)\s*: (.+)$", info) or platform.processor() or platform.machine()


def gpu_models(info: Path) -> tuple[str, ...]:
    """The GPUs' models, from what the driver writes into `/proc`."""
    found = [_first(r"^Model:\s*(.+)$", file) for file in sorted(info.glob("gpus/*/information"))]
    return tuple(model for model in found if model)


def driver_version(info: Path) -> str | None:
    """The driver's version, from the same place."""
    return _first(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", info / "version")


def _first(pattern: str, file: Path) -> str | None:
    try:
        found = re.search(pattern, file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None
