"""What to do about a trial that met with trouble: try it again, by itself if need be, or let it fail. Pure."""

from __future__ import annotations

import re
from enum import Enum

from pipelines.records import Failure, TrialResult, TrialState

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(\.\d+)?([eE][+-]?\d+)?")

_EXCUSED_IN_A_ROW = 10
"""Machines that a trial may lose without having got on by an epoch; then it may be what brings them down."""


class Remedy(Enum):
    """What a trial is in for."""

    AGAIN = "again"  # it goes on from its last epoch, as soon as a worker is free
    ALONE = "alone"  # the same, but with no other trial beside it
    FAIL = "fail"


class Setbacks:
    """The troubles of one trial, over all its attempts under one controller."""

    def __init__(self, retries: int) -> None:
        """Takes how often a trial that does not get on is tried again."""
        self._retries = retries
        self._epochs = 0
        self._stuck = 0
        self._hung = 0
        self._out_of_memory = 0
        self._excused = 0
        self._epochs_excused = 0

    def excuses(self, epochs: int) -> bool:
        """Whether a loss that is no fault of the trial costs it nothing; one that follows it about is its fault."""
        self._excused = 0 if epochs > self._epochs_excused else self._excused + 1
        self._epochs_excused = epochs
        return self._excused <= _EXCUSED_IN_A_ROW

    def after(self, failure: Failure, *, epochs: int, neighbours: bool) -> Remedy:
        """What to do now.

        A trial whose worker was lost goes on where it was. As long as each attempt gets it on by an epoch, that may
        happen any number of times; only one that stays where it is uses up its retries. A hung trial is tried once
        more. Where such a trial shared its worker, one of the others may be to blame: before it fails it is tried once
        more, alone. One that ran out of memory is tried once more where others took a part of it, and alone then.

        Args:
            failure: `LOST`, `HUNG` or `MEMORY`.
            epochs: How many epochs the trial has by now, over all attempts.
            neighbours: Whether other trials may have a part in it: those of the same worker and, of memory, all.
        """
        last = Remedy.ALONE if neighbours else Remedy.FAIL
        match failure:
            case Failure.LOST:
                self._stuck = 0 if epochs > self._epochs else self._stuck + 1
                self._epochs = epochs
                return Remedy.AGAIN if self._stuck <= self._retries else last
            case Failure.HUNG:
                self._hung += 1
                return Remedy.AGAIN if self._hung == 1 else last
            case Failure.MEMORY:
                self._out_of_memory += 1
                return Remedy.ALONE if neighbours and self._out_of_memory == 1 else Remedy.FAIL
        return Remedy.FAIL


class Streak:
    """Counts trials that fail in the same way, one after another."""

    def __init__(self) -> None:
        self.length = 0
        self._last: str | None = None

    def note(self, result: TrialResult) -> None:
        """Takes one more trial that is over.

        Reasons are the same when they differ in numbers alone: a shape, an address, an exit code. One that lost its
        workers until it was given up counts like one that raised. A trial that comes to a good end breaks the streak;
        memory that was short, or a hung trial, says nothing about it.
        """
        if result.state is not TrialState.FAILED:
            self.length, self._last = 0, None
        elif result.failure in {Failure.ERROR, Failure.INVALID, Failure.LOST}:
            told = _NUMBER.sub("#", result.reason or "")
            self.length = self.length + 1 if told == self._last else 1
            self._last = told
