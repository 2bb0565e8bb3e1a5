"""What all dialects share: a dialect parses a `Call`, asks the engine, and encodes a `Reply`.

It also says how its errors look. Everything that is the same for all of them happens in `endpoint`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import orjson
from numpy.typing import NDArray
from starlette.routing import BaseRoute

from services.model_server.engine import Answer, Engine
from services.model_server.errors import (
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    ModelServerError,
    NotReady,
    OtherScale,
    Overloaded,
    Unauthorized,
    UnknownAddress,
    UnknownModel,
    UnknownRequest,
    UnsupportedMedia,
    WrongMethod,
)
from services.model_server.events import EventLog
from services.model_server.keys import ApiKeys
from services.model_server.protocols.call import JSON, Call, ClientGone, Handler, Headers, Reply
from services.model_server.protocols.endpoint import Endpoint
from services.model_server.protocols.unpacking import unpacked
from services.model_server.scale import AS_IS
from services.model_server.served import ServedModel
from services.model_server.settings import Settings

CODES: Mapping[type[ModelServerError], int] = {
    BadRequest: 400,
    Unauthorized: 401,
    UnknownModel: 404,
    UnknownRequest: 404,
    UnknownAddress: 404,
    WrongMethod: 405,
    BodyTooLarge: 413,
    UnsupportedMedia: 415,
    Overloaded: 429,
    NotReady: 503,
    DeadlineExceeded: 504,
    ModelServerError: 500,
}
"""What HTTP itself means by its statuses; a dialect that follows another server has its own."""

__all__ = ["CODES", "JSON", "Call", "ClientGone", "Dialect", "Endpoint", "Handler", "Headers", "Prepared", "Reply"]

# A longer body is not read twice, as it may have to be where the short way turns out not to be free.
SHORT_BYTES = 1 << 16
_ENCODING = b"content-encoding"


class Prepared(NamedTuple):
    """A request that is read.

    Attributes:
        rows: (n, *sample shape) in the contract's dtype.
        write: Makes the reply of the answer.
        as_is: Takes values on another scale than training's, as `?scale=as-is` does.
    """

    rows: NDArray[Any]
    write: Callable[[Answer], Reply]
    as_is: bool = False


Find = Callable[[Call], ServedModel]
# None if it takes longer than a turn of the event loop may.
Read = Callable[[Call, ServedModel, bytes | memoryview], Prepared | None]


class Dialect(ABC):
    """One way to talk to the server. Subclasses hold the parsing and encoding; none of them computes.

    Attributes:
        name: How metrics and the log call it.
        codes: Error type to HTTP status; an error gets the code of its nearest listed ancestor, else 500.
    """

    name: ClassVar[str]
    codes: ClassVar[Mapping[type[ModelServerError], int]] = CODES

    def __init__(self, engine: Engine, settings: Settings, log: EventLog, keys: ApiKeys | None) -> None:
        """Takes what all dialects of an application share.

        Args:
            engine: Computes.
            settings: All settings.
            log: Where events go.
            keys: What requests must carry, the same object for every address; None if they need none.
        """
        self.engine = engine
        self.settings = settings
        self.log = log
        self.keys = keys

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """Returns the addresses of this dialect; `app` puts them behind each other."""

    def error_body(self, error: Exception, status: int) -> Reply:
        """Encodes an error as clients of this dialect expect it: `{"error": message}`, unless it has a form of its own.

        Called for every exception of a handler.
        """
        return Reply(orjson.dumps({"error": str(error)}), status)

    def status_of(self, error: Exception) -> int:
        """Returns the HTTP status of an error."""
        return next((self.codes[kind] for kind in type(error).__mro__ if kind in self.codes), 500)

    def endpoint(self, handler: Handler, methods: str = "", guarded: bool = True) -> Endpoint:
        """Wraps a handler for a route; `methods` like "GET" or "GET, HEAD", none for any."""
        return Endpoint(self, handler, methods, guarded)

    async def body(self, call: Call) -> bytes:
        """Reads the whole body, and unpacks it if it came by gzip or deflate.

        Raises:
            BodyTooLarge: it is longer than MODEL_SERVER_MAX_BODY_BYTES, as it comes or unpacked.
            UnsupportedMedia: it is packed in another way.
            BadRequest: it cannot be unpacked.
            Overloaded, ClientGone: as `Call.body`.
        """
        body = await call.body(packed=True)
        if _ENCODING in call.headers:
            body = await unpacked(body, call.header(_ENCODING), self.settings.max_body_bytes)
            call.hold(len(body))
        return body

    async def predict(self, call: Call, model: ServedModel, asked: Prepared) -> Reply:
        """Asks the engine, and remembers on the call what the headers will say."""
        rows, patience_s = asked.rows, call.patience_s()
        call.rows = len(rows) if rows.ndim else 0
        try:
            call.answer = await self.engine.predict(model, rows, call.arrival, asked.as_is, patience_s)
        except OtherScale:
            if not _takes_any_scale(call):
                raise
            call.answer = await self.engine.predict(model, rows, call.arrival, True, patience_s)
        return asked.write(call.answer)

    def offer(self, call: Call, find: Find, read: Read, most_bytes: int = SHORT_BYTES) -> None:
        """Lets the next requests with the head of this one be answered by plain calls, if they are read by these two.

        Not those whose bodies are packed: these may become long, and are unpacked in a thread then.

        Args:
            call: This request.
            find: Says which model answers.
            read: Reads a body. What it raises, the usual way raises as well.
            most_bytes: A longer body takes the usual way.
        """
        if _ENCODING not in call.headers:
            call.shortcut = partial(self._soon, find, read, most_bytes)

    def _soon(
        self,
        find: Find,
        read: Read,
        most_bytes: int,
        call: Call,
        body: memoryview,
        tell: Callable[[Reply | Exception], None],
    ) -> bool:
        """Does as `predict`, if that is over within this turn of the event loop and the next one."""
        if len(body) > most_bytes:
            return False
        model = find(call)
        if not model.batcher.has_room(1):  # asked before anything is read for nothing
            return False
        asked = read(call, model, body)
        if asked is None:
            return False
        rows, write, as_is = asked
        call.model, call.rows = model, len(rows) if rows.ndim else 0
        if not model.batcher.has_room(call.rows):
            return False

        def answered(answer: Answer | Exception) -> None:
            if isinstance(answer, Exception):
                tell(answer)
                return
            call.answer = answer
            try:
                reply = write(answer)
            except Exception as error:  # the endpoint tells it, as it does for a request of its own
                tell(error)
            else:
                tell(reply)

        patience_s = call.patience_s()
        try:
            return self.engine.predict_soon(model, rows, call.arrival, answered, as_is, patience_s)
        except OtherScale:
            if not _takes_any_scale(call):
                raise
            return self.engine.predict_soon(model, rows, call.arrival, answered, True, patience_s)


def _takes_any_scale(call: Call) -> bool:
    """Whether the client says so; asked where it matters only: right values need not pay for it."""
    return call.query().get("scale") == AS_IS
