"""Warm worker processes on this machine: spawned once, used for many tasks, replaced when they die or grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.devices import Rotation
from pipelines.executors.base import Factory, Loss, LossKind
from pipelines.executors.logs import WorkerLog
from pipelines.executors.recruits import Recruit, Recruits
from pipelines.executors.slots import Recycling, SlotsExecutor
from pipelines.executors.staff import Agency, Staff

__all__ = ["ProcessesExecutor", "Recycling"]


class Processes(Agency):
    """Workers that are processes of this machine, in an environment each: its device, its threads.

    It is set before anything heavy is imported.
    """

    def __init__(
        self,
        factory: Factory,
        environments: Sequence[Mapping[str, str]],
        recruits: Recruits | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        """Takes what makes a worker, an environment for each of them, and processes that were started before.

        The rotation knows which of their devices are still worth a worker.
        """
        self._factory = factory
        self._environments = environments
        self._recruits = recruits or Recruits()
        self._rotation = rotation or Rotation(())

    def start(self, number: int, log: WorkerLog) -> Staff:
        """See `Agency`."""
        environment = self._environments[number]
        log.keep_small()
        recruit = self._recruits.take(number, environment) or Recruit.start(number, environment)
        return recruit.hire(number, self._factory, log)

    def did_something(self, number: int) -> None:
        """See `Agency`."""
        self._rotation.did_something(number)

    def gone(self, number: int, loss: Loss) -> str:
        """See `Agency`: the device may be gone, too."""
        return self._rotation.gone(number, loss.reason, by_itself=loss.kind is LossKind.DIED)


class ProcessesExecutor(SlotsExecutor):
    """One process a slot, on this machine."""

    def __init__(
        self,
        factory: Factory,
        environments: Sequence[Mapping[str, str]],
        *,
        logs: Path,
        recycling: Recycling | None = None,
        recruits: Recruits | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        """Takes everything that it needs; nothing is started yet.

        Args:
            factory: Makes a worker.
            environments: One a worker.
            logs: Folder for what the workers print.
            recycling: When a worker is replaced.
            recruits: Processes that were started before; those of a worker's environment are its first.
            rotation: Which devices are still worth a worker; None where that is not asked.
        """
        self._factory = factory
        self._environments = environments
        agency = Processes(factory, environments, recruits, rotation)
        super().__init__(agency, len(environments), logs=logs, recycling=recycling)
