"""One process that answers: takes connections, watches their time, and drains in steps when it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from starlette.applications import Starlette

from services.model_server.connections import Connection, Gate, Limits, Shared
from services.model_server.events import EventLog
from services.model_server.host.door import Door, turn_new_ones_away
from services.model_server.host.tls import Certificate
from services.model_server.metrics.board import ACCEPTING, READY, Board
from services.model_server.queueing.crowd import Asking, Crowd
from services.model_server.settings import Settings

_TICK_S = 0.25
# A new process leaves the port to its siblings until it is ready, but not for longer than this.
_WAIT_FOR_READY_S = 60.0
# A registry that has not answered by then may never do so; what asks it is loaded all the same.
_SETTLED_S = 30.0
# After new connections are turned away, those that the kernel was making have so long to come.
_HANDSHAKES_S = 0.15


class Server:
    """Serves an application on a bound socket until a signal, or until its parent is gone."""

    def __init__(
        self,
        app: Starlette,
        settings: Settings,
        listener: socket.socket,
        log: EventLog,
        *,
        certificate: Certificate | None = None,
        board: Board | None = None,
        parent: int | None = None,
    ) -> None:
        """Takes its parts; nothing happens before `run`.

        Args:
            app: The application of `create_app`.
            settings: All settings.
            listener: Bound and listening; closed at the end.
            log: Where events go.
            certificate: Speaks TLS.
            board: Where this process says that it takes connections.
            parent: A file descriptor that becomes readable when the parent has died.
        """
        self._app, self._settings, self._listener, self._log = app, settings, listener, log
        self._certificate, self._board, self._parent = certificate, board, parent
        self._engine = app.state.engine
        self._linger_s = min(settings.linger_s, settings.drain_s / 2)
        self._opening: set[asyncio.Task[None]] = set()
        self._ends = self._settled = False

    async def run(self) -> None:
        """Serves, and returns when everything is answered or the time to drain is over."""
        loop = asyncio.get_running_loop()
        settings, stats = self._settings, self._engine.stats
        asking = self._engine.asking = Asking()
        limits = Limits(**{name: getattr(settings, name) for name in Limits.__dataclass_fields__})
        self._shared = Shared(
            self._app,
            limits,
            loop,
            on_refused=self._on_refused,
            on_error=lambda error: self._log(
                "request_failed", level="error", reason=f"{type(error).__name__}: {error}"
            ),
            gate=Gate(
                Crowd(settings.crowd, on_change=self._on_crowd, asking=asking),
                loop,
                self._app.state.turned_away,
                on_turn=partial(setattr, self._engine, "company"),
                asking=asking,
                on_refused=self._on_refused,
            ),
        )
        stats.connections = lambda: len(self._shared.open)
        self._signalled, self._forced = asyncio.Event(), asyncio.Event()
        # A process among several is told by its parent, not by the terminal they share.
        for number in (signal.SIGTERM, signal.SIGINT)[: 1 if self._parent is not None else 2]:
            loop.add_signal_handler(number, self.stop, signal.Signals(number).name)
        if self._parent is not None:
            loop.add_reader(self._parent, self._on_orphaned, self._parent)
        self._door = Door(
            self._listener,
            self._log,
            self._come,
            lambda: len(self._shared.open) + len(self._opening),
            self._board,
            stats.alive,
        )
        started = loop.time()
        async with self._app.router.lifespan_context(self._app):
            while not self._signalled.is_set():
                if not self._door.is_open and self._may_open(loop.time() - started):
                    gc.freeze()  # what is there now stays: the collector need not look at it while somebody waits
                    self._door.open()
                self._settle(loop.time() - started)
                self._tick()
                await _wait(self._signalled, _TICK_S)
            await self._drain(loop)

    def _settle(self, waited_s: float) -> None:
        """Lets the garbage collector look no more at MLflow, which comes in a thread while requests are answered.

        It is most of what the process holds, and a full look at it takes 50 ms, in which nobody hears anything.
        """
        if not self._settled and (self._engine.stats.registry_up or waited_s > _SETTLED_S):
            self._settled = True
            gc.freeze()

    def stop(self, why: str) -> None:
        """Starts to drain; called again, ends at once."""
        if self._ends:
            self._forced.set()
            return
        self._ends = self._engine.draining = True
        self._log("draining", signal=why, within_s=self._settings.drain_s)
        self._signalled.set()

    def _on_refused(self, status: int, times: int, request_id: str = "") -> None:
        """Counts what the application never saw. Too many of something are counted only: a log would add to it."""
        self._engine.stats.refused(status, times)
        if self._log.requests and status not in (429, 503):
            self._log.request(id=request_id, protocol="http", status=status)

    def _on_crowd(self, stays: bool) -> None:
        self._log("overloaded" if stays else "not_overloaded", level="warning" if stays else "info")

    def _on_orphaned(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        if not self._ends:
            self.stop("parent died")

    def _tick(self) -> None:
        self._shared.tick()
        if self._certificate is not None:
            renewed = self._certificate.renew()
            if renewed is not None:
                level = "error" if renewed else "info"
                self._log("certificate_changed", level=level, used=not renewed, reason=renewed or "")
        if self._board is not None:
            self._engine.stats.publish()
            self._door.say()

    # ---- connections

    def _may_open(self, waited_s: float) -> bool:
        if self._engine.ready or waited_s > _WAIT_FOR_READY_S:
            return True
        heads = (other.head() for other in self._engine.stats.alive())
        return not any(head[ACCEPTING] and head[READY] for head in heads)

    def _come(self, client: socket.socket) -> None:
        if self._shared.flooded or len(self._opening) > 2 * self._settings.connections:
            client.close()
            return
        task = asyncio.get_running_loop().create_task(self._open(client))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, client: socket.socket) -> None:
        context = None if self._certificate is None else self._certificate.context
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._shared),
                client,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._settings.header_s,
            )
        except (OSError, TimeoutError, asyncio.IncompleteReadError):  # gone again, or it does not speak TLS
            client.close()

    # ---- the end

    async def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Not ready, then no new connections, then no open requests."""
        end = loop.time() + self._settings.drain_s - 0.2
        await self._until(lambda: False, self._linger_s)
        if self._parent is None:  # else it is the parent's to say: one process may end alone
            turn_new_ones_away(self._listener)
        await self._until(lambda: False, _HANDSHAKES_S)
        self._door.close()
        await self._until(lambda: not self._opening, 0.5)
        self._shared.drain()
        await self._until(lambda: not self._shared.open, max(0.1, end - loop.time()))
        for task in list(self._shared.tasks):
            task.cancel("the time to drain is over")
        self._shared.drain()
        await self._until(lambda: not self._shared.tasks and not self._shared.open, 0.2)
        for opening in list(self._opening):
            opening.cancel()

    async def _until(self, done: Callable[[], bool], most_s: float) -> None:
        """Goes on serving until something is so, for a time, or until a second signal."""
        loop = asyncio.get_running_loop()
        end = loop.time() + most_s
        while not done() and not self._forced.is_set() and (left := end - loop.time()) > 0:
            self._tick()
            await _wait(self._forced, min(left, 0.02))


async def _wait(event: asyncio.Event, most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), most_s)


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine on the quick event loop. Threads that are still at work are left behind."""
    import uvloop

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
