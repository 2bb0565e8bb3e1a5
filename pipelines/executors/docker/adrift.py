"""Containers that have outlived their controller: found by their labels, or by the notes beside the workers' logs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.executors.docker.base import Engine, EngineGone, EngineRefused
from pipelines.executors.docker.engine import DockerEngine

NOTE = ".container"
"""Ending of the note of a container, which is written before it is made and removed after it is."""
CONTROLLER = secrets.token_hex(4)
"""Tells what this very process has made from what others have left."""


def labels_of(study: str, folder: Path) -> dict[str, str]:
    """The labels of all containers of a study in this home."""
    return {"regatta.study": study, "regatta.folder": str(folder)}


def are_noted(logs: Path) -> bool:
    """Whether there may be containers of a controller that is gone. It asks no engine; to be called with the lock."""
    return any(path.suffix == NOTE for path in _left(logs))


def _left(logs: Path) -> Iterator[Path]:
    """What other controllers have left beside the logs; a file of ours has our name in its own."""
    for pattern in (f"worker-*{NOTE}", "dial-*.sock"):
        yield from (path for path in logs.rglob(pattern) if CONTROLLER not in path.name)


@dataclass(frozen=True)
class Adrift:
    """The containers of a study that other controllers made, of which none lives any more.

    Attributes:
        engine: Runs them.
        containers: Their ids, and whether each of them runs.
        logs: Folder of the workers' logs.
    """

    engine: Engine
    containers: Mapping[str, bool]
    logs: Path

    @classmethod
    def of(cls, study: str, folder: Path, logs: Path, engine: Engine | None = None) -> Adrift:
        """Looks for them. To be called with the study's lock.

        Raises:
            EngineGone: The engine cannot be reached.
            EngineRefused: It does not tell.
        """
        engine, labels = engine or DockerEngine(), labels_of(study, folder)
        ours = engine.labelled({**labels, "regatta.controller": CONTROLLER})
        found = engine.labelled(labels)
        return cls(engine, {name: runs for name, runs in found.items() if name not in ours}, logs)

    @property
    def running(self) -> int:
        """How many of them run."""
        return sum(self.containers.values())

    def remove(self) -> None:
        """Ends and removes them, and what they have left beside the logs."""
        failed = False
        for container in self.containers:
            try:
                self.engine.remove(container)
            except (EngineGone, EngineRefused):
                failed = True
        if not failed:
            for path in list(_left(self.logs)):
                with suppress(OSError):
                    path.unlink()
