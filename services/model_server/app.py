"""Wires the parts into one ASGI application: dialects over an engine, with a rollout beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from services.model_server.connections import TurnedAway
from services.model_server.engine import Engine
from services.model_server.errors import Overloaded
from services.model_server.events import EventLog
from services.model_server.following.registry import server_name
from services.model_server.following.store import Store
from services.model_server.keys import api_keys
from services.model_server.metrics.counters import ServerStats
from services.model_server.model_store import ModelStore
from services.model_server.protocols import DIALECTS, Dialect, Mlflow, Native, OpenInference, Probes, TfServing
from services.model_server.protocols.cors import Cors
from services.model_server.protocols.traffic import Learning
from services.model_server.rollout import Rollout
from services.model_server.settings import Settings
from services.model_server.traffic import MlflowRuns, Siblings, Traffic, Writer

# What answers one request, as `ASGIApp`; what it returns runs as a task.
_Way = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
# How long the last numbers of the traffic may take to be written; the time to drain is for answers.
_LAST_WRITE_S = 5.0


class _App(Starlette):
    """Starlette, with a short way for the addresses that carry the load.

    No middleware: an `Endpoint` turns every error into its dialect's answer, so nothing is left to catch. The routes of
    Starlette cost a tenth of a small prediction, so what begins with /v1/ or /v2/, and MLflow's one address, goes to
    its dialect without being looked up.
    """

    busiest: Mapping[str, _Way]
    cors: Cors | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Hands a request on: a coroutine around the one that answers would cost every request something."""
        if scope["type"] == "http":
            if self.cors is not None and "cors" not in scope:
                scope["cors"] = True  # it comes back here
                return self.cors(scope, receive, send)
            path = scope["path"]
            way = self.busiest.get(path[:4].lower()) or self.busiest.get(path)
            if way is not None:
                return way(scope, receive, send)
        return super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        return self.router


def create_app(
    settings: Settings,
    store: Store | None = None,
    log: EventLog | None = None,
    stats: ServerStats | None = None,
    worker: int | None = None,
    folder: Path | None = None,
) -> Starlette:
    """Makes the application. It follows the registry from its ASGI startup to its shutdown.

    Args:
        settings: All settings.
        store: Where models come from; MLflow's registry if not given.
        log: Where events go; stderr if not given.
        stats: Where is counted; in memory of this process if not given.
        worker: Which of several processes on one port this is; None if there is one.
        folder: Of these processes; None if there is one.

    Returns:
        A Starlette application; `app.state.engine`, `app.state.rollout` and `app.state.keys` are its parts.
    """
    log = log or EventLog(requests=settings.access_log)
    engine = Engine(settings, stats or ServerStats())
    engine.stats.most_body_bytes = settings.bodies_bytes
    rollout = Rollout(settings, store or ModelStore(settings), engine, log)
    keys = api_keys(settings, log)
    shared = engine, settings, log, keys
    routes: list[BaseRoute] = [route for kind in DIALECTS for route in kind(*shared).routes()]
    native, tf_serving = Native(*shared), TfServing(*shared)
    open_inference, mlflow = OpenInference(*shared), Mlflow(*shared)
    probes = Probes(*shared)
    traffic = Traffic(settings, engine, log)
    if traffic.is_on:
        engine.note = traffic.note
    writer = None
    if traffic.is_on and settings.traffic_log_s > 0:
        runs = MlflowRuns(settings.tracking_uri, server_name(settings, worker), worker)
        writer = Writer(traffic, engine, runs, log)
    learning = Learning(*shared, traffic)
    routes += learning.routes()
    if folder is not None and worker is not None and settings.feedback:
        learning.siblings = Siblings(folder, worker, learning.remembered)
    nothing = native.endpoint(native.unknown)
    routes.append(Mount("/", app=nothing))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        following = asyncio.get_running_loop().create_task(rollout.run())
        following.add_done_callback(lambda task: _report_end(task, log, "rollout_stopped"))
        looking = None
        if keys is not None:
            looking = asyncio.get_running_loop().create_task(keys.watch())
            looking.add_done_callback(lambda task: _report_end(task, log, "api_keys_not_watched"))
        writing = None
        if writer is not None:
            writing = asyncio.get_running_loop().create_task(writer.run(settings.traffic_log_s))
        if learning.siblings is not None:
            await learning.siblings.open()
        try:
            yield
        finally:
            engine.draining = True
            following.cancel()
            if looking is not None:
                looking.cancel()
            rollout.stop()
            traffic.close()
            if learning.siblings is not None:
                await learning.siblings.close()
            if writer is not None and writing is not None:
                writing.cancel()
                await writer.close(min(_LAST_WRITE_S, max(0.5, settings.drain_s / 2)))
            log.flush()

    app = _App(routes=routes, lifespan=lifespan)
    app.busiest = {
        "/v1/": tf_serving.endpoint(tf_serving.handle),
        "/v2/": open_inference.enter,
        "/invocations": mlflow.endpoint(mlflow.invocations, "POST"),
        "*": probes.endpoint(probes.whole, guarded=False),
    }
    app.state.turned_away = _turned_away(
        {"/v1/": tf_serving, "/v2/": open_inference, "": native, "/invocations": mlflow}
    )
    app.state.engine, app.state.rollout, app.state.log, app.state.traffic = engine, rollout, log, traffic
    app.state.keys = keys
    app.router.redirect_slashes = False
    app.router.default = nothing  # a path that no route matches, such as `*`, or one with a line break in it
    if settings.cors:
        app.cors = Cors(app, settings.cors, engine.stats, log)
    return app


def _turned_away(dialects: Mapping[str, Dialect]) -> dict[str, TurnedAway]:
    """What each dialect tells those who are not let in while a crowd stays."""
    error = Overloaded("The server has more requests than it can answer. Try again later.")
    found = {}
    for address, dialect in dialects.items():
        status = dialect.status_of(error)
        reply = dialect.error_body(error, status)
        found[address] = TurnedAway(status, reply.media_type, reply.body)
    return found


def _report_end(task: asyncio.Task[None], log: EventLog, event: str) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log(event, level="error", reason=f"{type(error).__name__}: {error}")
