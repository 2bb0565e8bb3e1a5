"""What all dialects share: a dialect parses a `Call`, asks the engine, and encodes a `Reply`.

It also says how its errors look. Everything that is the same for all of them happens in `endpoint`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
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
from services.model_server.protocols.call import JSON, Call, ClientGone, Handler, Headers, Reply
from services.model_server.protocols.endpoint import Endpoint
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

__all__ = ["CODES", "JSON", "Call", "ClientGone", "Dialect", "Endpoint", "Handler", "Headers", "Reply"]


class Dialect(ABC):
    """One way to talk to the server. Subclasses hold the parsing and encoding; none of them computes.

    Attributes:
        name: How metrics and the log call it.
        codes: Error type to HTTP status; an error gets the code of its nearest listed ancestor, else 500.
    """

    name: ClassVar[str]
    codes: ClassVar[Mapping[type[ModelServerError], int]] = CODES

    def __init__(self, engine: Engine, settings: Settings, log: EventLog) -> None:
        self.engine = engine
        self.settings = settings
        self.log = log

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

    async def predict(self, call: Call, model: ServedModel, rows: Any, as_is: bool = False) -> Answer:
        """Asks the engine and remembers on the call what the headers will say.

        Args:
            call: The request.
            model: What it asks.
            rows: (n, *sample shape).
            as_is: Takes values on another scale than training's, as `?scale=as-is` does.
        """
        call.rows = len(rows) if rows.ndim else 0
        patience_s = call.patience_s()
        try:
            call.answer = await self.engine.predict(model, rows, call.arrival, as_is, patience_s)
        except OtherScale:
            if call.query().get("scale") != AS_IS:  # looked up here only: right values need not pay for it
                raise
            call.answer = await self.engine.predict(model, rows, call.arrival, True, patience_s)
        return call.answer
