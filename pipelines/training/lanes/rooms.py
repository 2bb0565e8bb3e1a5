"""Where the trials of one worker are: with a cohort that has a lane for them, or still without one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from pipelines.recipe.config import TrainingConfig
from pipelines.records import TrialSpec
from pipelines.training.base import Emit
from pipelines.training.feeding import Feed
from pipelines.training.lanes.cohort import Cohort
from pipelines.training.lanes.grouping import Group
from pipelines.training.lanes.lane import Lane


@dataclass(eq=False)
class Room:
    """A cohort and those who wait for a lane of it.

    Attributes:
        cohort: The cohort.
        waiting: Who waits.
        trials: How many have come, all in all.
        begun: Whether its next epoch has begun.
        computing: What is being computed for that.
    """

    cohort: Cohort
    waiting: deque[Lane] = field(default_factory=deque)
    trials: int = 0
    begun: bool = False
    computing: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether anybody is in it."""
        return bool(self.waiting or self.cohort.lanes)

    def lanes(self) -> list[Lane]:
        """Its trials, those that wait included."""
        return [*self.cohort.lanes, *self.waiting]


def open_to(rooms: list[Room], key: str, twins: int) -> Room | None:
    """The room for a trial of a group: the first that has a lane for it, or another of the same program.

    Args:
        rooms: All that there are; the other is put among them.
        key: Of the group.
        twins: Rooms that one program may have.

    Returns:
        None where no program is for that group.
    """
    found = [room for room in rooms if key in room.cohort.keys]
    if not found:
        return None
    best = min(found, key=lambda room: max(0, len(room.lanes()) + 1 - room.cohort.width))
    if len(best.lanes()) >= best.cohort.width and len(found) < twins:
        best = Room(found[0].cohort.another())
        rooms.append(best)
    return best


def lonely(rooms: Sequence[Room], most: int) -> bool:
    """Whether programs are made for one trial each, which takes longer than `fit` does; so many may be all the same."""
    return len(rooms) >= most and sum(room.trials for room in rooms) < 2 * len(rooms)


@dataclass(frozen=True)
class Newcomer:
    """A trial that may be trained in lanes, and what with."""

    spec: TrialSpec
    emit: Emit
    config: TrainingConfig
    group: Group
    fed: Feed
