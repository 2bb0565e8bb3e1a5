"""What all dialects share: one request as an object, one answer, and the ASGI endpoint between them.

A dialect parses a `Call`, asks the engine, and encodes a `Reply`; it also says how its errors look. Everything that is
the same for all of them happens in `Endpoint`: the API key, the size limit, the headers, counting, the access log.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from services.model_server.engine import Answer, Engine, ServedModel
from services.model_server.errors import (
    BodyTooLarge,
    ModelServerError,
    NotReady,
    Overloaded,
    Unauthorized,
    UnsupportedMedia,
    WrongMethod,
)
from services.model_server.events import EventLog
from services.model_server.settings import Settings

JSON = b"application/json"
Headers = Sequence[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client hung up while its body was being read; there is nobody to answer."""


class Reply:
    """One answer: `status` is an HTTP code, `body` is encoded already."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(self, body: bytes, status: int = 200, media_type: bytes = JSON, headers: Headers = ()) -> None:
        self.body = body
        self.status = status
        self.media_type = media_type
        self.headers = headers


class Call:
    """One request on its way through the server.

    Attributes:
        arrival: `time.perf_counter()` when its headers were read; the deadline counts from there.
        model: The version that answers, once the dialect knows it.
        rows: How many samples it carried.
    """

    __slots__ = ("_limit", "_receive", "answer", "arrival", "model", "rows", "scope")

    def __init__(self, scope: Scope, receive: Receive, limit_bytes: int) -> None:
        self.scope = scope
        self.arrival = time.perf_counter()
        self.model: ServedModel | None = None
        self.rows = 0
        self.answer: Answer | None = None
        self._receive = receive
        self._limit = limit_bytes

    @property
    def method(self) -> str:
        """The HTTP method, in capitals."""
        method: str = self.scope["method"]
        return method

    def header(self, name: bytes) -> str | None:
        """Returns a header by its lower-case name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return str(value, "latin-1")
        return None

    def query(self) -> dict[str, str]:
        """Returns the query parameters; of several values the last."""
        text = self.scope["query_string"]
        return {key: values[-1] for key, values in parse_qs(str(text, "latin-1")).items()} if text else {}

    def path_parameter(self, name: str) -> str:
        """Returns a part of the address that the route names."""
        return str(self.scope["path_params"][name])

    async def body(self) -> bytes:
        """Reads the whole body.

        Raises:
            BodyTooLarge: it is longer than MODEL_SERVER_MAX_BODY_BYTES; the rest is not read.
            UnsupportedMedia: it is compressed.
            ClientGone: the client hung up.
        """
        for key, value in self.scope["headers"]:
            if key == b"content-length" and value.isdigit() and int(value) > self._limit:
                raise BodyTooLarge(self._too_large())
            if key == b"content-encoding" and value.lower() != b"identity":
                raise UnsupportedMedia("This server takes bodies without Content-Encoding only.")
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self._limit:
                raise BodyTooLarge(self._too_large())
            return body
        chunks, size = [body], len(body)
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            chunks.append(chunk)
            size += len(chunk)
            if size > self._limit:
                raise BodyTooLarge(self._too_large())
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _too_large(self) -> str:
        return f"The body is longer than {self._limit} bytes (MODEL_SERVER_MAX_BODY_BYTES); send fewer samples at once."


Handler = Callable[[Call], Awaitable[Reply]]


class Dialect(ABC):
    """One way to talk to the server. Subclasses hold the parsing and encoding; none of them computes.

    Attributes:
        name: How metrics and the log call it.
        codes: Error type to HTTP status; an error gets the code of its nearest listed ancestor, else 500.
    """

    name: ClassVar[str]
    codes: ClassVar[Mapping[type[ModelServerError], int]]

    def __init__(self, engine: Engine, settings: Settings, log: EventLog) -> None:
        self.engine = engine
        self.settings = settings
        self.log = log

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """Returns the addresses of this dialect; `app` puts them behind each other."""

    @abstractmethod
    def error_body(self, error: Exception, status: int) -> Reply:
        """Encodes an error as clients of this dialect expect it. Called for every exception of a handler."""

    def status_of(self, error: Exception) -> int:
        """Returns the HTTP status of an error."""
        return next((self.codes[kind] for kind in type(error).__mro__ if kind in self.codes), 500)

    def endpoint(self, handler: Handler, methods: str = "", guarded: bool = True) -> Endpoint:
        """Wraps a handler for a route; `methods` like "GET" or "GET, HEAD", none for any."""
        return Endpoint(self, handler, methods, guarded)

    async def predict(self, call: Call, model: ServedModel, rows: Any) -> Answer:
        """Asks the engine and remembers on the call what the headers will say."""
        call.rows = len(rows) if rows.ndim else 0
        call.answer = await self.engine.predict(model, rows, call.arrival)
        return call.answer


