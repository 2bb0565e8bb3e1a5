"""Which trial is with which worker, and which worker has room for more. It only keeps books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipelines.controller.failures import Setbacks
from pipelines.executors.base import Loss, LossKind
from pipelines.records import Event, Failure
from pipelines.study import AskedTrial
from pipelines.trial import TrialLife

_ASLEEP_S = 10.0
"""A controller that comes by more seldom than this was itself stopped in between, by Ctrl-Z perhaps."""


@dataclass
class UnderWay:
    """A trial under way: its life, what Optuna knows of it, and what befell it.

    Attributes:
        life: Its life over all attempts.
        asked: What was sampled.
        setbacks: Its troubles.
        worker: Which it is with, for this attempt.
        turn: How many tasks that worker was ever given, this one included.
        begun: When this attempt was handed out.
        sign: When it gave the last sign of life.
        hung: Whether its worker was ended because it gave none.
        told: Whether it was told to pause.
        alone: Whether it is to have no other trial beside it.
        trouble: What became of the attempt before.
    """

    life: TrialLife
    asked: AskedTrial
    setbacks: Setbacks
    worker: int = -1
    turn: int = 0
    begun: float = 0.0
    sign: float = 0.0
    hung: bool = False
    told: bool = False
    alone: bool = False
    trouble: str = ""

    @property
    def number(self) -> int:
        """The trial's number in the study."""
        return self.life.spec.number

    def failure_of(self, loss: Loss) -> Failure:
        """What the loss of its worker was to it; of those that a hung trial had beside it, none is to blame."""
        if loss.kind is LossKind.MEMORY:
            return Failure.MEMORY
        return Failure.HUNG if loss.kind is LossKind.ENDED and self.hung else Failure.LOST


class Crew:
    """The workers, with their trials and their room."""

    def __init__(self) -> None:
        """There is nobody yet."""
        self._trials: dict[int, UnderWay] = {}
        self._room: dict[int, int] = {}  # who has been waiting longest comes first
        self._given: Counter[int] = Counter()
        self.crowded = False
        """Whether two trials have ever been with one worker at the same time."""

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[UnderWay]:
        return iter(list(self._trials.values()))

    @property
    def unheard(self) -> int:
        """How many trials have ended no epoch yet."""
        return sum(not trial.life.epochs for trial in self._trials.values())

    def has_room(self, worker: int, places: int) -> None:
        """The worker can take so many more trials."""
        self._room[worker] = self._room.get(worker, 0) + places

    def next_worker(self) -> int | None:
        """Who gets the next trial: of those with room the one with the fewest trials; None where nobody has room."""
        with_each = Counter(trial.worker for trial in self._trials.values())
        return min(self._room, key=lambda worker: with_each[worker], default=None)

    def give(self, worker: int, trial: UnderWay, now: float) -> None:
        """The trial is with that worker from now on, and takes one of its places."""
        self._room[worker] -= 1
        if not self._room[worker]:
            del self._room[worker]
        self._given[worker] += 1
        trial.worker, trial.turn = worker, self._given[worker]
        trial.begun = trial.sign = now
        trial.hung = trial.told = False
        self._trials[trial.number] = trial
        self.crowded = self.crowded or len(self.with_worker(worker)) > 1

    def found(self, worker: int, event: Event) -> UnderWay | None:
        """The trial that a worker's event is about; None where it is about an attempt that was given up."""
        trial = self._trials.get(event.trial)
        known = trial is not None and trial.worker == worker and trial.life.spec.attempt == event.attempt
        return trial if known else None

    def with_worker(self, worker: int) -> list[UnderWay]:
        """Its trials, in the order in which it was given them."""
        return [trial for trial in self._trials.values() if trial.worker == worker]

    def left_behind(self, worker: int, tasks: int) -> list[UnderWay]:
        """Those of its trials that are among the first so many tasks that it was given."""
        return [trial for trial in self.with_worker(worker) if trial.turn <= tasks]

    def take_back(self, trial: UnderWay) -> None:
        """The trial is with no worker any more."""
        del self._trials[trial.number]

    def lost(self, worker: int) -> None:
        """The worker is gone, and its room with it."""
        self._room.pop(worker, None)


class Vigil:
    """Finds trials that give no sign of life."""

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        """Takes for how long a trial may be silent, and seconds that only go forward."""
        self._limit_s = limit_s
        self._clock = clock
        self._looked = clock()

    def look(self, trials: Iterable[UnderWay]) -> list[int]:
        """The workers that have a trial which hangs, each of them once for each time that it does."""
        now = self._clock()
        slept, self._looked = now - self._looked, now
        hung: dict[int, None] = {}
        for trial in trials:
            if slept > _ASLEEP_S:  # this very process was stopped, and heard nothing; so were the workers, perhaps
                trial.sign += slept
            if now - trial.sign > self._limit_s:
                trial.sign, trial.hung = now, True  # once is enough
                hung[trial.worker] = None
        return list(hung)
