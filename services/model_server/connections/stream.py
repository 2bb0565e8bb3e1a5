"""The socket of a connection, whatever is said on it: what is written, and when one side waits for the other."""

from __future__ import annotations

import asyncio
from typing import cast

from services.model_server.connections.shared import Limits


class Stream(asyncio.Protocol):
    """Both directions of one socket.

    Attributes:
        write_paused: Whether the client does not take what is written for it.
    """

    def __init__(self) -> None:
        self.write_paused = False
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._reading_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._write_due: float | None = None  # when the client must have taken all that is written

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the socket is open."""
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """Called by the event loop when the client does not take its answer."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Called by the event loop when it does."""
        self.write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def writable(self) -> None:
        """Waits until the client has taken its answers so far, or is gone."""
        self._writable = asyncio.get_running_loop().create_future()
        await self._writable

    def write(self, data: bytes) -> None:
        """Hands bytes to the socket."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Leaves what comes in the kernel."""
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Takes more from the socket."""
        if self._reading_paused and not self._transport.is_closing():
            self._reading_paused = False
            self._transport.resume_reading()

    def _expect_reader(self, now: float, limits: Limits) -> None:
        """Gives the client time for what waits to be written."""
        waiting = self._transport.get_write_buffer_size()
        self._write_due = now + limits.write_s + waiting / max(limits.body_rate, 1)

    def _reader_is_late(self, now: float, limits: Limits) -> bool:
        """Whether the client has not taken in time what was written for it."""
        if self._write_due is not None:
            if self._transport.get_write_buffer_size() == 0:
                self._write_due = None
            else:
                return now >= self._write_due
        elif self.write_paused:  # an answer that waits for the client before it is complete
            self._write_due = now + limits.write_s
        return False
