"""Threads beside the event loop: for what blocks on a disk or a network and has nothing to do with a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class Background:
    """A few threads. Used on the event loop only."""

    def __init__(self, log: Callable[..., None], threads: int = 4) -> None:
        """Starts no thread yet; `log` takes an event's name and facts, on the event loop."""
        self._log = log
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rollout")
        self.chores: set[asyncio.Future[Any]] = set()
        """What was begun with `begin` and has not ended."""

    def close(self) -> None:
        """Begins nothing more; what is under way ends, and nobody waits for it."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def do(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Calls in a thread and waits for the result."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    def begin(self, event: str, call: Callable[..., Any], *arguments: Any) -> None:
        """Calls in a thread, and writes an event to the log if that fails: a full disk is worth a line and no more."""

        def done(future: asyncio.Future[Any]) -> None:
            self.chores.discard(future)
            if not future.cancelled() and (error := future.exception()) is not None:
                self._log(event, level="warning", reason=f"{type(error).__name__}: {error}")

        chore = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        self.chores.add(chore)
        chore.add_done_callback(done)

    def teller(self, **facts: Any) -> Callable[..., None]:
        """Returns what lets any thread write to the log, which belongs to the loop; `facts` go with every event."""
        loop = asyncio.get_running_loop()

        def tell(event: str, **more: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the log with it
                loop.call_soon_threadsafe(partial(self._log, event, **facts, **more))

        return tell
