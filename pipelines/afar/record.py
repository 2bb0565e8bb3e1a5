"""What is known of the runs of a sweep, for those who bring something to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """What is known of the runs of a sweep: by its journal, and by whoever delivers that."""

    def uid(self, number: int) -> str:
        """What the run of a trial is called."""

    def run_id(self, uid: str) -> str | None:
        """The tracking server's id of a run; None as long as it has not made it."""

    def time_ms(self, uid: str, step: int) -> int | None:
        """When the journal has it that a step of a run ended."""

    def last_ms(self) -> int:
        """The time of the journal's newest entry."""


class NoRecord:
    """Of trainings that have no runs."""

    def uid(self, number: int) -> str:
        """None."""
        return ""

    def run_id(self, uid: str) -> str | None:
        """None."""
        return None

    def time_ms(self, uid: str, step: int) -> int | None:
        """None."""
        return None

    def last_ms(self) -> int:
        """None."""
        return 0


@dataclass(frozen=True)
class SweepRecord:
    """The record of a sweep, as its controller has it open.

    Attributes:
        parent: What the parent run is called; runs of trials are called after it.
        runs: Tells the server's id of a run.
        times: Tells when a step of a run ended, as the journal has it.
        newest: Tells the time of the journal's newest entry.
    """

    parent: str
    runs: Callable[[str], str | None]
    times: Callable[[str, int], int | None]
    newest: Callable[[], int]

    def uid(self, number: int) -> str:
        """See `Record`."""
        return f"{self.parent}-{number:05d}"

    def run_id(self, uid: str) -> str | None:
        """See `Record`."""
        return self.runs(uid)

    def time_ms(self, uid: str, step: int) -> int | None:
        """See `Record`."""
        return self.times(uid, step)

    def last_ms(self) -> int:
        """See `Record`."""
        return self.newest()
