"""Workers in the actors of a Ray cluster, as many as are asked for, or as many as it has room for at the moment."""

from __future__ import annotations

from pathlib import Path

from pipelines.executors.ray.agency import RayAgency
from pipelines.executors.slots import Recycling, Slot, SlotsExecutor


class RayExecutor(SlotsExecutor):
    """One actor a slot. A slot whose node left waits for a place anywhere."""

    def __init__(
        self,
        agency: RayAgency,
        workers: int,
        *,
        logs: Path,
        recycling: Recycling | None = None,
        follows: bool = False,
    ) -> None:
        """Takes everything that it needs; nothing is started yet.

        Args:
            agency: Connected to a cluster.
            workers: How many there are at first.
            logs: Folder for what they print.
            recycling: When a worker is replaced.
            follows: Whether there are more of them when nodes join.
        """
        super().__init__(agency, workers, logs=logs, recycling=recycling)
        self._cluster = agency
        self._follows = follows

    def wait(self, timeout_s: float) -> None:
        """See `Executor`."""
        super().wait(timeout_s)
        cluster = self._cluster.cluster
        if self._follows and self._slots and cluster is not None and cluster.places > len(self._slots):
            self.grow(cluster.places)

    def _see_to(self, slot: Slot) -> None:
        """Replaces a worker that is due when it rests, and not before: its successor may need the very place it has."""
        if not self._is_due(slot.current):
            self._tell_room(slot)
        elif slot.current.resting:  # until then its room is told to nobody, so it comes to rest
            slot.current.retire()
            slot.before += slot.current.given
            slot.current = self._agency.start(slot.number, slot.log)
