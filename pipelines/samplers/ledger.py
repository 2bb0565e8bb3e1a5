"""Which combinations are tried, and how many are left on every way to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pipelines.samplers.combinations import Combinations, Params, Way


class Fate(Enum):
    """What became of a trial."""

    TRIED = "tried"
    """It is at its end: complete, pruned, or given up in this start of the study."""
    FAILED = "failed"
    """It failed in an earlier start, so its combination is to be tried once more."""
    UNDER_WAY = "under way"
    """It is somebody's, and may still have parameters to draw."""


@dataclass(frozen=True)
class Entry:
    """A trial, as far as the ledger goes."""

    number: int
    fate: Fate
    params: Params


class Ledger:
    """The combinations, less those that trials have taken.

    Trials that are at their end are entered once, so that the next of thousands costs no more than the first.
    """

    def __init__(self, combinations: Combinations) -> None:
        """Begins with nothing tried."""
        self._combinations = combinations
        self._entered: set[int] = set()
        self._tried = _Tally()
        self._touched = _Tally()  # the same, with those that failed
        self._under_way: list[Way] = []

    def __contains__(self, number: int) -> bool:
        """Whether a trial is entered for good."""
        return number in self._entered

    def bring_up(self, trials: Iterable[Entry]) -> None:
        """Brings the ledger up to where a study is.

        Args:
            trials: All that are not entered for good, but for one that is about to draw.
        """
        self._under_way = []
        for trial in trials:
            way = self._combinations.way(trial.params)
            if trial.fate is not Fate.UNDER_WAY:
                self._entered.add(trial.number)
                if way is not None and self._combinations.is_one(way):
                    self._touched.add(way)
                    if trial.fate is Fate.TRIED:
                        self._tried.add(way)
            elif way is not None:
                self._under_way.append(way)

    def left(self) -> int:
        """How many combinations nobody has tried or is about to; one that failed in an earlier start is left.

        A trial that has not drawn all of its parameters yet has taken one, although nobody knows which.
        """
        whole = {way for way in self._under_way if self._combinations.is_one(way)}
        undecided = len([way for way in self._under_way if way not in whole])
        return max(0, self._combinations.count() - len(self._tried.whole | whole) - undecided)

    def left_by_value(self, name: str, chosen: Params, *, failed: bool, fixed: Params | None = None) -> list[int]:
        """How many are left for each value of a thing, after what a trial has drawn so far.

        Args:
            name: The thing.
            chosen: What the trial has drawn.
            failed: Whether those that failed are among them.
            fixed: What the trial will draw, whatever comes of this; it may come after the thing.
        """
        if fixed:
            return self._left_with(name, {**fixed, **chosen}, failed=failed)
        tally = self._tried if failed else self._touched
        begun = self._combinations.way(chosen) or ()
        depth = len(begun) + 1
        running = Counter(way[:depth] for way in set(self._under_way) - tally.whole if self._combinations.is_one(way))
        ways = [(*begun, (name, value)) for value in self._combinations.values(name)]
        counts = self._combinations.count_by_value(name, chosen)
        return [max(0, many - tally.begun[way] - running[way]) for many, way in zip(counts, ways, strict=True)]

    def _left_with(self, name: str, known: Params, *, failed: bool) -> list[int]:
        """The same where more is known than the beginning of a way; it looks at all ways that are taken."""
        tally = self._tried if failed else self._touched
        taken = tally.whole | {way for way in self._under_way if self._combinations.is_one(way)}
        narrowed = self._combinations.fixed(known)
        left = []
        for value in self._combinations.values(name):
            wanted = {**known, name: value}
            # what a way does not have lies in a branch that it did not take
            gone = sum(1 for way in taken if all(wanted.get(key, other) == other for key, other in way))
            left.append(max(0, narrowed.fixed({name: value}).count() - gone))
        return left


class _Tally:
    """Combinations, each once, counted on every way to them."""

    def __init__(self) -> None:
        self.whole: set[Way] = set()
        self.begun: Counter[Way] = Counter()

    def add(self, way: Way) -> None:
        if way not in self.whole:
            self.whole.add(way)
            self.begun.update(way[:depth] for depth in range(1, len(way) + 1))
