"""The controller's end of one worker, wherever it lives: what was sent to it, and what it said of its room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.executors.base import Loss, LossKind
from pipelines.executors.logs import WorkerLog
from pipelines.executors.serving import TASK
from pipelines.executors.wire import Wire

_DIES_S = 5.0
"""For how long a body may outlive its line."""


@dataclass(frozen=True)
class Death:
    """What became of a body.

    Attributes:
        loss: What a worker in it is lost to.
        blameless: Whether somebody else ended it: that says little about whether such a worker can live.
    """

    loss: Loss
    blameless: bool = False


class Body(ABC):
    """What a worker lives in: a process, a container, an actor on another machine.

    Only `join` may wait, and only for as long as it is told to: everything else is called between two trials' words.
    """

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it lives, or is still on its way to."""

    @property
    def sentinel(self) -> int | None:
        """A descriptor that can be read once it is dead; None where there is none, and `alive` is asked instead."""
        return None

    @abstractmethod
    def kill(self) -> None:
        """Ends it at once, whatever it is in the middle of."""

    def terminate(self) -> None:
        """Asks it to end: all work is over. One that does not listen is killed a second later."""
        self.kill()

    @abstractmethod
    def join(self, timeout_s: float) -> None:
        """Waits for its death."""

    @abstractmethod
    def death(self) -> Death:
        """What it died of; asked once it is dead."""

    def resident_bytes(self) -> int | None:
        """Bytes of memory that it fills; None where that cannot be seen from here, and the worker tells it itself."""
        return None

    @abstractmethod
    def let_go(self) -> None:
        """Its line is closed, and nobody needs it any more: sees to it that it ends and that nothing of it stays."""

    @abstractmethod
    def forget(self) -> None:
        """It is dead, and nothing will be asked about it any more: removes what is left of it."""


class Staff:
    """One worker: its body, the line to it, and the books about its tasks and its room.

    Attributes:
        body: What it lives in.
        wire: Our end of the line; None until it has dialled in.
        ready: Whether its worker was made.
        given: Tasks that it was sent.
        done: Those of them that it has returned from.
        offered: Places that it has offered, since it was started.
        most: Places that it had at once, at most.
        memory: Bytes that it said it fills.
        loss: Why we ended it, if we did.
        due: By when it has to have dialled in, by the monotonic clock; None where it has as long as it takes.
    """

    def __init__(self, body: Body, wire: Wire | None = None, *, due: float | None = None) -> None:
        """Takes what it lives in, and the line where there is one already."""
        self.body = body
        self.wire = wire
        self.due = due
        self.ready = False
        self.given = self.done = self.offered = self.most = self.memory = 0
        self.loss: Loss | None = None
        self._first: deque[Any] = deque()

    def connect(self, wire: Wire) -> None:
        """It has dialled in: what was meant for it until now goes out."""
        self.wire = wire
        while self._first:
            wire.send(self._first.popleft())

    @property
    def alive(self) -> bool:
        """Whether it lives, or is still on its way to."""
        return self.body.alive

    @property
    def resting(self) -> bool:
        """Whether it is done with everything that it was given."""
        return self.done == self.given

    @property
    def has_mail(self) -> bool:
        """Whether there is something that the line had no space for yet."""
        return self.wire is not None and self.wire.has_mail

    @property
    def has_word(self) -> bool:
        """Whether it has said something that was not taken yet."""
        return self.wire is not None and self.wire.has_word

    def send(self, message: Any) -> None:
        """Sends it something, or keeps that where there is no line yet, or no space. It never waits."""
        if self.wire is None:
            self._first.append(message)
        else:
            self.wire.send(message)

    def post(self, word: str, content: Any) -> None:
        """Sends it a word; see `pipelines.executors.serving`."""
        self.given += word == TASK
        self.send((word, content))

    def flush(self) -> None:
        """Sends what there was no space for, as far as there is."""
        if self.wire is not None and self.wire.has_mail:
            self.wire.flush()

    def note_room(self, places: int) -> None:
        """It offers so many more places."""
        self.offered += places
        self.most = max(self.most, self.room)

    @property
    def room(self) -> int:
        """Places that it has for more tasks."""
        return self.offered - self.given

    def listen(self) -> bool:
        """Takes in what it has said by now. Returns whether there may be more."""
        return self.wire is not None and self.wire.listen()

    def is_cut_off(self) -> bool:
        """Whether its line has ended, and it with it: one that is dead is there a moment longer than its line."""
        if self.wire is None or not self.wire.ended:
            return False
        self.body.join(_DIES_S)
        if self.body.alive:
            self.kill(self.loss or Loss("the line to it broke"))
            self.body.join(_DIES_S)
        return not self.body.alive

    def kill(self, loss: Loss) -> None:
        """Ends it at once, for a reason of ours."""
        self.loss = loss
        self.body.kill()

    def retire(self) -> None:
        """Lets it go while it rests: it sees the end of its line and leaves."""
        self.hang_up()
        self.body.let_go()

    def hang_up(self) -> None:
        """Closes the line."""
        if self.wire is not None:
            self.wire.close()

    def resident_bytes(self) -> int:
        """Bytes of memory that it fills, as far as is known."""
        seen = self.body.resident_bytes()
        return self.memory if seen is None else seen

    def death(self) -> Death:
        """What it has died of."""
        if self.loss is None:
            return self.body.death()
        return Death(self.loss, blameless=self.loss.kind is not LossKind.DIED)


class Door(Protocol):
    """Something that a selector can look at."""

    def fileno(self) -> int:
        """Its descriptor."""


class Agency(ABC):
    """Finds workers, of one kind."""

    @abstractmethod
    def start(self, number: int, log: WorkerLog) -> Staff:
        """Starts one and hires it, which must not take long: it may get ready, and dial in, much later.

        Args:
            number: The worker's.
            log: What it prints into.

        Raises:
            ExecutorError: There is no use in trying it again.
        """

    def doors(self) -> Sequence[Door]:
        """What to look at beside the lines and sentinels of those that were started, until `attend` is called."""
        return ()

    def attend(self) -> None:  # noqa: B027
        """Sees to who dials in, and to whatever else there is to do; called at least every second, never to wait."""

    def did_something(self, number: int) -> None:  # noqa: B027
        """A worker of that number has done with a task: whatever it needs is there."""

    def gone(self, number: int, loss: Loss) -> str:
        """A worker of that number is gone. Returns why no other is to be started in its place; empty where one is."""
        return ""

    def close(self) -> None:  # noqa: B027
        """Nobody will be started any more. Called after all of them have ended; calling it twice is fine."""
