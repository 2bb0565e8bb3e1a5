"""A sideline: work that no request waits for, in one thread, bounded, and dropped when it is too much."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

# So many pieces of work may wait. It is little on purpose: what comes faster than it is done is dropped, not kept.
_MOST_JOBS = 64
# After work of d seconds the sideline rests for three times d: it takes a quarter of one core at most, whatever comes.
_REST = 3.0


class _Job(NamedTuple):
    rows: int
    work: Callable[[], Any]
    done: Callable[[Any], None]


class Sideline:
    """Runs work in the order it came. Used on the event loop only; the work itself runs in the thread.

    The thread has no lower priority than the others on purpose: while it holds Python's lock, requests wait for it, and
    a machine that is busy would let a thread of low priority hold it for long.
    """

    def __init__(self, most_rows: int, failed: Callable[[Exception], None]) -> None:
        """Makes an empty sideline.

        Args:
            most_rows: The most rows that wait or are worked on.
            failed: Told of work that raised.
        """
        self._most_rows = most_rows
        self._failed = failed
        self._queue: deque[_Job] = deque()
        self._rows = 0
        self._running = False
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None

    def has_room(self, rows: int) -> bool:
        """Whether `offer` would take so many rows."""
        return not self._closed and len(self._queue) < _MOST_JOBS and self._rows + rows <= self._most_rows

    def offer(self, rows: int, work: Callable[[], Any], done: Callable[[Any], None]) -> bool:
        """Takes work if there is room for it.

        Args:
            rows: How many rows it holds in memory.
            work: Called in the thread.
            done: Called on the event loop with what `work` returned.

        Returns:
            Whether it was taken.
        """
        if not self.has_room(rows):
            return False
        self._rows += rows
        self._queue.append(_Job(rows, work, done))
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_soon(self._next)
        return True

    def close(self) -> None:
        """Drops what waits. What is being worked on ends, and nobody is told."""
        self._closed = True
        self._queue.clear()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def settle(self) -> None:
        """Waits until nothing is left to do; for tests, and before the last numbers are written."""
        while self._running and not self._closed:
            await asyncio.sleep(0.001)

    def _next(self) -> None:
        if self._closed or not self._queue:
            self._running = False
            return
        job = self._queue.popleft()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="traffic")
        loop, start = asyncio.get_running_loop(), time.perf_counter()

        def ended(future: asyncio.Future[Any]) -> None:
            self._rows -= job.rows
            if self._closed or future.cancelled():
                self._running = False
                return
            error = future.exception()
            if isinstance(error, Exception):
                self._failed(error)
            elif error is None:
                job.done(future.result())
            loop.call_later(_REST * (time.perf_counter() - start), self._next)

        loop.run_in_executor(self._thread, job.work).add_done_callback(ended)
