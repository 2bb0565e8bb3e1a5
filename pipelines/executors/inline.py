"""Runs every task in this very process: for a debugger, and for tests."""

from __future__ import annotations

from collections import deque
from typing import Any

from pipelines.executors.base import Executor, Factory, Handler, Worker


class InlineExecutor(Executor):
    """One worker, number 0. `wait` runs its task to the end; answers are immediate, so a sweep is deterministic."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._worker: Worker | None = None
        self._handler: Handler | None = None
        self._tasks: deque[Any] = deque()
        self._told: Any = None
        self._idle_is_news = True

    def start(self, handler: Handler) -> None:
        """Makes the worker. It is reported idle by the first `wait`."""
        self._handler = handler
        self._worker = self._factory()

    def assign(self, worker: int, task: Any) -> None:
        """Queues the task for the next `wait`."""
        self._tasks.append(task)

    def wait(self, timeout_s: float) -> None:
        """Runs the task that was assigned, if any."""
        assert self._handler is not None, "start comes before wait"
        assert self._worker is not None
        if self._tasks:
            self._told = None
            self._worker(self._tasks.popleft(), self._answer)
            self._idle_is_news = True
        if self._idle_is_news:
            self._idle_is_news = False
            self._handler.on_idle(0)

    def tell(self, worker: int, answer: Any) -> None:
        """Keeps the answer for the next message that gets none of its own."""
        self._told = answer

    def end(self, worker: int, reason: str) -> None:
        """Does nothing: whoever could call this is waiting for the task to end."""

    def log_tail(self, worker: int) -> str:
        """Empty: what the task prints goes where this process prints."""
        return ""

    def close(self) -> None:
        """Forgets what was queued."""
        self._tasks.clear()

    def _answer(self, message: Any) -> Any:
        assert self._handler is not None
        answer = self._handler.on_message(0, message)
        if answer is None:
            answer, self._told = self._told, None
        return answer
