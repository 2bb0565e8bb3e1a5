"""What every tracker promises: it takes journal entries, and taking one twice is the same as taking it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from pipelines.tracking.entries import Logged, PictureKept, RunBegun


class Unavailable(Exception):
    """The tracker could not be reached, or was not itself; the same delivery may succeed later."""


class Refused(Exception):
    """The tracker will never take this; delivering it again would change nothing."""


class Tracker(ABC):
    """Called by the sender, from several threads at once, but for one run from one thread at a time.

    The exception is `keep_picture`, of which several may be under way for one run, though never beside other calls.
    Every method raises `Unavailable` or `Refused`, and nothing else.
    """

    @abstractmethod
    def experiment(self, name: str) -> str:
        """The id of the experiment called `name`, made if it is not there."""

    @abstractmethod
    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        """Makes a run, or takes up the one that has this uid, and returns the tracker's id of it.

        Args:
            entry: The run.
            experiment_id: Where it belongs.
            parent_run_id: The tracker's id of its parent, or None.
            suspect: Whether an earlier delivery of this entry may have succeeded unseen, so that it must be looked for.
        """

    @abstractmethod
    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        """Takes metrics, tags and params. A point is its key, step and time: a second copy of it is no new one."""

    @abstractmethod
    def keep(self, run_id: str, path: Path, folder: str) -> None:
        """Takes a file; one of the same name in the same folder is replaced."""

    @abstractmethod
    def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
        """Takes the picture of a step; the same entry again replaces what it gave before."""

    @abstractmethod
    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Closes the run with FINISHED, FAILED or KILLED."""
