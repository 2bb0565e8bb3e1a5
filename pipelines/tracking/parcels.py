"""What is offered to a tracker many at a time, each with all that is needed to take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.tracking.entries import CheckpointKept, FileKept, Logged, PictureKept, RunBegun, RunEnded

SMALL_BYTES = 1 << 20
"""A larger file is better sent by itself: it would keep others waiting, and the server's memory full."""


@dataclass(frozen=True)
class RunParcel:
    """Some of a run, or all of it.

    Attributes:
        uid: Our name of the run.
        run_id: The tracker's id of it; None for a run that is to be made.
        experiment_id: Of a run that is to be made: where it belongs.
        parent_run_id: Of a run that is to be made: the tracker's id of its parent, or None.
        begun: Of a run that is to be made: its beginning.
        logged: What was logged of it, in order.
        ended: Its end, if it has come to that.
    """

    uid: str
    run_id: str | None = None
    experiment_id: str = ""
    parent_run_id: str | None = None
    begun: RunBegun | None = None
    logged: Sequence[Logged] = ()
    ended: RunEnded | None = None

    @property
    def tags(self) -> dict[str, str]:
        """All of them; a later one wins."""
        return self._merged(self.begun.tags if self.begun else {}, (entry.tags for entry in self.logged))

    @property
    def params(self) -> dict[str, str]:
        """All of them; a later one wins."""
        return self._merged(self.begun.params if self.begun else {}, (entry.params for entry in self.logged))

    @property
    def points(self) -> int:
        """How many points of metrics it holds."""
        return sum(len(entry.metrics) for entry in self.logged)

    @staticmethod
    def _merged(first: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> dict[str, str]:
        merged = dict(first)
        for each in others:
            merged |= each
        return merged


@dataclass(frozen=True)
class FileParcel:
    """A file or a picture of a run that the tracker has. `size` is its bytes."""

    run_id: str
    path: Path
    size: int
    entry: FileKept | PictureKept


@dataclass(frozen=True)
class CheckpointParcel:
    """A checkpoint of a run that the tracker has, to which it was certainly never given. `size` is its bytes."""

    run_id: str
    path: Path
    size: int
    entry: CheckpointKept


_Parcel = TypeVar("_Parcel")


def portions(
    parcels: Iterable[_Parcel], most: int, heaviest: int, weight: Callable[[_Parcel], int]
) -> Iterator[list[_Parcel]]:
    """Cuts parcels into portions of at most `most` that weigh at most `heaviest`, unless one alone weighs more."""
    portion: list[_Parcel] = []
    load = 0
    for parcel in parcels:
        its = weight(parcel)
        if portion and (len(portion) == most or load + its > heaviest):
            yield portion
            portion, load = [], 0
        portion.append(parcel)
        load += its
    if portion:
        yield portion


def small_size(path: Path) -> int | None:
    """Bytes of a file; None where it is gone, or too large to go with others."""
    try:
        size = path.stat().st_size
    except OSError:
        return None
    return size if size <= SMALL_BYTES else None
