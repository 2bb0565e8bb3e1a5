"""Requests and answers on one connection: one after the other, each in its time, until one side has enough."""

from __future__ import annotations

import asyncio
from collections import deque

from services.model_server.connections.exchange import Exchange, run
from services.model_server.connections.phases import BODY, FRESH, HEAD, IDLE, LINGER, WORK, Phase, is_over
from services.model_server.connections.refusals import new_id, refusal
from services.model_server.connections.shared import Shared
from services.model_server.connections.stream import Stream

# Who connected in the last moment before the port closed may still send a request for so long.
_LAST_WAIT_S = 1.0


class Dialogue(Stream):
    """What was received is answered in its order. Who receives it is a class that builds on this one.

    Attributes:
        shared: What all connections have in common.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self.shared = shared
        self._phase = FRESH
        self._since = 0.0  # when the phase began
        self._in_head = False  # whether a request has begun to come
        self._deaf = False  # whether nothing that comes is read any more
        self._exchange: Exchange | None = None  # the request that is being received
        self._current: Exchange | None = None  # the request that is being answered
        self._waiting: deque[Exchange] = deque()  # requests that came behind it already

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._current is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the socket is open, and its TLS handshake done."""
        super().connection_made(transport)
        self._since = self.shared.clock()
        if not self.shared.full:
            self.shared.open.add(self)
            return
        if self.shared.flooded:
            self.shared.on_refused(503, 1, "")
            self._transport.abort()
        else:
            self._end_with(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop when the socket is closed; nobody waits for answers any more."""
        self._deaf = True
        self.shared.open.discard(self)
        for exchange in (self._current, *self._waiting):
            if exchange is not None and not exchange.answered:
                exchange.gone = exchange.scope["gone"] = True
                exchange.wake()
                if exchange.task is not None:
                    # One that has not begun yet never gets to its end.
                    exchange.task.add_done_callback(self.shared.tasks.discard)
                    exchange.task.cancel("the client hung up")
        self._waiting.clear()
        self.resume_writing()

    def eof_received(self) -> bool:
        """Called by the event loop when the client has sent its last byte.

        It may have closed one half only and wait for its answer, but nobody does that, and a client that ran out of
        patience looks the same: as for nginx, it is gone, and the work for it is given up.
        """
        return False

    def resume_writing(self) -> None:
        """Called by the event loop when the client takes its answer again."""
        super().resume_writing()
        self._next()

    def _start(self, exchange: Exchange) -> None:
        shared = self.shared
        self._current = exchange
        self._phase, self._since = (WORK if exchange.complete else BODY), shared.clock()
        task = shared.loop.create_task(run(exchange, shared.app, self._failed))
        exchange.task = task
        shared.tasks.add(task)

    def answered(self, exchange: Exchange) -> None:
        """Called by an exchange when its answer is on its way."""
        self._current = None
        if exchange.task is None:  # nobody else will
            exchange.forget()
        now = self.shared.clock()
        if self._transport.get_write_buffer_size():
            self._expect_reader(now, self.shared.limits)
        if not exchange.keep_alive:
            self._end(rest=not exchange.complete or self._deaf)
            return
        self._phase, self._since = (HEAD if self._in_head else IDLE), now
        if self._waiting:
            self._next()
        if self._reading_paused and not self._waiting:
            self.resume_reading()

    def _next(self) -> None:
        if self._waiting and self._current is None and not self.write_paused and self._phase is not LINGER:
            self._start(self._waiting.popleft())

    def _failed(self, exchange: Exchange, error: BaseException) -> None:
        """Ends a request that the application could not answer; its own errors never come so far."""
        if exchange.gone or exchange.answered:
            return
        exchange.answered = True
        self.shared.on_error(error)
        self._end_with(500)

    def _refuse(self, status: int) -> None:
        """Answers what is no request, once the requests before it are answered or given up."""
        current = self._current
        if current is not None and not current.answered:
            if not current.complete:
                current.gone = True
                current.wake()
            else:  # a good request is being answered; what follows it is not one
                current.keep_alive = False
                self._deaf, self._exchange = True, None
                self._waiting.clear()
                self.shared.on_refused(status, 1, "")
                return
        self._end_with(status)

    def _end_with(self, status: int) -> None:
        request_id = new_id()
        self.shared.on_refused(status, 1, request_id)
        if not self._transport.is_closing():
            self._transport.write(refusal(status, self.shared.date, request_id))
        self._end(rest=True)

    def _end(self, rest: bool) -> None:
        """Closes after what is written; with a `rest` of a request to come, only after the client has read."""
        self._waiting.clear()
        self._phase = LINGER
        if not rest or self._transport.is_closing():
            self._transport.close()
            return
        self._since = self.shared.clock()
        self.shared.open.add(self)  # so that its time is watched, also when it was one too many
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.resume_reading()

    def check(self, now: float) -> None:
        """Closes the connection if it is too slow. Called some times a second."""
        limits = self.shared.limits
        if self._reader_is_late(now, limits):
            self._transport.abort()
            return
        if self.shared.draining and (self._phase is not FRESH or now - self._since >= _LAST_WAIT_S):
            self._close_if_idle()
        if not is_over(self._phase, now - self._since, self._exchange.received if self._exchange else 0, limits):
            return
        match self._phase:
            case Phase.FRESH | Phase.IDLE:
                self._transport.close()
            case Phase.HEAD:
                self._refuse(408)
            case Phase.BODY if self._exchange is not None and not self._reading_paused:
                self._refuse(408)
            case Phase.LINGER if self._write_due is None:
                self._transport.abort()

    def drain(self) -> None:
        """Closes an idle connection; another one closes after its answer, and a new one may still send a request."""
        if self._phase is not FRESH:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._phase in (FRESH, IDLE) and not self._waiting:
            self._transport.close()
