"""What all connections of one process have in common: the limits, who is open, today's date."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

if TYPE_CHECKING:
    from services.model_server.connections.dialogue import Dialogue
    from services.model_server.connections.gate import Gate


@dataclass(frozen=True)
class Limits:
    """What one client may take. Times in seconds, sizes in bytes; see `settings.MEANINGS`."""

    connections: int = 1024
    header_bytes: int = 32 * 2**10
    header_s: float = 10.0
    body_s: float = 60.0
    body_rate: int = 1024
    write_s: float = 30.0
    idle_s: float = 75.0


class Shared:
    """One per process. Used on the event loop only.

    Attributes:
        open: Every connection that is not closed yet.
        tasks: Every request that is not answered yet.
        draining: Whether connections close as soon as they are idle.
        on_refused: Told of requests that the application never saw, or did not answer: their status, how many, and the
            id of the answer ("" where none was written, or one that was made beforehand).
        on_error: Told what the application raised; it should raise nothing.
        gate: Who is let in while a crowd stays; everybody if there is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        on_refused: Callable[[int, int, str], None] = lambda status, times, request_id: None,
        on_error: Callable[[BaseException], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
        gate: Gate | None = None,
    ) -> None:
        self.app = app
        self.limits = limits
        self.loop = loop
        self.on_refused = on_refused
        self.on_error = on_error
        self.clock = clock
        self.gate = gate
        self.open: set[Dialogue] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self.date = b""
        self.tick()

    def tick(self) -> None:
        """Renews the date and closes what is too slow or idle for too long. Called some times a second."""
        self.date = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"
        now = self.clock()
        for connection in list(self.open):
            connection.check(now)

    def drain(self) -> None:
        """Closes what is idle now, and everything else after the answer it waits for."""
        self.draining = True
        for connection in list(self.open):
            connection.drain()

    @property
    def full(self) -> bool:
        """Whether another connection would be one too many."""
        return len(self.open) >= self.limits.connections

    @property
    def flooded(self) -> bool:
        """Whether there is no place either for those who are being told so."""
        return len(self.open) >= 2 * self.limits.connections + 64
