"""Goes through all studies and trainings of a home, or of a folder that was brought from another machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ConfigError, HomeError
from pipelines.facts import StudyFacts
from pipelines.home import Home, StudyFolder
from pipelines.reconcile.case import Case, Findings
from pipelines.reconcile.mending import mend_here, mend_loss, mend_there
from pipelines.tracking import make_tracker
from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import Unavailable
from pipelines.tracking.journal import read_all
from pipelines.tracking.sender import Sender

if TYPE_CHECKING:
    from pipelines.study import Study

OpenStudy = Callable[[StudyFolder, StudyFacts], "Study | None"]
"""Opens a study as Optuna has it; None where there is none."""


@dataclass(frozen=True)
class Mended:
    """What was found in one study.

    Attributes:
        study: Its name; of a study that was set aside, with the folder's name.
        skipped: Why it was left alone, or None.
        said: What was off, and what was done about it, in sentences.
        unmended: How much of that is as it was.
        sent: Journal entries that reached the server now.
        missing: Entries that have not reached it.
        problem: Why they have not, or None.
    """

    study: str
    skipped: str | None = None
    said: tuple[str, ...] = ()
    unmended: int = 0
    sent: int = 0
    missing: int = 0
    problem: str | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.missing or self.skipped or self.unmended)


def reconcile(home: Home, server: str, open_study: OpenStudy, *, check: bool = False) -> Iterator[Mended]:
    """Compares everything there is of every study that no controller holds, mends it, and delivers every journal.

    Trainings outside studies have journals too, and are treated alike. With `check`, nothing is changed.
    """
    for name, folder, current in _folders(home):
        with ExitStack() as open_rooms:
            try:
                open_rooms.enter_context(StudyFolder(folder.root if current else folder.root.parent.parent).locked())
            except HomeError as error:
                yield Mended(name, skipped=str(error))
                continue
            try:
                facts = StudyFacts.read(folder) if folder.exists() else None
                if facts is not None:
                    facts.recipe()
                study = open_study(folder, facts) if facts is not None and current else None
            except (ConfigError, HomeError) as error:  # of this study alone: the others are looked after
                yield Mended(name, skipped=str(error))
                continue
            if study is not None:
                open_rooms.callback(study.close)
            yield _reconcile(name, Case(folder, Findings(check), facts, study), server)


def sync(home: Home, server: str) -> Iterator[Mended]:
    """Delivers every journal to `server`."""
    for name, folder, current in _folders(home):
        with ExitStack() as held:
            try:
                held.enter_context(StudyFolder(folder.root if current else folder.root.parent.parent).locked())
            except HomeError as error:
                yield Mended(name, skipped=str(error))
                continue
            yield _deliver(name, folder.journal, server)


def sync_folder(folder: Path, server: str) -> Iterator[Mended]:
    """Delivers every journal below a folder: a home, a study or a training, maybe copied from another machine.

    Nothing but the progress of the delivery is written there, and not even that where it may only be read.

    Raises:
        HomeError: There is no journal.
    """
    journals = sorted(path for path in folder.rglob("journal.jsonl") if path.is_file())
    if not journals:
        raise HomeError(
            f"There is no journal.jsonl in {folder} or below. Name a copy of a REGATTA_HOME, or of the folder of a "
            f"study or training in it."
        )
    for journal in journals:
        name = str(journal.parent.relative_to(folder)) if journal.parent != folder else folder.name
        writable = os.access(journal.parent, os.W_OK)
        with ExitStack() as held:
            if writable and (journal.parent / "lock").exists():
                try:
                    held.enter_context(StudyFolder(journal.parent).locked())
                except HomeError as error:
                    yield Mended(name, skipped=str(error))
                    continue
            yield _deliver(name, journal, server, keeps_progress=writable)


def _folders(home: Home) -> Iterator[tuple[str, StudyFolder, bool]]:
    """Every study with a journal, each followed by those of its name that were set aside, and every training."""
    named = [(name, home.study(name)) for name in home.studies()]
    named += [(f"training {name}", home.training(name)) for name in home.trainings()]
    for name, folder in named:
        yield name, folder, True
        for earlier in sorted((folder.root / "earlier").glob("*/journal.jsonl")):
            yield f"{name} ({earlier.parent.name})", StudyFolder(earlier.parent), False


def _reconcile(name: str, case: Case, server: str) -> Mended:
    findings, journal = case.findings, case.folder.journal
    try:
        mend_here(case)
    finally:
        case.close()
    tracker = make_tracker(server)
    sender = Sender(journal, tracker, server, keeps_progress=not findings.check)
    before, problem = sender.delivered, None
    try:
        lost = mend_loss(case, sender.courier)
        if not findings.check:
            if sender.refused:  # what was in the way may be out of it by now
                sender.courier.start_over(same_runs=True)
            _carry_all(sender)
        if not (lost and findings.check):
            mend_there(case, tracker, sender.courier, closely=True)
        if not findings.check:
            _carry_all(sender)
    except Unavailable as error:
        problem = str(error)
        findings.off(f"the MLflow server at {without_secrets(server)} cannot be compared with: {problem}")
    finally:
        case.close()
    missing = _written(journal) - sender.delivered
    if findings.check and missing:
        entries = "entry of the journal is" if missing == 1 else "entries of the journal are"
        findings.off(f"{missing} {entries} not on the server")
    problem = problem or next(iter(sender.refused), None)
    return Mended(name, None, tuple(findings.lines), findings.unmended, _sent(sender, before), missing, problem)


def _deliver(name: str, journal: Path, server: str, *, keeps_progress: bool = True) -> Mended:
    sender = Sender(journal, make_tracker(server), server, keeps_progress=keeps_progress)
    before, problem = sender.delivered, None
    try:
        _carry_all(sender)
    except Unavailable as error:
        problem = str(error)
    missing = _written(journal) - sender.delivered
    problem = problem or next(iter(sender.refused), None)
    return Mended(name, sent=_sent(sender, before), missing=missing, problem=problem)


def _carry_all(sender: Sender) -> None:
    while sender.deliver():
        pass


def _sent(sender: Sender, before: int) -> int:
    """Entries that reached the server now."""
    return max(0, sender.delivered - (0 if sender.courier.started_over else before))


def _written(journal: Path) -> int:
    return sum(1 for _ in read_all(journal))
