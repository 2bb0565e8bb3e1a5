"""The entries of one run, cut into stretches that may go out in another order than they were written in.

A trial is often over before its beginning is sent. Then its run can be made with all its tags, which costs nothing, and
all that was logged of it, its params included, goes in one request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pipelines.tracking.entries import Entry, FileKept, Logged, RunBegun, RunEnded

_LONGEST_EARLY_TAG = 2000


@dataclass
class Stretch:
    """Entries of a run that may go out in another order than they were written in."""

    begun: RunBegun | None = None
    logged: list[Logged] = field(default_factory=list)
    files: list[FileKept] = field(default_factory=list)
    ended: RunEnded | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to deliver."""
        return not (self.has_more_than_files or self.files)

    @property
    def has_more_than_files(self) -> bool:
        """Whether it holds anything but files."""
        return bool(self.begun or self.logged or self.ended)


def stretches(entries: Iterable[Entry]) -> list[Stretch]:
    """The entries of one run, cut where it begins and where it ends."""
    found = [Stretch()]
    for entry in entries:
        if isinstance(entry, RunBegun) or found[-1].ended is not None:
            found.append(Stretch())
        match entry:
            case RunBegun():
                found[-1].begun = entry
            case Logged():
                found[-1].logged.append(entry)
            case FileKept():
                found[-1].files.append(entry)
            case RunEnded():
                found[-1].ended = entry
    return found


def early_tags(logged: Sequence[Logged]) -> tuple[dict[str, str], list[Logged]]:
    """Tags that a run may as well be made with, and what is left to be logged then.

    One that is very long is left: MLflow cuts it where it is logged, and not where a run is made.
    """
    tags: dict[str, str] = {}
    left: list[Logged] = []
    for entry in logged:
        long = {key: value for key, value in entry.tags.items() if len(value) > _LONGEST_EARLY_TAG}
        tags = {key: value for key, value in {**tags, **entry.tags}.items() if key not in long}
        if entry.metrics or entry.params or long:
            left.append(replace(entry, tags=long) if entry.tags else entry)
    return tags, left
