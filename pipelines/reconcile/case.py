"""One study, or one training, under whoever mends it: what there is of it, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pipelines.facts import StudyFacts
from pipelines.history import RunHistory, read_runs
from pipelines.home import StudyFolder
from pipelines.records import TrialState
from pipelines.tracking.base import Refused
from pipelines.tracking.journal import Journal, read_all

if TYPE_CHECKING:
    from pipelines.study import Study

_NAMED = 8
"""Trials that a sentence names; more are counted."""


@dataclass
class Findings:
    """What was off, in sentences, and whether it is mended.

    Attributes:
        check: Whether nothing is to be changed.
        lines: A sentence for each.
        unmended: How many of them are still as they were.
    """

    check: bool = False
    lines: list[str] = field(default_factory=list)
    unmended: int = 0

    def off(self, what: str, mend: Callable[[], object] | None = None, done: str = "") -> None:
        """Something is off: says so, and mends it unless this is a check; without `mend`, nobody can but a person."""
        if self.check or mend is None:
            self.lines.append(f"{what}.")
            self.unmended += 1
            return
        try:
            mend()
        except Refused as problem:
            self.lines.append(f"{what}; that could not be mended: {problem}.")
            self.unmended += 1
        else:
            self.lines.append(f"{what}: {done}.")


class Case:
    """One folder with a journal, whose lock is held.

    Args:
        folder: Its files.
        findings: Takes what is found.
        facts: The study's, or None for a training outside studies.
        study: The study in Optuna, or None where nobody will go on with it.
    """

    def __init__(
        self, folder: StudyFolder, findings: Findings, facts: StudyFacts | None = None, study: Study | None = None
    ) -> None:
        self.folder = folder
        self.findings = findings
        self.facts = facts
        self.study = study
        self._journal: Journal | None = None

    @cached_property
    def runs(self) -> dict[str, RunHistory]:
        """Every run as the journal tells it; as it was told before anything was mended, until `look_again`."""
        return read_runs(read_all(self.folder.journal))

    @property
    def journal(self) -> Journal:
        """The journal, opened to write to it."""
        if self._journal is None:
            self._journal = Journal(self.folder.journal)
        return self._journal

    def look_again(self) -> None:
        """Forgets what was read of the journal, after something was written to it."""
        self.__dict__.pop("runs", None)

    def close(self) -> None:
        """Closes the journal where it was opened."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def final_state(run: RunHistory) -> TrialState | None:
    """What came of a trial that came to its end; None of one that did not, whatever its run's status is."""
    state = TrialState(run.tags.get("regatta.state", "RUNNING"))
    return None if state is TrialState.RUNNING else state


def named(runs: Iterable[RunHistory]) -> str:
    """Runs as people speak of them: `trials 3 and 7`, `the sweep's own run and trial 0`."""
    listed = list(runs)
    numbers = sorted(run.number for run in listed if run.number is not None and run.parent is not None)
    words = []
    kinds = [run.tags.get("regatta.kind") for run in listed]
    promotions = kinds.count("promotion")
    if "training" in kinds:
        words.append("the training")
    elif len(numbers) + promotions < len(listed):
        words.append("the sweep's own run")
    if promotions:
        words.append("the run of a promotion" if promotions == 1 else f"the runs of {promotions} promotions")
    if numbers:
        shown = [str(number) for number in numbers[:_NAMED]]
        more = [f"{len(numbers) - _NAMED} more"] if len(numbers) > _NAMED else []
        words.append(f"trial{'s' if len(numbers) > 1 else ''} {listing([*shown, *more])}")
    return listing(words)


def listing(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
