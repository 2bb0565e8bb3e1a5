"""Mends what a crash left behind, and delivers what a server missed. Both can be done again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import HomeError
from pipelines.history import read_runs
from pipelines.home import Home, StudyFolder
from pipelines.tracking import make_tracker
from pipelines.tracking.base import Unavailable
from pipelines.tracking.journal import Journal, read_all
from pipelines.tracking.run import Run
from pipelines.tracking.sender import Sender


@dataclass(frozen=True)
class Mended:
    """What was found in one study.

    Attributes:
        study: Its name; of a study that was set aside, with the folder's name.
        skipped: Why it was left alone, or None.
        closed: Runs that nobody was writing to any more, and that are closed now.
        sent: Journal entries that reached the server now.
        missing: Entries that have not reached it.
        problem: Why they have not, or None.
    """

    study: str
    skipped: str | None = None
    closed: int = 0
    sent: int = 0
    missing: int = 0
    problem: str | None = None


def reconcile(home: Home, server: str) -> Iterator[Mended]:
    """Closes orphan runs of every study that no controller holds, and delivers every journal to `server`.

    Trainings outside studies have journals too, and are treated alike.
    """
    yield from _each_study(home, server, close_orphans=True)


def sync(home: Home, server: str) -> Iterator[Mended]:
    """Delivers every journal to `server`."""
    yield from _each_study(home, server, close_orphans=False)


def _each_study(home: Home, server: str, *, close_orphans: bool) -> Iterator[Mended]:
    named = [(name, home.study(name)) for name in home.studies()]
    named += [(f"training {name}", home.training(name)) for name in home.trainings()]
    for name, folder in named:
        with ExitStack() as held:
            try:
                held.enter_context(folder.locked())
            except HomeError as error:
                yield Mended(name, skipped=str(error))
                continue
            closed = _close_orphans(folder) if close_orphans else 0
            yield _deliver(name, folder.journal, server, closed)
            for earlier in sorted((folder.root / "earlier").glob("*/journal.jsonl")):
                closed = _close_orphans(StudyFolder(earlier.parent)) if close_orphans else 0
                yield _deliver(f"{name} ({earlier.parent.name})", earlier, server, closed)


def _close_orphans(folder: StudyFolder) -> int:
    """Closes runs that are open although nobody writes to them; the next start of the study opens them again."""
    open_runs = [run for run in read_runs(read_all(folder.journal)).values() if run.status == "RUNNING"]
    if not open_runs:
        return 0
    journal = Journal(folder.journal)
    for orphan in open_runs:
        run = Run(journal, orphan.uid)
        run.log(tags={"regatta.reason": "its controller was gone; the study goes on with the same command"})
        run.end("KILLED")
    journal.close()
    return len(open_runs)


def _deliver(name: str, journal: Path, server: str, closed: int) -> Mended:
    sender = Sender(journal, make_tracker(server), server)
    before, problem = sender.delivered, None
    try:
        while sender.deliver():
            pass
    except Unavailable as error:
        problem = str(error)
    written = sum(1 for _ in read_all(journal))
    problem = problem or next(iter(sender.refused), None)
    return Mended(name, None, closed, sender.delivered - before, written - sender.delivered, problem)
