"""One run, as those see it who write about it: everything goes to the journal, nothing waits for a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.tracking.entries import FileKept, Logged, PictureKept, RunBegun, RunEnded
from pipelines.tracking.journal import Journal


class Run:
    """A handle on one run in a journal."""

    def __init__(self, journal: Journal, uid: str) -> None:
        self.uid = uid
        self._journal = journal

    def begin(
        self,
        experiment: str,
        name: str,
        *,
        parent: str | None = None,
        tags: Mapping[str, str],
        params: Mapping[str, str],
    ) -> None:
        """Begins the run, or takes it up again."""
        self._journal.append(RunBegun(self.uid, experiment, name, _now_ms(), parent, tags, params))

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        time_ms: int | None = None,
    ) -> None:
        """Notes metrics at a step, tags, params."""
        self._journal.append(Logged(self.uid, time_ms or _now_ms(), step, metrics or {}, tags or {}, params or {}))

    def keep(self, path: Path, folder: str = "") -> None:
        """Notes a file, which must stay where it is until it is delivered."""
        self._journal.append(FileKept(self.uid, self._below_journal(path), folder))

    def keep_picture(self, path: Path, key: str, step: int) -> None:
        """Notes the picture of a step in the series `key`; its file must stay where it is until it is delivered."""
        self._journal.append(PictureKept(self.uid, _now_ms(), self._below_journal(path), key, step))

    def end(self, status: str) -> None:
        """Closes the run, and puts all of it on the disk."""
        self._journal.append(RunEnded(self.uid, _now_ms(), status))
        self._journal.sync()

    def _below_journal(self, path: Path) -> str:
        return str(path.resolve().relative_to(self._journal.path.parent.resolve()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
