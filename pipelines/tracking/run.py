"""One run, as those see it who write about it: everything goes to the journal, nothing waits for a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
    of_the_machine,
)
from pipelines.tracking.journal import Journal


class Run:
    """A handle on one run in a journal."""

    def __init__(self, journal: Journal, uid: str) -> None:
        self.uid = uid
        self._journal = journal
        self._times: dict[int, int] = {}

    def begin(
        self,
        experiment: str,
        name: str,
        *,
        parent: str | None = None,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        dataset: Mapping[str, str] | None = None,
    ) -> None:
        """Begins the run, or takes it up again."""
        time_ms = self._journal.now_ms()
        self._journal.append(RunBegun(self.uid, experiment, name, time_ms, parent, tags, params, dataset or {}))

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        time_ms: int | None = None,
    ) -> None:
        """Notes metrics at a step, tags, params. No time is before that of the journal's newest entry."""
        time_ms = self._journal.now_ms() if time_ms is None else time_ms
        entry = self._journal.append(Logged(self.uid, time_ms, step, metrics or {}, tags or {}, params or {}))
        if metrics and not of_the_machine(metrics):
            assert isinstance(entry, Logged)
            self._times.setdefault(step, entry.time_ms)

    def keep(self, path: Path, folder: str = "") -> None:
        """Notes a file, which must stay where it is until it is delivered."""
        self._journal.append(FileKept(self.uid, self._below_journal(path), folder))

    def keep_picture(self, path: Path, key: str, step: int) -> None:
        """Notes the picture of a step in the series `key`; its file must stay where it is until it is delivered."""
        self._journal.append(PictureKept(self.uid, self._journal.now_ms(), self._below_journal(path), key, step))

    def keep_checkpoint(
        self,
        path: Path,
        *,
        name: str,
        step: int,
        sha256: str,
        metrics: Mapping[str, float],
        time_ms: int,
        delivered: bool = False,
    ) -> None:
        """Notes the checkpoint of an epoch, which must stay where it is until it is delivered or dropped.

        Args:
            path: The file.
            name: What people call it.
            step: The epoch.
            sha256: Of the file.
            metrics: Of the epoch, as they were logged.
            time_ms: When the epoch ended. What the journal says of it counts more: with the same time, these metrics
                are the very points that the run has.
            delivered: Whether the tracker has it already, from the machine that made it, and this disk has not.
        """
        noted, below = self._times.get(step) or self._journal.time_of(self.uid, step), self._below_journal(path)
        self._journal.append(
            CheckpointKept(self.uid, noted or time_ms, below, name, step, sha256, dict(metrics), delivered)
        )

    def drop_checkpoint(self, sha256: str, reason: str) -> None:
        """Notes that a checkpoint is dropped. Its file is removed after this, and not before: it would be missed."""
        self._journal.append(CheckpointDropped(self.uid, self._journal.now_ms(), sha256, reason))

    def end(self, status: str, *, time_ms: int | None = None) -> None:
        """Closes the run, and has all of it put on the disk."""
        time_ms = self._journal.now_ms() if time_ms is None else time_ms
        self._journal.append(RunEnded(self.uid, time_ms, status))
        self._journal.sync_soon()

    def _below_journal(self, path: Path) -> str:
        return str(path.resolve().relative_to(self._journal.path.parent.resolve()))
