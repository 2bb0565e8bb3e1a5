"""What every executor promises: it places workers and carries messages, and knows nothing of what they mean.

A worker is made once where its device is (slow imports happen there) and then handed tasks. It says for how many it has
room; one that trains many trials in one program has several under way at once. It emits messages about them, and the
handler's answers go back to it. The controller pumps all of it by calling `wait`, so a handler never runs in another
thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol


class Desk(Protocol):
    """Where a worker takes its tasks from, and says what comes of them. It is in the worker's own process."""

    def take(self) -> Any | None:
        """The next task that has come, or None where none is waiting. It does not wait for one."""

    def say(self, message: Any) -> Sequence[Any]:
        """Sends a message to the handler. Returns the answers that have come back by now, the oldest first.

        They may be about earlier messages, and about any task that the worker has under way. Only one thread at a time
        may call it.
        """

    def offer(self, places: int) -> None:
        """Says that there is room for so many more tasks, beside those that were offered room before."""


Worker = Callable[[Desk], None]
"""Works on what comes to its desk, and returns when nothing is left to be done.

It is called once without a task, to say how much room it has, and from then on whenever tasks are waiting. Answers that
it has not heard when it returns and no task is waiting are dropped: they were about tasks that are over.
"""
Answer = Callable[[Any], Any]
"""Sends a message to the handler. Returns the newest answer that has come back by now, or None."""
Factory = Callable[[], Worker]
"""Makes a worker. It must be picklable; it is called in the worker's own process."""


class OneByOne:
    """A worker that has room for one task at a time."""

    def __init__(self, work: Callable[[Any, Answer], None]) -> None:
        """Takes what works on one task; it gets the task, and what sends a message and returns the newest answer."""
        self._work = work
        self._offered = False

    def __call__(self, desk: Desk) -> None:
        """See `Worker`."""
        if not self._offered:
            self._offered = True
            desk.offer(1)

        def answer(message: Any) -> Any:
            answers = desk.say(message)
            return answers[-1] if answers else None

        task = desk.take()
        if task is not None:
            self._work(task, answer)
            desk.offer(1)


class LossKind(Enum):
    """What a worker was lost to."""

    DIED = "died"  # it crashed, or somebody else ended it
    MEMORY = "memory"  # it needed more memory than there is, or than it may use
    ENDED = "ended"  # `end` was called
    NODE = "node"  # the machine that it was on left, which is no fault of anything on it
    DEVICE = "device"  # its device does not compute any more: no other is started in its place


@dataclass(frozen=True)
class Loss:
    """Why a worker is gone: for a person, and in kind."""

    reason: str
    kind: LossKind = LossKind.DIED


class Handler(Protocol):
    """What the controller does with news from its workers."""

    def on_room(self, worker: int, places: int) -> None:
        """The worker can take so many more tasks, beside those for which it said so before."""

    def on_rest(self, worker: int, tasks: int) -> None:
        """The worker has returned from its tasks: whatever it said of them, it does no more about them.

        Args:
            worker: Its number.
            tasks: How many of the tasks that it was ever given, the first ones, that is true of. It may have been given
                more since.
        """

    def on_message(self, worker: int, message: Any) -> Any:
        """The worker said something; what is returned goes back to it, None goes nowhere."""

    def on_lost(self, worker: int, loss: Loss) -> None:
        """The worker is gone, with all its tasks and all its room.

        A new one is on its way, under the same number, unless it was lost to its device: then that number is no more.
        """


class Executor(ABC):
    """Places workers and carries messages."""

    @abstractmethod
    def start(self, handler: Handler) -> None:
        """Starts the workers; news of them come in `wait`."""

    @abstractmethod
    def hand_over(self, handler: Handler) -> None:
        """Has another handler hear of the workers from now on, first of what room there is; starts them if need be.

        The handler before has no task under way any more.
        """

    @abstractmethod
    def assign(self, worker: int, task: Any) -> None:
        """Hands a worker that has room one more task."""

    @abstractmethod
    def wait(self, timeout_s: float) -> None:
        """Delivers news to the handler, waiting for the first of it up to `timeout_s`."""

    @abstractmethod
    def tell(self, worker: int, answer: Any) -> None:
        """Sends a worker an answer that nothing asked for; it finds it when it says something next."""

    @abstractmethod
    def end(self, worker: int, reason: str) -> None:
        """Ends a worker in the middle of its tasks, as it does not get on; `wait` then tells that it is lost."""

    @abstractmethod
    def log_tail(self, worker: int) -> str:
        """The last lines that the worker has printed; empty where that is not kept."""

    @abstractmethod
    def close(self) -> None:
        """Ends all workers, busy or not; no news come after it. Calling it twice is fine."""
