"""What this machine has to train on."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import takewhile


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The NVIDIA GPUs, by index or by name, as far as `CUDA_VISIBLE_DEVICES` lets them be seen."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # CUDA, too, stops at the first that is none
        return list(takewhile(lambda name: name and not name.startswith("-"), names))
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    count = 0 if done.returncode else sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return [str(index) for index in range(count)]
