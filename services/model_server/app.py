"""Wires the parts into one ASGI application: dialects over an engine, with a rollout beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from services.model_server.engine import Engine
from services.model_server.events import EventLog
from services.model_server.metrics import ServerStats
from services.model_server.model_store import ModelStore
from services.model_server.protocols import DIALECTS, Native, TfServing
from services.model_server.rollout import Rollout, Store
from services.model_server.settings import Settings


class _App(Starlette):
    """Starlette, with a short way for the address that carries the load.

    No middleware: an `Endpoint` turns every error into its dialect's answer, so nothing is left to catch. The routes of
    Starlette cost a tenth of a small prediction, so what begins with /v1/ goes to its dialect without being looked up.
    """

    busiest: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"][:4].lower() == "/v1/":
            await self.busiest(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        return self.router


def create_app(settings: Settings, store: Store | None = None, log: EventLog | None = None) -> Starlette:
    """Makes the application. It follows the registry from its ASGI startup to its shutdown.

    Args:
        settings: All settings.
        store: Where models come from; MLflow's registry if not given.
        log: Where events go; stderr if not given.

    Returns:
        A Starlette application; `app.state.engine` and `app.state.rollout` are its parts.
    """
    log = log or EventLog(requests=settings.access_log)
    engine = Engine(settings, ServerStats())
    rollout = Rollout(settings, store or ModelStore(settings), engine, log)
    routes: list[BaseRoute] = [route for kind in DIALECTS for route in kind(engine, settings, log).routes()]
    native, tf_serving = Native(engine, settings, log), TfServing(engine, settings, log)
    routes.append(Mount("/", app=native.endpoint(native.unknown)))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        following = asyncio.get_running_loop().create_task(rollout.run())
        following.add_done_callback(lambda task: _report_end(task, log))
        try:
            yield
        finally:
            engine.draining = True
            following.cancel()
            rollout.stop()
            log.flush()

    app = _App(routes=routes, lifespan=lifespan)
    app.busiest = tf_serving.endpoint(tf_serving.handle)
    app.state.engine, app.state.rollout, app.state.log = engine, rollout, log
    app.router.redirect_slashes = False
    return app


def _report_end(task: asyncio.Task[None], log: EventLog) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log("rollout_stopped", level="error", reason=f"{type(error).__name__}: {error}")
