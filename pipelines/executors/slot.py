"""One worker as the handler knows it, whoever is it at the moment; and when whoever is it is replaced."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.executors.logs import WorkerLog
from pipelines.executors.staff import Staff


@dataclass(frozen=True)
class Recycling:
    """When a worker is replaced by a fresh one: at rest, and above `cap_bytes` in the middle of its tasks.

    With `after_tasks` None, only the memory that it fills makes it due.
    """

    after_tasks: int | None = 200
    above_bytes: int = 4 << 30
    cap_bytes: int | None = None


@dataclass
class Slot:
    """One worker as the handler knows it: its number stays while those who are it come and go.

    Attributes:
        room: Places that the handler was told of and has given no task yet.
        before: Tasks that were given to those before the current one.
        out: Why it has no worker any more, and will have none, or nothing.
    """

    number: int
    log: WorkerLog
    current: Staff
    successor: Staff | None = None
    failed_starts: int = 0
    room: int = 0
    before: int = 0
    out: str = ""

    @property
    def staff(self) -> list[Staff]:
        """Who there is."""
        if self.out:
            return []
        return [self.current] if self.successor is None else [self.current, self.successor]

    @property
    def replaceable(self) -> bool:
        """Whether a warm successor waits for the current one to come to rest."""
        return self.successor is not None and self.successor.ready
