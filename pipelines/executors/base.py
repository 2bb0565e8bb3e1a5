"""What every executor promises: it places workers and carries messages, and knows nothing of what they mean.

A worker is made once where its device is (slow imports happen there) and then handed one task after another. While it
works on a task it emits messages; the handler's answer to a message goes back to the worker. The controller pumps all
of it by calling `wait`, so a handler never runs in another thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

Answer = Callable[[Any], Any]
"""Sends a message to the handler. Returns the newest answer that has come back by now, or None."""
Worker = Callable[[Any, Answer], None]
"""Works on one task."""
Factory = Callable[[], Worker]
"""Makes a worker. It must be picklable; it is called in the worker's own process."""


class LossKind(Enum):
    """What a worker was lost to."""

    DIED = "died"  # it crashed, or somebody else ended it
    MEMORY = "memory"  # it needed more memory than there is, or than it may use
    ENDED = "ended"  # `end` was called


@dataclass(frozen=True)
class Loss:
    """Why a worker is gone: for a person, and in kind."""

    reason: str
    kind: LossKind = LossKind.DIED


class Handler(Protocol):
    """What the controller does with news from its workers."""

    def on_idle(self, worker: int) -> None:
        """The worker has nothing to do: it has just become ready, or has finished its task."""

    def on_message(self, worker: int, message: Any) -> Any:
        """The worker said something; what is returned goes back to it, None goes nowhere."""

    def on_lost(self, worker: int, loss: Loss) -> None:
        """The worker is gone. A new one is on its way, and will be idle under the same number."""


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
    def tell(self, worker: int, answer: Any) -> None:
        """Sends a working worker an answer that nothing asked for; it finds it when it says something next."""

    @abstractmethod
    def end(self, worker: int, reason: str) -> None:
        """Ends a worker in the middle of its task, as it does not get on; `wait` then tells that it is lost."""

    @abstractmethod
    def log_tail(self, worker: int) -> str:
        """The last lines that the worker has printed; empty where that is not kept."""

    @abstractmethod
    def close(self) -> None:
        """Ends all workers, busy or not; no news come after it. Calling it twice is fine."""
