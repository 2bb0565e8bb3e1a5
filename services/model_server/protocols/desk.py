"""A thread for what takes long to read, pictures and long CSV, and a bound on what waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from services.model_server.errors import DeadlineExceeded, Overloaded

T = TypeVar("T")

# Up to this size CSV is read on the event loop; the rest, at a desk: nobody else waits for it.
INLINE_BYTES = 1 << 13
_MOST_WAITING = 64
_MOST_BYTES = 1 << 26


class Desk:
    """Does work in a thread of its own, one piece at a time, so that the event loop never waits for it.

    Used on the event loop only.
    """

    def __init__(self, most_waiting: int = _MOST_WAITING, most_bytes: int = _MOST_BYTES) -> None:
        self._most_waiting, self._most_bytes = most_waiting, most_bytes
        self._thread: ThreadPoolExecutor | None = None
        self.waiting = 0
        """Pieces of work that are not done yet."""
        self.waiting_bytes = 0
        """How much they hold."""

    async def do(self, work: Callable[[], T], size: int, deadline: float) -> T:
        """Does one piece of work.

        Args:
            work: What to do.
            size: Bytes that it holds while it waits.
            deadline: When its result is of no use any more, as `time.perf_counter()`.

        Raises:
            Overloaded: too much waits already.
            DeadlineExceeded: the deadline passed; what is not begun is not done any more.
        """
        if self.waiting >= self._most_waiting or (self.waiting and self.waiting_bytes + size > self._most_bytes):
            raise Overloaded(f"{self.waiting} requests wait to be read. Try again later.")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")

        loop = asyncio.get_running_loop()

        def done() -> None:
            self.waiting -= 1
            self.waiting_bytes -= size

        def tell(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nothing waits any more
                loop.call_soon_threadsafe(done)

        self.waiting += 1
        self.waiting_bytes += size
        job = self._thread.submit(work)
        job.add_done_callback(tell)  # of the work itself: what was begun goes on when nobody waits for it any more
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), max(0.0, deadline - time.perf_counter()))
        except TimeoutError:
            raise DeadlineExceeded("The request could not be read within its deadline.") from None
