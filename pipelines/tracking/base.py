"""What every tracker promises: it takes journal entries, and taking one twice is the same as taking it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from pipelines.tracking.entries import CheckpointDropped, CheckpointKept, Logged, PictureKept, RunBegun
from pipelines.tracking.holdings import DamagedVersion, HeldCheckpoint, HeldRun
from pipelines.tracking.parcels import CheckpointParcel, FileParcel, RunParcel

UID_TAG = "regatta.uid"
CHECKPOINT_TAG = "regatta.checkpoint"
"""On a run, what became of its checkpoint where it is not kept any more."""


def dropped_text(reason: str) -> str:
    """What that tag says of a checkpoint that is gone."""
    return f"dropped: {reason}"


class Unavailable(Exception):
    """The tracker could not be reached, or was not itself; the same delivery may succeed later.

    Attributes:
        wait_s: For how long it asked to be left alone; 0 where it did not.
        late: Whether nobody waited any longer for its answer: it may be at it still.
        there: Whether the tracker itself said so: it runs, and something that it needs does not.
    """

    def __init__(self, text: str, wait_s: float = 0.0, *, late: bool = False, there: bool = False) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        self.late = late
        self.there = there


class Refused(Exception):
    """The tracker will never take this; delivering it again would change nothing."""


class Tracker(ABC):
    """Called by the sender, from several threads at once, but for one run from one thread at a time.

    The exception is `keep_picture`, of which several may be under way for one run, though never beside other calls.
    Every method raises `Unavailable` or `Refused`, and nothing else. `reconcile` asks what the tracker holds.
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

    # checkpoints

    @abstractmethod
    def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
        """Takes a checkpoint as a model of its own, with its epoch's metrics, and is sure that its file has arrived.

        Args:
            run_id: The run that it belongs to.
            path: The file. Where it was delivered before, it need not be there any more.
            entry: What is said of it.
            suspect: Whether an earlier delivery may have come some way unseen, so that it must be gone on with.
        """

    @abstractmethod
    def drop_checkpoint(self, run_id: str, entry: CheckpointDropped) -> None:
        """Removes a checkpoint and its file, unless a registered version reaches it; the run's tag says what was done.

        One that never came is none to remove, and the tag says the same.
        """

    # many at a time

    def takes_many(self) -> bool:
        """Whether there is a point in offering many things at a time; asked before any of the next three."""
        return False

    def take_runs(self, parcels: Sequence[RunParcel]) -> list[str | None]:
        """Takes many runs or parts of runs, of no run twice, and returns its ids of them, in their order.

        None stands for one that was not taken, which is delivered by itself then. With `Refused`, none of them was
        taken; with `Unavailable`, all of them may have been.
        """
        return [None] * len(parcels)

    def take_files(self, parcels: Sequence[FileParcel]) -> list[bool]:
        """Takes many files and pictures, and says which it has taken; the others are delivered by themselves."""
        return [False] * len(parcels)

    def take_checkpoints(self, parcels: Sequence[CheckpointParcel]) -> list[bool]:
        """Takes many checkpoints, as `keep_checkpoint` does, and says which; the others are delivered by themselves."""
        return [False] * len(parcels)

    # what reconcile asks

    @abstractmethod
    def has_run(self, run_id: str, uid: str) -> bool:
        """Whether it still has this run; False where it has lost its data since it took it."""

    @abstractmethod
    def held_runs(self, experiment: str, tag: str, value: str) -> list[HeldRun]:
        """All runs of an experiment with that tag; none where there is no such experiment."""

    @abstractmethod
    def history(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """All points of a metric, (step, value) in no order, by run."""

    @abstractmethod
    def discard(self, run_id: str, reason: str) -> None:
        """Puts a run aside that is there twice."""

    @abstractmethod
    def held_checkpoints(self, experiment: str) -> list[HeldCheckpoint]:
        """All checkpoints of an experiment."""

    @abstractmethod
    def fetch_checkpoint(self, model_id: str, folder: Path) -> Path:
        """Brings the file of a checkpoint into a folder."""

    @abstractmethod
    def fail_checkpoint(self, model_id: str, reason: str) -> None:
        """Marks a checkpoint that will never be whole, with the reason as a tag."""

    @abstractmethod
    def damaged_versions(self, name: str, expected: str | None = None) -> list[DamagedVersion]:
        """Versions that are registered under a name and whose files are not all there.

        Args:
            name: Of the model.
            expected: A version that was registered; where no version of that name is left at all, it is told, too.
        """
