"""Carries what travels beside the runs: pictures, checkpoints, and that checkpoints are dropped.

As with runs, what may go many at a time is offered so first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pipelines.tracking.base import CHECKPOINT_TAG, Refused, Tracker, dropped_text
from pipelines.tracking.drops import Drops
from pipelines.tracking.entries import CheckpointDropped, CheckpointKept, Logged, PictureKept
from pipelines.tracking.journal import BesideEntry
from pipelines.tracking.ledger import Ledger
from pipelines.tracking.parcels import CheckpointParcel, FileParcel, RunParcel, portions, small_size

_CONNECTIONS = 4
_BATCH = 16
"""Pictures in a batch: what these connections upload in less time than entries gather."""
_BATCH_OF_MANY = 256
"""The same where they go many at a time."""
_MOST = 64
_MOST_BYTES = 4 << 20


class BesideCarrier:
    """Carries pictures and checkpoints of one journal to one tracker."""

    def __init__(self, journal: Path, tracker: Tracker, ledger: Ledger) -> None:
        """Takes the journal's path, the tracker, and what is known of the delivery."""
        self._journal = journal
        self._tracker = tracker
        self._ledger = ledger
        self._drops = Drops(journal)

    def batch(self, *, suspect: bool) -> int:
        """How much the next batch may hold, so that metrics do not wait long for it; a checkpoint counts as four."""
        return _BATCH_OF_MANY if not suspect and self._tracker.takes_many() else _BATCH

    def carry(self, entries: Sequence[BesideEntry], *, suspect: bool) -> None:
        """Delivers pictures side by side, and the checkpoints of a run in their order."""
        if not suspect and self._tracker.takes_many():
            entries = self._carry_many(entries)
        checkpoints: dict[str, list[BesideEntry]] = {}
        alone: list[list[BesideEntry]] = []
        for entry in entries:
            if isinstance(entry, PictureKept):
                alone.append([entry])
            else:
                checkpoints.setdefault(entry.uid, []).append(entry)
        for group in (alone, list(checkpoints.values())):
            if not group:  # pictures of a run may not be under way beside its checkpoint
                continue
            with ThreadPoolExecutor(_CONNECTIONS, "beside-connection") as pool:
                tasks = [pool.submit(self._carry_one_by_one, its, suspect) for its in group]
            for task in tasks:
                task.result()

    # many at a time

    def _carry_many(self, entries: Sequence[BesideEntry]) -> list[BesideEntry]:
        """Delivers what can be taken with others, and returns what is left, in its order."""
        done: set[int] = set()
        pictures: list[FileParcel] = []
        checkpoints: list[CheckpointParcel] = []
        for entry in entries:
            if isinstance(entry, CheckpointDropped):
                continue
            run_id, path = self._ledger.state.runs.get(entry.uid), self._journal.parent / entry.path
            size = small_size(path)
            if isinstance(entry, CheckpointKept) and self._is_needless(entry, path, suspect=False):
                done.add(id(entry))
            elif run_id is None or size is None:  # which is told when it is delivered by itself
                continue
            elif isinstance(entry, PictureKept):
                pictures.append(FileParcel(run_id, path, size, entry))
            else:
                checkpoints.append(CheckpointParcel(run_id, path, size, entry))
        done |= _offer(pictures, self._tracker.take_files) | _offer(checkpoints, self._tracker.take_checkpoints)
        done |= self._tell_many_drops([entry for entry in entries if isinstance(entry, CheckpointDropped)])
        return [entry for entry in entries if id(entry) not in done]

    def _tell_many_drops(self, entries: Sequence[CheckpointDropped]) -> set[int]:
        """Tells that checkpoints are dropped that never came, of runs that have dropped no others by now."""
        of_runs: dict[str, list[CheckpointDropped]] = {}
        for entry in entries:
            of_runs.setdefault(entry.uid, []).append(entry)
        parcels = [
            RunParcel(uid, run_id, logged=[_told(entry) for entry in its])
            for uid, its in of_runs.items()
            if (run_id := self._ledger.state.runs.get(uid)) is not None
            and all((uid, entry.sha256) in self._drops.never_came for entry in its)
        ]
        done: set[int] = set()
        for portion in portions(parcels, _MOST, _MOST, lambda _: 1):
            try:
                taken = self._tracker.take_runs(portion)
            except Refused:
                continue
            for parcel, run_id in zip(portion, taken, strict=True):
                if run_id is not None:
                    done |= {id(entry) for entry in of_runs[parcel.uid]}
        return done

    # one by one

    def _carry_one_by_one(self, entries: Iterable[BesideEntry], suspect: bool) -> None:
        for entry in entries:
            match entry:
                case PictureKept():
                    self._ledger.attempt(entry.uid, 1, self._carry_picture, entry)
                case CheckpointKept():
                    self._ledger.attempt(entry.uid, 1, self._carry_checkpoint, entry, suspect)
                case CheckpointDropped():
                    self._ledger.attempt(entry.uid, 1, self._drop_checkpoint, entry)

    def _carry_picture(self, entry: PictureKept) -> None:
        self._tracker.keep_picture(self._ledger.run_id(entry.uid), self._journal.parent / entry.path, entry)

    def _carry_checkpoint(self, entry: CheckpointKept, suspect: bool) -> None:
        path = self._journal.parent / entry.path
        if not self._is_needless(entry, path, suspect=suspect):
            self._tracker.keep_checkpoint(self._ledger.run_id(entry.uid), path, entry, suspect=suspect)

    def _drop_checkpoint(self, entry: CheckpointDropped) -> None:
        run_id = self._ledger.run_id(entry.uid)
        if (entry.uid, entry.sha256) not in self._drops.never_came:
            self._tracker.drop_checkpoint(run_id, entry)
        else:  # there is nothing to look for, which would cost as much as to have uploaded it
            self._tracker.log(run_id, [_told(entry)])

    def _is_needless(self, entry: CheckpointKept, path: Path, *, suspect: bool) -> bool:
        """Whether a checkpoint need not arrive any more.

        Either it has arrived, from the machine that made it: one that is suspect is looked for all the same, as the
        tracker may have lost it since. Or it is gone here, and that it is dropped is told next.
        """
        if entry.delivered and not suspect:
            return True
        if path.is_file() or not self._drops.is_dropped(entry):
            return False
        if not suspect:
            self._drops.never_came.add((entry.uid, entry.sha256))
        return True


_Parcel = TypeVar("_Parcel", FileParcel, CheckpointParcel)


def _offer(parcels: Sequence[_Parcel], take: Callable[[Sequence[_Parcel]], Sequence[bool]]) -> set[int]:
    """Offers parcels in portions, and returns of which entries they were that were taken."""
    done: set[int] = set()
    for portion in portions(parcels, _MOST, _MOST_BYTES, lambda parcel: parcel.size):
        try:
            taken = take(portion)
        except Refused:  # perhaps for the sake of one of them, which must not cost the others
            continue
        done |= {id(parcel.entry) for parcel, each in zip(portion, taken, strict=True) if each}
    return done


def _told(entry: CheckpointDropped) -> Logged:
    """What a run says of a checkpoint that never came."""
    return Logged(entry.uid, entry.time_ms, tags={CHECKPOINT_TAG: dropped_text(entry.reason)})