_request_numbers = itertools.count(1)
_request_prefix = os.urandom(4).hex()


class Endpoint:
    """An ASGI application for one route of one dialect."""

    def __init__(self, dialect: Dialect, handler: Handler, methods: str, guarded: bool) -> None:
        key = dialect.settings.api_key
        self._key = key.get_secret_value().encode() if key is not None and guarded else None
        self._dialect = dialect
        self._handler = handler
        self._allowed = methods
        self._methods = frozenset(filter(None, methods.replace(" ", "").split(",")))
        self._limit = dialect.settings.max_body_bytes
        self._stats = dialect.engine.stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        call = Call(scope, receive, self._limit)
        dialect = self._dialect
        try:
            if self._key is not None:
                self._authorise(call)
            if self._methods and call.method not in self._methods:
                raise WrongMethod(self._allowed)
            reply = await self._handler(call)
        except ClientGone:
            return
        except asyncio.CancelledError:  # the time to drain is over
            reply = self._failed(call, NotReady("The server is shutting down and could not finish this request."))
        except Exception as error:
            reply = self._failed(call, error)
        request_id = call.header(b"x-request-id") or f"{_request_prefix}-{next(_request_numbers):x}"
        model, answer = call.model, call.answer
        seconds = time.perf_counter() - call.arrival
        timing = f"total;dur={seconds * 1e3:.3f}"
        if answer is not None:
            timing = f"infer;dur={answer.infer_s * 1e3:.3f}, {timing}"
        headers = [
            (b"content-type", reply.media_type),
            (b"content-length", b"%d" % len(reply.body)),
            (b"x-request-id", request_id[:128].encode("latin-1", "replace")),
            (b"server-timing", timing.encode()),
            *(model.headers if model is not None else ()),
            *reply.headers,
        ]
        if dialect.engine.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else reply.body})
        name, version = (model.name, model.version) if model is not None else ("", "")
        self._stats.request(dialect.name, name, version, reply.status, seconds)
        if dialect.log.requests:
            dialect.log.request(
                id=request_id[:128],
                protocol=dialect.name,
                method=call.method,
                path=scope["path"],
                status=reply.status,
                ms=round(seconds * 1e3, 3),
                model=name,
                version=version,
                rows=call.rows,
            )

    def _authorise(self, call: Call) -> None:
        sent = call.header(b"x-api-key")
        if sent is None:
            scheme, _, token = (call.header(b"authorization") or "").partition(" ")
            sent = token.strip() if scheme.lower() == "bearer" else None
        # Compared in constant time: how long it takes must not tell how much of the key was right.
        if self._key is None or sent is None or not hmac.compare_digest(sent.encode("latin-1"), self._key):
            raise Unauthorized("The API key is missing or wrong; send it as x-api-key or as Authorization: Bearer.")

    def _failed(self, call: Call, error: Exception) -> Reply:
        dialect = self._dialect
        status = dialect.status_of(error)
        if not isinstance(error, ModelServerError):
            # Nothing of it goes to the client: a message of a library may quote paths or other people's input.
            dialect.log(
                "request_failed", level="error", path=call.scope["path"], reason=f"{type(error).__name__}: {error}"
            )
            error = ModelServerError("The server failed on this request; its log says why.")
        reply = dialect.error_body(error, status)
        if isinstance(error, Overloaded):
            reply.headers = (*reply.headers, (b"retry-after", b"%d" % error.retry_after_s))
        elif status == 503:
            reply.headers = (*reply.headers, (b"retry-after", b"1"))
        elif status == 401:
            reply.headers = (*reply.headers, (b"www-authenticate", b"Bearer"))
        elif isinstance(error, WrongMethod):
            reply.headers = (*reply.headers, (b"allow", error.allowed.encode()))
        return reply
