"""What this machine has to train on."""

from __future__ import annotations

import os
import shutil
import subprocess


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[int]:
    """Indices of the NVIDIA GPUs, as far as `CUDA_VISIBLE_DEVICES` lets them be seen."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [int(index) for index in visible.split(",") if index.strip().isdigit()]
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    return list(range(sum(line.startswith("GPU ") for line in done.stdout.splitlines()))) if not done.returncode else []
