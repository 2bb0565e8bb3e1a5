"""What can go wrong, as types. Every message says what was wrong, what it got, and what would be right.

RegattaError
├── ConfigError        the recipe or the call is wrong; holds every mistake that was found
├── DataError          a data set cannot be had, or is not what it was
├── HomeError          the folder with Regatta's own state cannot be used (locked, full, not writable)
├── StudyError         the database of the studies cannot be reached or used
├── TrackingError      the tracking server said no, or could not be reached
├── ServiceError       a service that is needed could not be started or reached
├── ExecutorError      workers cannot be had, or die before they have done anything
├── NothingToPromote   no trial completed, so there is no candidate
└── PromotionRefused   there is a candidate, and the policy keeps the champion

Which of them ends the program with which exit code is the command line's business (`cli.py`), not theirs. What a
trial's own code raises is none of these: it fails that trial alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class RegattaError(Exception):
    """A problem that a person can do something about; its text is all they need to see."""


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a recipe or a call.

    Attributes:
        path: Where, as a dotted path in the file or the name of a flag; empty for the file as a whole.
        message: What was wrong, what it got, what would be right.
        line: Line in the file, from 1, where known.
    """

    path: str
    message: str
    line: int | None = None


class ConfigError(RegattaError):
    """The recipe or the call is wrong. All mistakes are reported at once, in the order of the file."""

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        """Collects `mistakes` found in `source`, which is a file's name or another word for the origin."""
        self.source = source
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line or 0))
        count = len(self.mistakes)
        lines = [f"{source}: {count} mistake{'' if count == 1 else 's'}, nothing was started"]
        for mistake in self.mistakes:
            where = f"line {mistake.line}, " if mistake.line else ""
            place = f"{mistake.path}: " if mistake.path else ""
            lines.append(f"  {where}{place}{mistake.message}")
        super().__init__("\n".join(lines))


class DataError(RegattaError):
    """A data set cannot be had, or is not what it was."""


class HomeError(RegattaError):
    """The folder with Regatta's own state cannot be used."""


class StudyError(RegattaError):
    """The database that the studies are kept in cannot be reached, or not be used."""


class TrackingError(RegattaError):
    """The tracking server said no, or could not be reached."""


class ServiceError(RegattaError):
    """A service that is needed on this machine could not be started, or not be reached."""


class ExecutorError(RegattaError):
    """Workers cannot be had, or die before they have done anything."""


class NothingToPromote(RegattaError):
    """No trial completed, so there is no candidate for the champion's place."""


class PromotionRefused(RegattaError):
    """There is a candidate, and the policy keeps the champion."""
