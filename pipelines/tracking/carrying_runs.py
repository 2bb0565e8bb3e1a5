"""Carries runs: their making, what was logged of them, their files, their end.

What may go many at a time is offered so first, and what is not taken that way goes one by one. It may not where an
earlier delivery may have come some way unseen: then every run must be looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pipelines.tracking.base import Refused, Tracker
from pipelines.tracking.entries import Entry, FileKept, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import BesideEntry
from pipelines.tracking.ledger import Ledger
from pipelines.tracking.parcels import FileParcel, RunParcel, portions, small_size
from pipelines.tracking.stretches import Stretch, early_tags, stretches

_CONNECTIONS = 4
_MOST_RUNS = 64
_MOST_POINTS = 5000
"""Of metrics, in a request: some 300 KB of JSON."""
_MOST_FILES = 128
_MOST_FILE_BYTES = 4 << 20


class RunCarrier:
    """Carries runs of one journal to one tracker."""

    def __init__(self, journal: Path, tracker: Tracker, ledger: Ledger) -> None:
        """Takes the journal's path, the tracker, and what is known of the delivery."""
        self._journal = journal
        self._tracker = tracker
        self._ledger = ledger

    def carry(self, entries: Iterable[Entry], *, suspect: bool) -> int:
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
        before = list(self._ledger.state.runs)
        for group in (set(runs) - children, children):
            left = {uid: stretches(runs[uid]) for uid in runs if uid in group}
            if left and not suspect and self._tracker.takes_many():
                self._carry_many(left)
                self._carry_many_files(left)
            self._carry_each({uid: its for uid, its in left.items() if not all(each.is_empty for each in its)}, suspect)
        self._ledger.order_runs(before, list(runs))
        return sum(map(len, runs.values()))

    # many at a time

    def _carry_many(self, runs: Mapping[str, Sequence[Stretch]]) -> None:
        """Delivers runs that can be taken with others, and leaves their files alone in their stretches."""
        found = [parcel for uid, its in runs.items() if (parcel := self._parcel(uid, its)) is not None]
        for portion in portions(found, _MOST_RUNS, _MOST_POINTS, lambda parcel: parcel.points):
            try:
                run_ids = self._tracker.take_runs(portion)
            except Refused:  # perhaps for the sake of one of them, which must not cost the others
                continue
            for parcel, run_id in zip(portion, run_ids, strict=True):
                if run_id is None:
                    continue
                if parcel.begun is not None:
                    self._ledger.note_run(parcel.begun, parcel.experiment_id, run_id)
                for stretch in runs[parcel.uid]:
                    stretch.begun, stretch.logged, stretch.ended = None, [], None

    def _parcel(self, uid: str, its: Sequence[Stretch]) -> RunParcel | None:
        """A run's part of a slice, where it is plain: a run that is known, or one that is begun there and once."""
        told = [stretch for stretch in its if stretch.has_more_than_files]
        if not told or any(stretch.begun for stretch in told[1:]):
            return None
        begun, known = told[0].begun, self._ledger.state.runs
        logged = [entry for stretch in told for entry in stretch.logged]
        ended = next((stretch.ended for stretch in reversed(told) if stretch.ended), None)
        if begun is None:
            run_id = known.get(uid)
            return RunParcel(uid, run_id, logged=logged, ended=ended) if run_id else None
        parent = known.get(begun.parent) if begun.parent else None
        if uid in known or (begun.parent and parent is None):
            return None
        try:
            experiment_id = self._tracker.experiment(begun.experiment)
        except Refused:  # which is told when it is begun
            return None
        return RunParcel(uid, None, experiment_id, parent, begun, logged, ended)

    def _carry_many_files(self, runs: Mapping[str, Sequence[Stretch]]) -> None:
        """Delivers small files of runs of which nothing else is left, and takes them from their stretches."""
        found: list[tuple[FileParcel, Stretch]] = []
        for uid, its in runs.items():
            run_id = self._ledger.state.runs.get(uid)
            if run_id is None or any(stretch.has_more_than_files for stretch in its):
                continue
            for stretch in its:
                for file in stretch.files:
                    path = self._journal.parent / file.path
                    size = small_size(path)
                    if size is not None:
                        found.append((FileParcel(run_id, path, size, file), stretch))
        for portion in portions(found, _MOST_FILES, _MOST_FILE_BYTES, lambda each: each[0].size):
            try:
                taken = self._tracker.take_files([parcel for parcel, _ in portion])
            except Refused:
                continue
            for (parcel, stretch), done in zip(portion, taken, strict=True):
                if done:
                    stretch.files = [file for file in stretch.files if file is not parcel.entry]

    # one by one

    def _carry_each(self, runs: Mapping[str, Sequence[Stretch]], suspect: bool) -> None:
        if not runs:
            return
        with ThreadPoolExecutor(_CONNECTIONS, "journal-connection") as pool:
            tasks = [pool.submit(self._carry_run, uid, its, suspect) for uid, its in runs.items()]
            for problem in [task.exception() for task in tasks]:
                if problem is not None:
                    raise problem

    def _carry_run(self, uid: str, its: Sequence[Stretch], suspect: bool) -> None:
        for stretch in its:
            self._carry_stretch(uid, stretch, suspect)

    def _carry_stretch(self, uid: str, stretch: Stretch, suspect: bool) -> None:
        """Delivers a part of a run: its making, all that was logged, its files, its end."""
        begun, logged = stretch.begun, stretch.logged
        params: list[Logged] = []
        if begun is not None:
            if logged:
                params = [Logged(uid, begun.time_ms, params=begun.params)] if begun.params else []
                early, logged = early_tags(logged)
                begun = replace(begun, tags={**begun.tags, **early}, params={})
            if not self._ledger.attempt(uid, 1, self._begin, begun, suspect):
                params = []
        self._log(uid, params, logged, len(stretch.logged))
        for file in stretch.files:
            self._ledger.attempt(uid, 1, self._keep, file)
        if stretch.ended is not None:
            self._ledger.attempt(uid, 1, self._end, stretch.ended)

    def _log(self, uid: str, params: Sequence[Logged], logged: Sequence[Logged], entries: int) -> None:
        """Delivers what was logged, which so many entries tell, and the params that the run has begun with."""
        run_id, log = self._ledger.run_id, self._tracker.log
        if params:
            try:
                log(run_id(uid), [*params, *logged])
                return
            except Refused:  # perhaps of the params alone, which must not cost the metrics
                self._ledger.attempt(uid, 1, log, run_id(uid), params)
        if logged:
            self._ledger.attempt(uid, entries, lambda: log(run_id(uid), logged))

    def _begin(self, entry: RunBegun, suspect: bool) -> None:
        experiment_id = self._tracker.experiment(entry.experiment)
        parent = self._ledger.run_id(entry.parent) if entry.parent else None
        again = suspect or entry.uid in self._ledger.state.runs
        run_id = self._tracker.begin(entry, experiment_id, parent, suspect=again)
        self._ledger.note_run(entry, experiment_id, run_id)

    def _keep(self, entry: FileKept) -> None:
        self._tracker.keep(self._ledger.run_id(entry.uid), self._journal.parent / entry.path, entry.folder)

    def _end(self, entry: RunEnded) -> None:
        self._tracker.end(self._ledger.run_id(entry.uid), entry.status, entry.time_ms)
