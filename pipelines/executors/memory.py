"""Whether Linux has ended processes for lack of memory: in this control group where it counts them, else anywhere."""

from __future__ import annotations

from pathlib import Path

_COUNTERS = (
    Path("/sys/fs/cgroup/memory.events"),  # a container, or a service with a limit of its own (cgroup v2)
    Path("/sys/fs/cgroup/memory/memory.oom_control"),  # the same of cgroup v1
    Path("/proc/vmstat"),  # the whole machine
)
_NAME = "oom_kill"


def kills() -> int | None:
    """How many processes were ended for lack of memory so far; None where nothing counts them."""
    found = [count for count in map(_count, _COUNTERS) if count is not None]
    return sum(found) if found else None


def killed_since(before: int | None) -> bool:
    """Whether there were more since `kills` said `before`. The counter says that, not which process it was."""
    now = kills()
    return before is not None and now is not None and now > before


def _count(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [_NAME]), None)
