"""Delivers a journal to a tracker, piece by piece, in the thread that asks for it; the sender is who keeps asking.

How nothing is lost and nothing doubled: the courier takes a slice of the journal, notes that it is being attempted,
delivers it run by run, and only then notes it as delivered. After a failure or a crash the whole slice is delivered
again, which a tracker takes as if it were once (`tracking/base.py`); only the making of a run must look first whether
it was made. While deliveries fail, slices are smaller: a slow server may not come to the end of a large one.

A tracker may take many runs in one go. A slice of which that is tried is attempted like any other: where the answer is
lost, it is delivered again one by one, and every run and every model is looked for.

Pictures and checkpoints travel beside that, with an offset of their own: a batch of them goes whenever a slice has
gone, and while entries gather for the next one, so that however many there are, metrics wait for a batch at most.

In a quick sweep most checkpoints are dropped for better ones soon after, so they may be held back for a while. One that
is dropped meanwhile is never sent.

A server may lose what it had: emptied, or brought back from a backup. What was noted as delivered then is delivered
again from the beginning; the courier looks for that when it begins, and when something is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pipelines.tracking.base import Refused, Tracker, Unavailable
from pipelines.tracking.carrying_beside import BesideCarrier
from pipelines.tracking.carrying_runs import RunCarrier
from pipelines.tracking.delivery import Delivery
from pipelines.tracking.entries import Entry, RunBegun
from pipelines.tracking.journal import BesideEntry, read_all, read_beside, read_lines
from pipelines.tracking.ledger import Ledger

_SLICE = 2000
_SMALLEST_SLICE = 50
_SETTLE_S = 2.0
"""What a server is given to end what it was asked when it stopped answering, once it answers again. Its database stood
still, perhaps: a run that is looked for at that very moment is not there yet, and would be made twice."""
_MOST_NEW_STARTS = 3
"""A server that loses everything more often than this, while one process lives, is not worth a fourth try."""


class Courier:
    """Carries one journal to one tracker."""

    def __init__(
        self,
        journal: Path,
        tracker: Tracker,
        state: Delivery,
        file: Path | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes the journal's path, the tracker, the progress so far, and where to keep it (None: nowhere)."""
        self.started_over = False
        """Whether the tracker had lost what it had."""
        self._journal = journal
        self._tracker = tracker
        self._ledger = Ledger(state, file)
        self._runs = RunCarrier(journal, tracker, self._ledger)
        self._beside = BesideCarrier(journal, tracker, self._ledger)
        self._slice = _SLICE
        self._sleep = sleep
        self._begun = False
        self._late = False
        self._new_starts = 0

    @property
    def state(self) -> Delivery:
        """How far the delivery has come."""
        return self._ledger.state

    @property
    def changed(self) -> threading.Condition:
        """Held while the state changes, and notified after."""
        return self._ledger.changed

    def deliver(self, hold_s: float = 0.0) -> bool:
        """Delivers one slice, or a batch of pictures and checkpoints; False when there was neither.

        Args:
            hold_s: How old a checkpoint must be to be delivered; one that is not waits with all that comes beside it.

        Raises:
            Unavailable: The tracker cannot be reached; what was tried stays undelivered.
        """
        if not self._begun:
            self.start_over_if_lost()
            self._begun = True
        if self._late:
            self.has_lost_runs()  # it answers, or this raises
            self._sleep(_SETTLE_S)
            self._late = False
        try:
            done = self._deliver_slice()
        except Unavailable as problem:
            self._late = problem.late
            self._slice = max(self._slice // 2, _SMALLEST_SLICE)
            raise
        self._slice = min(self._slice * 2, _SLICE)
        return done or self.deliver_beside(hold_s)

    def deliver_beside(self, hold_s: float = 0.0) -> bool:
        """Delivers a batch of pictures and checkpoints whose runs are begun by now; False when there was none."""
        state, ledger = self.state, self._ledger
        now = time.time()
        held = (int((now - hold_s) * 1000), int(now * 1000)) if hold_s else None
        if state.pictures_offset >= state.offset:
            return False
        suspect = state.pictures_attempted > state.pictures_offset
        limit = self._beside.batch(suspect=suspect)
        batch, offset = read_beside(self._journal, state.pictures_offset, state.offset, limit, held)
        if batch:
            state.pictures_attempted = max(state.pictures_attempted, offset)
            ledger.save()
            ledger.refused_now = {}
            self._beside.carry(batch, suspect=suspect)
            if ledger.refused_now and self.start_over_if_lost():
                return True
        with self.changed:
            state.pictures_offset = offset
            if batch:
                ledger.note_processed(len(batch))
        return bool(batch)

    def deliver_again(self, uids: Collection[str]) -> list[str]:
        """Delivers once more what these runs have had delivered, and returns what of it was not refused before."""
        end, self._ledger.refused_now = self.state.offset, {}
        for some in _portions(entry for entry in read_all(self._journal, end) if entry.uid in uids):
            self._runs.carry(some, suspect=True)
            self._beside.carry([entry for entry in some if isinstance(entry, BesideEntry)], suspect=True)
        return [text for text in self._ledger.refused_now if text not in self.state.refused]

    def start_over(self, *, same_runs: bool) -> None:
        """Has the whole journal delivered again."""
        with self.changed:
            self._ledger.state = self.state.anew(self._journal, same_runs=same_runs)
            self.started_over = self.started_over or not same_runs
            self._ledger.save()

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
        state, ledger = self.state, self._ledger
        entries, offset = read_lines(self._journal, state.offset, self._slice)
        if not entries:
            return False
        suspect = state.attempted > state.offset
        if not suspect:
            self._knock(entries)
        state.attempted = max(state.attempted, offset)
        ledger.save()
        ledger.refused_now = {}
        carried = self._runs.carry(entries, suspect=suspect)
        if ledger.refused_now and self.start_over_if_lost():
            return True
        with self.changed:
            state.offset = offset
            ledger.note_processed(carried)
        return True

    def _knock(self, entries: Iterable[Entry]) -> None:
        """Makes sure that somebody is there before runs are made: where nobody was, none need be looked for later.

        A sweep that starts its server comes here some seconds before it answers. Whether it takes many at a time is
        asked here, too.
        """
        for name in dict.fromkeys(entry.experiment for entry in entries if isinstance(entry, RunBegun)):
            with suppress(Refused):  # which is told when the run is begun
                self._tracker.experiment(name)
        self._tracker.takes_many()


def _portions(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    portion: list[Entry] = []
    for entry in entries:
        portion.append(entry)
        if len(portion) == _SLICE:
            yield portion
            portion = []
    if portion:
        yield portion
