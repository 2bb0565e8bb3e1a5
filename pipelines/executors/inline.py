"""Runs every task in this very process: for a debugger, and for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from pipelines.executors.base import Executor, Factory, Handler, Worker


class InlineExecutor(Executor):
    """One worker, number 0. `wait` runs its tasks to the end; answers are immediate, so a sweep is deterministic.

    It is also the worker's desk.
    """

    def __init__(self, factory: Factory) -> None:
        """Takes what makes the worker."""
        self._factory = factory
        self._worker: Worker | None = None
        self._handler: Handler | None = None
        self._tasks: deque[Any] = deque()
        self._told: list[Any] = []
        self._taken = 0
        self._called = False
        self._room = 0

    def start(self, handler: Handler) -> None:
        """Makes the worker. Its room is told by the first `wait`."""
        self._handler = handler
        self._worker = self._factory()

    def hand_over(self, handler: Handler) -> None:
        """See `Executor`."""
        if self._worker is None:
            self.start(handler)
            return
        self._handler = handler
        if self._room > 0:
            handler.on_room(0, self._room)

    def assign(self, worker: int, task: Any) -> None:
        """Queues the task for the next `wait`."""
        self._room -= 1
        self._tasks.append(task)

    def wait(self, timeout_s: float) -> None:
        """Has the worker do what was assigned, if anything."""
        assert self._handler is not None, "start comes before wait"
        assert self._worker is not None
        if self._called and not self._tasks:
            return
        self._called = True
        before = self._taken
        self._worker(self)
        self._told.clear()  # it was about tasks that are over
        if self._taken > before:
            self._handler.on_rest(0, self._taken)

    def tell(self, worker: int, answer: Any) -> None:
        """Keeps the answer for the next message."""
        self._told.append(answer)

    def end(self, worker: int, reason: str) -> None:
        """Does nothing: whoever could call this is waiting for the tasks to end."""

    def log_tail(self, worker: int) -> str:
        """Empty: what a task prints goes where this process prints."""
        return ""

    def close(self) -> None:
        """Forgets what was queued."""
        self._tasks.clear()

    # what the worker calls

    def take(self) -> Any | None:
        """See `pipelines.executors.base.Desk`."""
        if not self._tasks:
            return None
        self._taken += 1
        return self._tasks.popleft()

    def say(self, message: Any) -> Sequence[Any]:
        """See `pipelines.executors.base.Desk`. What the handler tells while it answers comes before its answer."""
        assert self._handler is not None
        answer = self._handler.on_message(0, message)
        answers, self._told = self._told, []
        return answers if answer is None else [*answers, answer]

    def offer(self, places: int) -> None:
        """See `pipelines.executors.base.Desk`."""
        assert self._handler is not None
        if places > 0:
            self._room += places
            self._handler.on_room(0, places)
