"""Delivers a journal to a tracker, piece by piece, in the thread that asks for it; the sender is who keeps asking.

How nothing is lost and nothing doubled: the courier takes a slice of the journal, notes that it is being attempted,
delivers it run by run, and only then notes it as delivered. After a failure or a crash the whole slice is delivered
again, which a tracker takes as if it were once (`tracking/base.py`); only the making of a run must look first whether
it was made. While deliveries fail, slices are smaller: a slow server may not come to the end of a large one.

Pictures and checkpoints travel beside that, with an offset of their own: a batch of them goes whenever a slice has
gone, and while entries gather for the next one, so that however many there are, metrics wait for a batch at most.

A server may lose what it had: emptied, or brought back from a backup. What was noted as delivered then is delivered
again from the beginning; the courier looks for that when it begins, and when something is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.tracking.base import Refused, Tracker, Unavailable
from pipelines.tracking.delivery import Delivery
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
)
from pipelines.tracking.journal import BesideEntry, read_all, read_beside, read_lines

_SLICE = 2000
_SMALLEST_SLICE = 50
_CONNECTIONS = 4
_BESIDE = 16
"""Pictures in a batch: what these connections upload in less time than entries gather."""
_MOST_NEW_STARTS = 3
"""A server that loses everything more often than this, while one process lives, is not worth a fourth try."""


class Courier:
    """Carries one journal to one tracker."""

    def __init__(self, journal: Path, tracker: Tracker, state: Delivery, file: Path | None) -> None:
        """Takes the journal's path, the tracker, the progress so far, and where to keep it (None: nowhere)."""
        self.state = state
        self.changed = threading.Condition()
        """Held while the state changes, and notified after."""
        self.started_over = False
        """Whether the tracker had lost what it had."""
        self._journal = journal
        self._tracker = tracker
        self._file = file
        self._slice = _SLICE
        self._begun = False
        self._new_starts = 0
        self._refused_now: dict[str, int] = {}
        self._dropped: set[tuple[str, str]] = set()
        self._dropped_offset = 0

    def deliver(self) -> bool:
        """Delivers one slice, or a batch of pictures and checkpoints; False when there was neither.

        Raises:
            Unavailable: The tracker cannot be reached; what was tried stays undelivered.
        """
        if not self._begun:
            self.start_over_if_lost()
            self._begun = True
        try:
            done = self._deliver_slice()
        except Unavailable:
            self._slice = max(self._slice // 2, _SMALLEST_SLICE)
            raise
        self._slice = min(self._slice * 2, _SLICE)
        return done or self.deliver_beside()

    def deliver_beside(self) -> bool:
        """Delivers a batch of pictures and checkpoints whose runs are begun by now; False when there was none."""
        state = self.state
        batch, offset = read_beside(self._journal, state.pictures_offset, state.offset, _BESIDE)
        if batch:
            suspect = state.pictures_attempted > state.pictures_offset
            state.pictures_attempted = max(state.pictures_attempted, offset)
            self._save()
            self._refused_now = {}
            self._carry_beside(batch, suspect=suspect)
            if self._refused_now and self.start_over_if_lost():
                return True
        with self.changed:
            state.pictures_offset = offset
            if batch:
                self._note_processed(len(batch))
        return bool(batch)

    def deliver_again(self, uids: Collection[str]) -> list[str]:
        """Delivers once more what these runs have had delivered, and returns what of it was not refused before."""
        end, self._refused_now = self.state.offset, {}
        for some in _portions(entry for entry in read_all(self._journal, end) if entry.uid in uids):
            self._carry(some, suspect=True)
            self._carry_beside([entry for entry in some if isinstance(entry, BesideEntry)], suspect=True)
        return [text for text in self._refused_now if text not in self.state.refused]

    def start_over(self, *, same_runs: bool) -> None:
        """Has the whole journal delivered again."""
        with self.changed:
            self.state = self.state.anew(self._journal, same_runs=same_runs)
            self.started_over = self.started_over or not same_runs
            self._save()

    def has_lost_runs(self) -> bool:
        """Whether the tracker has lost runs that it had: it is asked for the first and for the last.

        Raises:
            Unavailable: The tracker cannot be reached.
        """
        runs = self.state.runs
        uids = list(runs)
        return any(not self._tracker.has_run(runs[uid], uid) for uid in dict.fromkeys(uids[:1] + uids[-1:]))

    def start_over_if_lost(self) -> bool:
        """Has everything delivered again where the tracker has lost runs that it had, and says whether it has."""
        if self._new_starts >= _MOST_NEW_STARTS or not self.has_lost_runs():
            return False
        self._new_starts += 1
        self.start_over(same_runs=False)
        return True

    def _deliver_slice(self) -> bool:
        state = self.state
        entries, offset = read_lines(self._journal, state.offset, self._slice)
        if not entries:
            return False
        suspect = state.attempted > state.offset
        state.attempted = max(state.attempted, offset)
        self._save()
        self._refused_now = {}
        carried = self._carry(entries, suspect=suspect)
        if self._refused_now and self.start_over_if_lost():
            return True
        with self.changed:
            state.offset = offset
            self._note_processed(carried)
        return True

    def _note_processed(self, entries: int) -> None:
        """Notes, with the lock held, that so many entries more are delivered or refused."""
        state = self.state
        for text, count in self._refused_now.items():  # only now: a slice that is tried again is refused again
            state.refused[text] = state.refused.get(text, 0) + count
        state.processed += entries
        self._save()
        self.changed.notify_all()

    def _carry(self, entries: Iterable[Entry], *, suspect: bool) -> int:
        """Delivers all but what goes beside, and returns how many that were: parents first, as children name them."""
        runs: dict[str, list[Entry]] = {}
        for entry in entries:
            if not isinstance(entry, BesideEntry):
                runs.setdefault(entry.uid, []).append(entry)
        children = {
            uid
            for uid, its in runs.items()
            if any(isinstance(entry, RunBegun) and entry.parent in runs for entry in its)
        }
        with ThreadPoolExecutor(_CONNECTIONS, "journal-connection") as pool:
            for group in (set(runs) - children, children):
                tasks = [pool.submit(self._carry_run, uid, runs[uid], suspect) for uid in runs if uid in group]
                for problem in [task.exception() for task in tasks]:
                    if problem is not None:
                        raise problem
        return sum(map(len, runs.values()))

    def _carry_run(self, uid: str, entries: Sequence[Entry], suspect: bool) -> None:
        gathered: list[Logged] = []
        for entry in [*entries, None]:
            if isinstance(entry, Logged):
                gathered.append(entry)
                continue
            try:
                if gathered:
                    self._tracker.log(self._known(uid), gathered)
            except Refused as problem:
                self._refuse(f"{uid}: {problem}", len(gathered))
            gathered = []
            try:
                match entry:
                    case RunBegun():
                        self._begin(entry, suspect)
                    case FileKept():
                        self._tracker.keep(self._known(uid), self._journal.parent / entry.path, entry.folder)
                    case RunEnded():
                        self._tracker.end(self._known(uid), entry.status, entry.time_ms)
            except Refused as problem:
                self._refuse(f"{uid}: {problem}", 1)

    def _carry_beside(self, entries: Sequence[BesideEntry], *, suspect: bool) -> None:
        """Delivers pictures side by side, and the checkpoints of a run in their order."""
        checkpoints: dict[str, list[BesideEntry]] = {}
        alone: list[list[BesideEntry]] = []
        for entry in entries:
            if isinstance(entry, PictureKept):
                alone.append([entry])
            else:
                checkpoints.setdefault(entry.uid, []).append(entry)
        for group in (
            alone,
            list(checkpoints.values()),
        ):  # pictures of a run may not be under way beside its checkpoint
            with ThreadPoolExecutor(_CONNECTIONS, "beside-connection") as pool:
                tasks = [pool.submit(self._carry_one_by_one, its, suspect) for its in group]
            for task in tasks:
                task.result()

    def _carry_one_by_one(self, entries: Iterable[BesideEntry], suspect: bool) -> None:
        for entry in entries:
            try:
                match entry:
                    case PictureKept():
                        self._tracker.keep_picture(self._known(entry.uid), self._journal.parent / entry.path, entry)
                    case CheckpointKept():
                        self._carry_checkpoint(entry, suspect)
                    case CheckpointDropped():
                        self._tracker.drop_checkpoint(self._known(entry.uid), entry)
            except Refused as problem:
                self._refuse(f"{entry.uid}: {problem}", 1)

    def _carry_checkpoint(self, entry: CheckpointKept, suspect: bool) -> None:
        path = self._journal.parent / entry.path
        if not path.is_file() and self._is_dropped(entry):
            return  # it need not arrive any more, and that it is dropped is told next
        self._tracker.keep_checkpoint(self._known(entry.uid), path, entry, suspect=suspect)

    def _is_dropped(self, entry: CheckpointKept) -> bool:
        """Whether the journal says by now that a checkpoint is dropped."""
        with self.changed:
            while True:
                found, offset = read_beside(self._journal, self._dropped_offset, self._size(), 1000)
                self._dropped |= {(each.uid, each.sha256) for each in found if isinstance(each, CheckpointDropped)}
                if offset == self._dropped_offset:
                    return (entry.uid, entry.sha256) in self._dropped
                self._dropped_offset = offset

    def _size(self) -> int:
        """Bytes of the journal up to its last whole line."""
        content_end = self._journal.stat().st_size
        with self._journal.open("rb") as handle:
            handle.seek(max(0, content_end - (1 << 20)))
            tail = handle.read(content_end - handle.tell())
        return content_end - (len(tail) - (tail.rfind(b"\n") + 1))

    def _begin(self, entry: RunBegun, suspect: bool) -> None:
        state = self.state
        experiment_id = self._tracker.experiment(entry.experiment)
        parent = self._known(entry.parent) if entry.parent else None
        again = suspect or entry.uid in state.runs
        run_id = self._tracker.begin(entry, experiment_id, parent, suspect=again)
        with self.changed:
            state.experiments[entry.experiment] = experiment_id
            state.runs[entry.uid] = run_id
            self._save()

    def _known(self, uid: str) -> str:
        run_id = self.state.runs.get(uid)
        if run_id is None:
            raise Refused("its run was never begun there")
        return run_id

    def _refuse(self, text: str, entries: int) -> None:
        with self.changed:
            self._refused_now[text] = self._refused_now.get(text, 0) + entries

    def _save(self) -> None:
        if self._file is not None:
            self.state.write(self._file)


def _portions(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    portion: list[Entry] = []
    for entry in entries:
        portion.append(entry)
        if len(portion) == _SLICE:
            yield portion
            portion = []
    if portion:
        yield portion
