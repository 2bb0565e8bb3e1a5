"""Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol): which pages may ask from a browser."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.model_server.events import EventLog
from services.model_server.metrics.counters import ServerStats

_METHODS = b"GET, HEAD, POST"
# What pages may send: the headers that dialects read, and with a key `authorization` and `x-api-key`.
_REQUEST_HEADERS = (
    b"accept, authorization, content-type, content-encoding, inference-header-content-length, model, prefer, "
    b"traceparent, tracestate, x-api-key, x-model, x-request-id"
)
_ANSWER_HEADERS = (
    b"inference-header-content-length, retry-after, server-timing, traceparent, tracestate, x-mlflow-run-id, "
    b"x-model-digest, x-model-stale-seconds, x-model-version, x-request-id, x-warning"
)
_MAX_AGE_S = b"600"


class Cors:
    """In front of all addresses when MODEL_SERVER_CORS is set. Pages of other origins get what they get without it."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], stats: ServerStats, log: EventLog) -> None:
        self._app = app
        self._all = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._stats, self._log = stats, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a preflight, or adds its headers to the answer of the application."""
        origin = wanted = None
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                wanted = value
        if origin is None:
            await self._app(scope, receive, send)
            return
        allowed = self._all or origin.lower() in self._origins
        # What the browser may keep differs by origin, unless every origin gets the same.
        headers = [] if self._all else [(b"vary", b"origin")]
        if allowed:
            headers.append((b"access-control-allow-origin", b"*" if self._all else origin))
        if scope["method"] == "OPTIONS" and wanted is not None:
            if allowed:
                headers += [
                    (b"access-control-allow-methods", _METHODS),
                    (b"access-control-allow-headers", _REQUEST_HEADERS),
                    (b"access-control-max-age", _MAX_AGE_S),
                ]
            await self._answer(scope, headers, send)
            return
        if allowed:
            headers.append((b"access-control-expose-headers", _ANSWER_HEADERS))

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        for short_way in ("answer", "offer"):  # they would leave the headers out
            scope.pop(short_way, None)
        await self._app(scope, receive, with_headers)

    async def _answer(self, scope: Scope, headers: list[tuple[bytes, bytes]], send: Send) -> None:
        """Answers a preflight. Browsers send no key with it, so none is asked for."""
        self._stats.request("http", "", "", 200, 0.0)
        if self._log.requests:
            self._log.request(protocol="http", method="OPTIONS", path=scope["path"][:1024], status=200)
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
