"""Which checkpoints of a sweep stay: the best trials', as many of them as may be, in as many bytes as they may fill.

Pure: it is told of ended trials, those of earlier controllers too, and answers what is to be dropped now and why.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Container
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TypeGuard

from pipelines.records import TrialState

_Rank = tuple[int, float, int]
_rank_of = itemgetter(0)
_CLASSES = {TrialState.COMPLETE: 2, TrialState.PRUNED: 3}
_LEAST_GOOD = 4


@dataclass(frozen=True)
class Kept:
    """The checkpoint of an ended trial.

    Attributes:
        number: The trial's.
        state: How it ended.
        value: Its objective at the epoch of the checkpoint; None where it has none.
        bytes: Size of the file.
        path: Of the file.
        sha256: Of the file.
        feasible: Whether the trial keeps all constraints.
    """

    number: int
    state: TrialState
    value: float | None
    bytes: int
    path: Path
    sha256: str
    feasible: bool = True


@dataclass(frozen=True)
class Drop:
    """A checkpoint that is to be dropped, and the reason for people to read."""

    kept: Kept
    reason: str


class Retention:
    """The checkpoints that stay, from the best to the least good.

    A complete trial that keeps the constraints is better than one that breaks them, that one better than a pruned one,
    and that one better than a failed one; among those alike, the value decides, and of equal ones the earlier trial is
    better. The best trial of all, if it is complete and keeps the constraints, stays whatever it takes.
    """

    def __init__(self, keep: int, most_bytes: int, direction: str, protected: Container[str] = frozenset()) -> None:
        """Begins with no checkpoint.

        Args:
            keep: Trials, the best ones, whose checkpoints stay.
            most_bytes: What they may fill.
            direction: `minimize` or `maximize`.
            protected: Digests of checkpoints that are never dropped, as something else reaches them. It is asked anew
                each time, so it may grow while the sweep runs.
        """
        self._keep = keep
        self._most_bytes = most_bytes
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._protected = protected
        self._ranked: list[tuple[_Rank, Kept]] = []  # best first
        self._ranks: dict[int, _Rank] = {}  # by trial
        self.bytes = 0

    @property
    def kept(self) -> tuple[Kept, ...]:
        """The checkpoints that stay, best first."""
        return tuple(checkpoint for _, checkpoint in self._ranked)

    def add(self, checkpoint: Kept) -> list[Drop]:
        """Takes the checkpoint of a trial that has ended, and says what is to be dropped now: perhaps this very one.

        A trial that is told again has another checkpoint now: the one before is dropped, unless it is the same file.
        """
        drops: list[Drop] = []
        before = self._ranks.get(checkpoint.number)
        if before is not None:
            older = self._remove(bisect_left(self._ranked, before, key=_rank_of))
            if older.path != checkpoint.path and older.sha256 not in self._protected:
                drops.append(Drop(older, f"trial {checkpoint.number} has a newer one"))
        rank = self._rank(checkpoint)
        insort(self._ranked, (rank, checkpoint), key=_rank_of)
        self._ranks[checkpoint.number] = rank
        self.bytes += checkpoint.bytes
        return drops + self._beyond_count() + self._beyond_bytes()

    def _beyond_count(self) -> list[Drop]:
        drops: list[Drop] = []
        place = len(self._ranked)
        while place > self._keep:  # what is beyond, and still here from before, is protected: these are few
            place -= 1
            if self._may_go(place):
                drops.append(Drop(self._remove(place), f"not among the {self._keep} best"))
        return drops

    def _beyond_bytes(self) -> list[Drop]:
        drops: list[Drop] = []
        place = len(self._ranked)
        while self.bytes > self._most_bytes and place > 0:
            place -= 1
            if self._may_go(place):
                drops.append(Drop(self._remove(place), f"the {_said(self._most_bytes)} for checkpoints are used"))
        return drops

    def _may_go(self, place: int) -> bool:
        checkpoint = self._ranked[place][1]
        is_the_best = place == 0 and _class_of(checkpoint) == 0
        return not is_the_best and checkpoint.sha256 not in self._protected

    def _remove(self, place: int) -> Kept:
        _, checkpoint = self._ranked.pop(place)
        del self._ranks[checkpoint.number]
        self.bytes -= checkpoint.bytes
        return checkpoint

    def _rank(self, checkpoint: Kept) -> _Rank:
        value = math.inf if not _is_finite(checkpoint.value) else self._sign * checkpoint.value
        return _class_of(checkpoint), value, checkpoint.number


def _class_of(checkpoint: Kept) -> int:
    """How good a trial's end is, whatever its value; 0 is best."""
    if checkpoint.state is TrialState.COMPLETE and _is_finite(checkpoint.value):
        return 0 if checkpoint.feasible else 1
    return _CLASSES.get(checkpoint.state, _LEAST_GOOD)


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _said(count: int) -> str:
    """Bytes for people."""
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"
