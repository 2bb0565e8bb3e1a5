"""The Open Inference Protocol V2 (KServe V2, Triton) under /v2: health, metadata, inference, repository, statistics.

The binary tensor extension, the classification extension, and bodies packed by gzip or deflate are taken. Error bodies
and codes are Triton's, where it has one for the case: 400 what is wrong with a request, 404 what is not there, 501 what
this server leaves to others, 503 what may work later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache, partial
from typing import Any, ClassVar

import orjson
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from services.model_server.engine import Engine
from services.model_server.errors import (
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    ModelServerError,
    NotOffered,
    NotReady,
    Overloaded,
    Unauthorized,
    UnknownAddress,
    UnknownModel,
    UnknownVersion,
    UnsupportedMedia,
    WrongMethod,
)
from services.model_server.events import EventLog
from services.model_server.keys import ApiKeys
from services.model_server.protocols.base import SHORT_BYTES, Call, Dialect, Reply
from services.model_server.protocols.open_inference.addresses import OPEN, Address, check_address, read_address
from services.model_server.protocols.open_inference.configuration import describe_configuration
from services.model_server.protocols.open_inference.framing import HEADER
from services.model_server.protocols.open_inference.metadata import (
    SERVER,
    describe_model,
    list_models,
    repository_index,
)
from services.model_server.protocols.open_inference.reading import read_body
from services.model_server.protocols.open_inference.request import shown
from services.model_server.protocols.open_inference.statistics import describe_stats
from services.model_server.protocols.probes import ALIVE, readiness
from services.model_server.protocols.tensors import load_json
from services.model_server.protocols.unpacking import ENCODINGS
from services.model_server.served import ServedModel
from services.model_server.settings import Settings

# Longer addresses name no model: the registry's names have at most 250 characters.
_LONGEST_PATH = 2048


class OpenInference(Dialect):
    """`/v2/...` as the protocol and Triton's extensions have it."""

    name = "open_inference"
    codes: ClassVar = {
        BadRequest: 400,
        Unauthorized: 401,
        UnknownAddress: 404,
        UnknownModel: 404,
        WrongMethod: 405,
        BodyTooLarge: 413,
        UnsupportedMedia: 415,
        NotOffered: 501,
        NotReady: 503,
        Overloaded: 503,
        DeadlineExceeded: 503,
        ModelServerError: 500,
    }

    def __init__(self, engine: Engine, settings: Settings, log: EventLog, keys: ApiKeys | None) -> None:
        super().__init__(engine, settings, log, keys)
        self._guarded = self.endpoint(self.handle)
        self._open = self.endpoint(self.handle, guarded=False)

    def routes(self) -> list[BaseRoute]:
        """Takes everything under /v2: the dialect has its own grammar and its own answer to what does not fit."""
        return [Route("/v2", self._guarded), Mount("/v2", app=self.enter)]

    @property
    def enter(self) -> Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]:
        """The way in: the probes need no API key, everything else does, if there are keys."""
        if not self._guarded.guarded:
            return self._guarded

        def enter(scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
            address = _address(_raw(scope))
            way = self._open if address is not None and address.verb in OPEN else self._guarded
            return way(scope, receive, send)

        return enter

    def error_body(self, error: Exception, status: int) -> Reply:
        """`{"error": message}`."""
        headers = ((b"accept-encoding", ENCODINGS),) if isinstance(error, UnsupportedMedia) else ()
        return Reply(orjson.dumps({"error": str(error)}), status, headers=headers)

    def handle(self, call: Call) -> Awaitable[Reply]:
        """Answers any address under /v2."""
        address = _checked(_raw(call.scope), call.method)
        return self._infer(call, address) if address.verb == "infer" else self._tell(call, address)

    async def _tell(self, call: Call, address: Address) -> Reply:
        match address.verb:
            case "live":
                return Reply(ALIVE)
            case "server_ready":
                return readiness(self.engine)
            case "server":
                return _json(SERVER)
            case "ready":
                return self._ready(call, address)
            case "metadata":
                model = call.model = self._find(address)
                return _json(describe_model(model, self.engine))
            case "config":
                model = call.model = self._find(address)
                return _json(describe_configuration(model, self.settings.max_batch))
            case "models":
                return _json(list_models(self.engine))
            case "stats":
                return self._statistics(address)
            case "index":
                return await self._index(call)
        raise NotOffered(
            f"Models are not {address.verb}ed by call: this server serves what the registry's aliases and "
            "MODEL_SERVER_MODELS name. Promote a version, or move its alias, to change that."
        )

    async def _infer(self, call: Call, address: Address) -> Reply:
        body = await self.body(call)
        model = call.model = self._find(address)
        header = call.header(HEADER)
        read = partial(read_body, header)
        most_bytes = SHORT_BYTES if header is None else self.settings.max_body_bytes  # bytes are not read twice
        self.offer(call, lambda _: self._find(address), read, most_bytes)
        return await self.predict(call, model, read(call, model, body))

    def _find(self, address: Address) -> ServedModel:
        """Finds a model; says in Triton's words that there is none."""
        try:
            return self.engine.find(address.name, address.version)
        except UnknownVersion:
            loaded = ", ".join(self._versions(address.name))
            raise UnknownVersion(
                f"Request for unknown model: '{shown(address.name)}' version {address.version} is not found; "
                f"loaded: {loaded}."
            ) from None
        except UnknownModel:
            raise UnknownModel(f"Request for unknown model: '{shown(address.name)}' is not found.") from None

    def _versions(self, name: str) -> list[str]:
        slots = self.engine.slots_of(name)
        return sorted({slot.served.version for slot in slots if slot.served is not None}, key=int)

    def _ready(self, call: Call, address: Address) -> Reply:
        """200 if the model answers; what is not ready is told with the same keys, for clients that read the body."""
        try:
            model = self._find(address)
            if self.engine.draining:
                raise NotReady("The server is shutting down.")
        except NotReady as error:
            return _json({"name": address.name, "ready": False, "error": str(error)}, 503)
        call.model = model
        return _json({"name": model.name, "ready": True})

    def _statistics(self, address: Address) -> Reply:
        if not address.name:
            models = list(self.engine.loaded())
        elif address.version is not None:
            models = [self._find(address)]
        else:
            self._find(address)
            models = [model for model in self.engine.loaded() if model.name == address.name]
        entries = {(model.name, model.version): describe_stats(model.stats) for model in models}
        return _json({"model_stats": list(entries.values())})

    async def _index(self, call: Call) -> Reply:
        body = await call.body()
        request: Any = load_json(body) if body.strip() else {}
        ready = request.get("ready", False) if isinstance(request, dict) else None
        if not isinstance(ready, bool):
            raise BadRequest("The body must be empty, or an object in which 'ready' is true or false.")
        return _json(repository_index(self.engine, ready))


def _raw(scope: Scope) -> bytes | str:
    raw: bytes | str = scope.get("raw_path") or scope["path"]
    return raw if len(raw) <= _LONGEST_PATH else b""


@lru_cache(maxsize=1024)
def _address(raw: bytes | str) -> Address | None:
    return read_address(str(raw, "latin-1").partition("?")[0] if isinstance(raw, bytes) else raw)


@lru_cache(maxsize=1024)
def _checked(raw: bytes | str, method: str) -> Address:
    return check_address(_address(raw), method)


def _json(body: Any, status: int = 200) -> Reply:
    return Reply(orjson.dumps(body), status)
