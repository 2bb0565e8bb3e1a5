"""How many cores this process may use. A container sees all cores of its host, and may use few of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cpu_budget(cgroup: Path = _ROOT, own: Path = _OWN) -> int:
    """Returns the cores of the affinity mask, cut by the tightest quota of the process's cgroup and those above it.

    Args:
        cgroup: Where cgroups are mounted, version 2 or version 1.
        own: The file that names the process's cgroups.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min([cores, *_quotas(cgroup, own)]))


def _quotas(cgroup: Path, own: Path) -> Iterator[int]:
    v2, v1 = _own_paths(own)
    for folder in _upwards(cgroup, v2):
        yield from _cores(_read(folder / "cpu.max").split())
    for mount in (cgroup / "cpu", cgroup / "cpu,cpuacct"):
        for folder in _upwards(mount, v1):
            yield from _cores([_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()])


def _own_paths(own: Path) -> tuple[str, str]:
    """Returns the process's cgroup in version 2 and in version 1's `cpu` controller; "/" where it has none."""
    v2 = v1 = "/"
    for line in _read(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            v2 = path
        elif "cpu" in controllers.split(","):
            v1 = path
    return v2, v1


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yields the folder of a cgroup and those of its parents, up to the mount."""
    yield mount
    folder = mount
    for part in path.split("/"):
        if part and part != "..":
            folder /= part
            yield folder


def _cores(quota_and_period: list[str]) -> Iterator[int]:
    if len(quota_and_period) == 2 and all(text.isascii() and text.isdigit() for text in quota_and_period):
        quota, period = map(int, quota_and_period)
        if period > 0:
            yield quota // period


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
