"""What the controller knows of a study's trials, so that a question about them costs the same at 10 and at 10 000.

The controller is the only writer of the storage; it reads all trials once, when the study is opened, and then keeps
this book up to date with everything that it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.front import Front, Point
from pipelines.records import TrialState
from pipelines.samplers import Combinations
from pipelines.samplers.ledger import Entry, Fate, Ledger


@dataclass(frozen=True)
class Counts:
    """How many trials there are of each kind; those of an older study are none of them."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0


@dataclass(frozen=True)
class StudyRecord:
    """A trial of the study's own, as far as the study knows it. One that waits to be asked for is none yet.

    Attributes:
        params: What it has drawn so far, by parameter name.
    """

    number: int
    state: TrialState
    attempt: int
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Known:
    """A trial in the book.

    Attributes:
        trial_id: The storage's own number for it.
        state: None while it waits to be asked for.
        told: What it was told to draw.
        borrowed: Whether it is an older study's.
        restored: Whether it was taken from the journal.
        again: Whether its combination is to be tried once more by a sampler that tries all.
        drawn: Tells what a trial that is running has drawn by now.
    """

    number: int
    trial_id: int
    state: TrialState | None
    attempt: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    reported: set[int] = field(default_factory=set)
    told: Mapping[str, Any] | None = None
    borrowed: bool = False
    restored: bool = False
    again: bool = False
    drawn: Callable[[], Mapping[str, Any]] | None = None

    def params_now(self) -> Mapping[str, Any]:
        """What it has drawn by now."""
        return self.params if self.drawn is None else self.drawn()


class Book:
    """The trials of one study, by number."""

    def __init__(self, combinations: Combinations | None) -> None:
        """Begins empty; `combinations` are those of a sampler that tries them all."""
        self._trials: dict[int, Known] = {}
        self._states: Counter[TrialState] = Counter()
        self._running: dict[int, Known] = {}
        self._waiting: dict[int, Known] = {}
        self._front: Front[int] = Front()
        self._ledger = None if combinations is None else Ledger(combinations)
        self._ended: list[Known] = []  # since the ledger was brought up to date

    def __len__(self) -> int:
        """How many trials there are; the number of the next one."""
        return len(self._trials)

    def __getitem__(self, number: int) -> Known:
        """The trial of that number."""
        return self._trials[number]

    def __contains__(self, number: int) -> bool:
        """Whether there is a trial of that number."""
        return number in self._trials

    def own(self) -> Iterator[Known]:
        """The study's own trials, in order."""
        return (known for known in self._trials.values() if not known.borrowed)

    def waiting(self) -> list[Known]:
        """Trials that wait to be asked for, in order."""
        return list(self._waiting.values())

    def running(self) -> list[Known]:
        """Trials that were handed out and are not over, in order."""
        return [self._running[number] for number in sorted(self._running)]

    def enter(self, known: Known, point: Point | None = None) -> None:
        """Takes a trial, in whatever state it is.

        Args:
            known: The trial.
            point: Where it stands among the others, if it is complete and keeps all constraints; less is better.
        """
        self._trials[known.number] = known
        if known.state is None:
            self._waiting[known.number] = known
        elif known.state is TrialState.RUNNING:
            self._running[known.number] = known
        elif not known.borrowed:
            self._conclude(known, point)

    def begin(self, number: int) -> Known:
        """A trial that waited is handed out."""
        known = self._waiting.pop(number)
        known.state = TrialState.RUNNING
        self._running[number] = known
        return known

    def end(self, number: int, state: TrialState, point: Point | None, *, again: bool) -> None:
        """A trial is over; see `enter` and `Known`."""
        known = self._running.pop(number)
        known.params, known.drawn = known.params_now(), None
        known.state, known.again = state, again
        self._conclude(known, point)

    def counts(self) -> Counts:
        """How many trials there are of each kind."""
        states = self._states
        return Counts(
            states[TrialState.COMPLETE], states[TrialState.PRUNED], states[TrialState.FAILED], len(self._running)
        )

    def records(self) -> list[StudyRecord]:
        """Every trial of the study's own that was ever handed out."""
        return [
            StudyRecord(known.number, known.state, known.attempt, known.params_now())
            for known in self.own()
            if known.state is not None
        ]

    def front(self) -> tuple[int, ...]:
        """Numbers of the trials that no other one beats."""
        return tuple(sorted(self._front.points()))

    def left(self) -> int | None:
        """How many combinations no trial has tried or is about to; None where there are no combinations."""
        if self._ledger is None:
            return None
        ended = [Entry(known.number, Fate.FAILED if known.again else Fate.TRIED, known.params) for known in self._ended]
        self._ended.clear()
        under_way = [Entry(known.number, Fate.UNDER_WAY, known.params_now()) for known in self._running.values()]
        self._ledger.bring_up([*ended, *under_way])
        return self._ledger.left()

    def _conclude(self, known: Known, point: Point | None) -> None:
        assert known.state is not None
        self._states[known.state] += 1
        if point is not None:
            self._front.add(known.number, point)
        if self._ledger is not None:
            self._ended.append(known)
