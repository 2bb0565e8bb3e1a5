"""Where the containers of one executor live, and what all of them share."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.executors.docker.base import ContainerPlan


@dataclass(frozen=True)
class Berth:
    """Where the containers of one executor live, and what all of them share.

    Attributes:
        study: The name of the study, by which people find them.
        folder: Of the study.
        logs: Folder of the workers' logs.
        plan: What all have in common; its name and environment are completed for each.
        environments: Of each worker: its share of the cores, and its GPU.
        path: Where modules are looked for beside those of the image, after them.
    """

    study: str
    folder: Path
    logs: Path
    plan: ContainerPlan
    environments: Sequence[Mapping[str, str]] = field(default_factory=list)
    path: Sequence[str] = ()

    @property
    def memory_mb(self) -> int:
        """What a worker may use, in MiB."""
        return (self.plan.memory_bytes or sys.maxsize) >> 20


def gpu_of(environment: Mapping[str, str]) -> str | None:
    """The GPU of a worker, by what its environment calls it; None where it has the CPU alone."""
    device = environment.get("CUDA_VISIBLE_DEVICES", "-1")
    return None if not device or device.startswith("-") else device
