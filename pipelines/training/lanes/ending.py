"""Ends of trials: their files are written and synced beside the training, and only then is anything told of them.

To sync a file takes as long as an epoch of many lanes, and far longer where others use the disk; several at once take
hardly longer than one.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from pipelines.records import Event, Verdict
from pipelines.training.base import Emit

_AT_ONCE = 4


class Teller:
    """Stands before `emit`: what a trial tells while its files are written is kept until they are."""

    def __init__(self, emit: Emit) -> None:
        """Takes who is told."""
        self._emit = emit
        self._kept: list[Event] | None = None

    def __call__(self, event: Event) -> Verdict:
        """Tells an event, or keeps it; then nobody waits for a verdict."""
        if self._kept is None:
            return self._emit(event)
        self._kept.append(event)
        return Verdict.GO_ON

    def keep(self) -> None:
        """Keeps everything from now on."""
        self._kept = []

    def tell(self) -> None:
        """Tells what was kept."""
        kept, self._kept = self._kept or [], None
        for event in kept:
            self._emit(event)


class Endings:
    """The trials of one worker that have trained their last epoch and are not over yet."""

    def __init__(self) -> None:
        """Begins with none."""
        self._threads = ThreadPoolExecutor(_AT_ONCE, "ending")
        self._under_way: list[tuple[Future[None], Teller]] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self._under_way)

    def begin(self, end: Callable[[], None], teller: Teller) -> None:
        """Has a thread do `end`, which raises nothing; what it tells meanwhile is told by `tell`."""
        teller.keep()
        self._under_way.append((self._threads.submit(end), teller))

    def tell(self, timeout_s: float = 0.0) -> None:
        """Tells of those that have ended; waits for all of them, but no longer than that."""
        if self._under_way and timeout_s:
            wait([future for future, _ in self._under_way], timeout_s)
        done = [each for each in self._under_way if each[0].done()]
        self._under_way = [each for each in self._under_way if each not in done]
        for future, teller in done:
            teller.tell()
            future.result()
