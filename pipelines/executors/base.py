"""What every executor promises: it places workers and carries messages, and knows nothing of what they mean.

A worker is made once where its device is (slow imports happen there) and then handed one task after another. While it
works on a task it emits messages; the handler's answer to a message goes back to the worker. The controller pumps all
of it by calling `wait`, so a handler never runs in another thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

Answer = Callable[[Any], Any]
"""Sends a message to the handler. Returns the newest answer that has come back by now, or None."""
Worker = Callable[[Any, Answer], None]
"""Works on one task."""
Factory = Callable[[], Worker]
"""Makes a worker. It must be picklable; it is called in the worker's own process."""


class Handler(Protocol):
    """What the controller does with news from its workers."""

    def on_idle(self, worker: int) -> None:
        """The worker has nothing to do: it has just become ready, or has finished its task."""

    def on_message(self, worker: int, message: Any) -> Any:
        """The worker said something; what is returned goes back to it, None goes nowhere."""

    def on_lost(self, worker: int, reason: str) -> None:
        """The worker died. A new one is on its way, and will be idle under the same number."""


class Executor(ABC):
    """Places workers and carries messages."""

    @abstractmethod
    def start(self, handler: Handler) -> None:
        """Starts the workers; news of them come in `wait`."""

    @abstractmethod
    def assign(self, worker: int, task: Any) -> None:
        """Hands an idle worker its next task."""

    @abstractmethod
    def wait(self, timeout_s: float) -> None:
        """Delivers news to the handler, waiting for the first of it up to `timeout_s`."""

    @abstractmethod
    def close(self) -> None:
        """Ends all workers, busy or not; no news come after it. Calling it twice is fine."""
