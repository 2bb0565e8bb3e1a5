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
        handler = self._handler
        if self._tasks:
            self._worker(self._tasks.popleft(), lambda message: handler.on_message(0, message))
            self._idle_is_news = True
        if self._idle_is_news:
            self._idle_is_news = False
            handler.on_idle(0)

    def close(self) -> None:
        """Forgets what was queued."""
        self._tasks.clear()
