"""One request as an object, and one answer: what a dialect reads from and what it writes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from services.model_server.engine import Answer
from services.model_server.errors import BodyTooLarge, Overloaded, UnsupportedMedia
from services.model_server.metrics.counters import ServerStats
from services.model_server.protocols.patience import ENVOY, PREFER, patience_s
from services.model_server.served import ServedModel

JSON = b"application/json"
Headers = Sequence[tuple[bytes, bytes]]
# Bodies up to this size are not worth counting: every open connection may hold one.
_SMALL = 2**16


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
        arrival: `time.perf_counter()` when its first byte was read; the deadline counts from there.
        model: The version that answers, once the dialect knows it.
        rows: How many samples it carried.
        request_id: The client's, or ours; known when it is answered.
        held: Bytes of its body that count towards what all bodies may take.
        headers: By lower-case names; of several of one name the first.
        shortcut: How the next request with the same head may be answered, if the dialect has said so.
    """

    __slots__ = (
        "_limit",
        "_receive",
        "_stats",
        "answer",
        "arrival",
        "headers",
        "held",
        "model",
        "request_id",
        "rows",
        "scope",
        "shortcut",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        limit_bytes: int,
        stats: ServerStats,
        headers: dict[bytes, bytes] | None = None,
    ) -> None:
        self.scope = scope
        self.arrival: float = scope.get("arrival") or time.perf_counter()
        self.model: ServedModel | None = None
        self.rows = 0
        self.request_id = ""
        self.answer: Answer | None = None
        self.held = 0
        self.headers: dict[bytes, bytes] = dict(reversed(scope["headers"])) if headers is None else headers
        self.shortcut: Shortcut | None = None
        self._receive = receive
        self._limit = limit_bytes
        self._stats = stats

    @property
    def method(self) -> str:
        """The HTTP method, in capitals."""
        method: str = self.scope["method"]
        return method

    def header(self, name: bytes) -> str | None:
        """Returns a header by its lower-case name."""
        value = self.headers.get(name)
        return None if value is None else str(value, "latin-1")

    def all_headers(self, name: bytes) -> list[str]:
        """Returns every header of a lower-case name, in order."""
        return [str(value, "latin-1") for key, value in self.scope["headers"] if key == name]

    def patience_s(self) -> float | None:
        """Returns how long after its arrival the client is ready to wait, None if it did not say."""
        if PREFER not in self.headers and ENVOY not in self.headers:
            return None
        return patience_s(self.header(PREFER), self.header(ENVOY))

    def deadline(self, most_s: float) -> float:
        """Returns when the answer is of no use any more, by `time.perf_counter()`.

        Args:
            most_s: What the server allows; the client may have asked for less.
        """
        patience = self.patience_s()
        return self.arrival + (most_s if patience is None else min(most_s, patience))

    def query(self) -> dict[str, str]:
        """Returns the query parameters; of several values the last."""
        text = self.scope["query_string"]
        return {key: values[-1] for key, values in parse_qs(str(text, "latin-1")).items()} if text else {}

    def path_parameter(self, name: str) -> str:
        """Returns a part of the address that the route names."""
        return str(self.scope["path_params"][name])

    async def body(self, packed: bool = False) -> bytes:
        """Reads the whole body.

        Args:
            packed: Takes it compressed as well, and leaves it so.

        Raises:
            BodyTooLarge: it is longer than MODEL_SERVER_MAX_BODY_BYTES; the rest is not read.
            UnsupportedMedia: it is compressed, and not `packed`.
            Overloaded: the bodies of all requests together take MODEL_SERVER_BODIES_BYTES already.
            ClientGone: the client hung up.
        """
        length, encoding = self.headers.get(b"content-length"), self.headers.get(b"content-encoding")
        if length is not None and length.isdigit():
            size = int(length.lstrip(b"0")[:20] or b"0")  # zeros in front may be thousands
            if size > self._limit:
                raise BodyTooLarge(self._too_large())
            self.hold(size)
        if encoding is not None and not packed and encoding.lower() != b"identity":
            raise UnsupportedMedia("This server takes bodies without Content-Encoding only.")
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self._limit:
                raise BodyTooLarge(self._too_large())
            return body
        chunks = [body]
        size = len(body)
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            chunks.append(chunk)
            size += len(chunk)
            if size > self._limit:
                raise BodyTooLarge(self._too_large())
            self.hold(size)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def hold(self, size: int) -> None:
        """Counts a long body towards what all bodies may take.

        Raises:
            Overloaded: it is too much for that.
        """
        more = size - self.held
        if size <= _SMALL or more <= 0:
            return
        stats = self._stats
        if stats.body_bytes + more > stats.most_body_bytes and stats.body_bytes:
            raise Overloaded("The server holds as many long bodies as it may. Try again later, or send fewer samples.")
        stats.body_bytes += more
        self.held = size

    def release(self) -> None:
        """Gives back what its body took of the memory of all bodies."""
        if self.held:
            self._stats.body_bytes -= self.held
            self.held = 0

    def _too_large(self) -> str:
        return f"The body is longer than {self._limit} bytes (MODEL_SERVER_MAX_BODY_BYTES); send fewer samples at once."


Handler = Callable[[Call], Awaitable[Reply]]
# Takes a call with its body, and what is to hear the reply or the error; False if it takes the usual way after all.
Shortcut = Callable[[Call, memoryview, Callable[[Reply | Exception], None]], bool]
