"""How long sweeps and trials took, by their entries: also where the controller was killed before it could say."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.tracking.entries import CheckpointKept, Entry, FileKept, Logged, PictureKept, RunBegun


def wall_seconds(entries: Iterable[Entry], parent_uid: str) -> float:
    """Seconds that the starts of a sweep took, from the beginning of its parent run to the last entry of each.

    Where the clock was set back meanwhile, what came after counts from when the clock has caught up.
    """
    total_ms = 0
    start: list[int] = []  # its first time and its latest
    for entry in entries:
        if isinstance(entry, FileKept | CheckpointKept):
            continue
        if isinstance(entry, RunBegun) and entry.uid == parent_uid:
            total_ms += start[-1] - start[0] if start else 0
            start = [entry.time_ms]
        elif start:
            start[1:] = [max(start[-1], entry.time_ms)]
    return (total_ms + (start[-1] - start[0] if start else 0)) / 1000


class Untold:
    """Adds up the time of attempts of one run that ended without a word about their time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._before = 0.0
        self._begun_ms: int | None = None

    def begin(self, time_ms: int) -> None:
        """An attempt begins; those before it that said nothing are over."""
        self._before, self._begun_ms = self.seconds, time_ms

    def hear(self, entry: Entry) -> None:
        """Something happened in the attempt; a run that is closed, maybe much later, tells nothing of its length."""
        if isinstance(entry, Logged) and concludes(entry):
            self.seconds, self._begun_ms = 0.0, None  # it counts the attempts before, too
        elif self._begun_ms is not None and isinstance(entry, Logged | PictureKept):
            self.seconds = max(self.seconds, self._before + (entry.time_ms - self._begun_ms) / 1000)


def concludes(entry: Logged) -> bool:
    """Whether an entry tells what is known of a trial when it is over: it has `seconds`, and an epoch has a loss."""
    return "seconds" in entry.metrics and "loss" not in entry.metrics
