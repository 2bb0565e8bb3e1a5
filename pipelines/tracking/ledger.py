"""What all who carry parts of one journal to one tracker must know of each other: runs, progress, refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.tracking.base import Refused
from pipelines.tracking.delivery import Delivery
from pipelines.tracking.entries import RunBegun


class Ledger:
    """The progress of a delivery, as several threads read and write it.

    Attributes:
        state: How far it has come.
        changed: Held while the state changes, and notified after.
        refused_now: What was refused of the piece that is under way, with the number of entries.
    """

    def __init__(self, state: Delivery, file: Path | None) -> None:
        """Takes the progress so far, and where to keep it (None: nowhere)."""
        self.state = state
        self.changed = threading.Condition()
        self.refused_now: dict[str, int] = {}
        self._file = file

    def run_id(self, uid: str) -> str:
        """The tracker's id of a run.

        Raises:
            Refused: It was never begun there.
        """
        run_id = self.state.runs.get(uid)
        if run_id is None:
            raise Refused("its run was never begun there")
        return run_id

    def note_run(self, entry: RunBegun, experiment_id: str, run_id: str) -> None:
        """Notes that a run is begun there."""
        with self.changed:
            self.state.experiments[entry.experiment] = experiment_id
            self.state.runs[entry.uid] = run_id

    def order_runs(self, before: Sequence[str], begun: Sequence[str]) -> None:
        """Puts runs into the order in which they were begun, in whatever order they were made."""
        with self.changed:
            made = self.state.runs
            known = set(before)
            self.state.runs = {
                **{uid: made[uid] for uid in before},
                **{uid: made[uid] for uid in begun if uid in made and uid not in known},
            }

    def attempt(self, uid: str, entries: int, do: Callable[..., object], *given: object) -> bool:
        """Does it, or notes that so many entries are refused, and says so."""
        try:
            do(*given)
        except Refused as problem:
            text = f"{uid}: {problem}"
            with self.changed:
                self.refused_now[text] = self.refused_now.get(text, 0) + entries
            return False
        return True

    def note_processed(self, entries: int) -> None:
        """Notes, with the lock held, that so many entries more are delivered or refused."""
        state = self.state
        for text, count in self.refused_now.items():  # only now: a slice that is tried again is refused again
            state.refused[text] = state.refused.get(text, 0) + count
        state.processed += entries
        self.save()
        self.changed.notify_all()

    def save(self) -> None:
        """Keeps the progress."""
        if self._file is not None:
            self.state.write(self._file)
