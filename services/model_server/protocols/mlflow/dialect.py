"""MLflow's scoring dialect: /invocations, /ping, /health, /version, with JSON bodies, and CSV for tables.

Where `mlflow models serve` crashes (no Content-Type, an empty batch), this answers 4xx in MLflow's own error shape. A
server of several models takes the first of MODEL_SERVER_MODELS, or the one that a `model` header or ?model= names.
"""

from __future__ import annotations

from typing import ClassVar

import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import Engine
from services.model_server.errors import (
    BadInput,
    BadRequest,
    NotReady,
    UnsupportedMedia,
)
from services.model_server.events import EventLog
from services.model_server.keys import ApiKeys
from services.model_server.package import Contract
from services.model_server.protocols.base import Call, Dialect, Prepared, Reply
from services.model_server.protocols.cells import listed
from services.model_server.protocols.desk import INLINE_BYTES, Desk
from services.model_server.protocols.frames import read_csv
from services.model_server.protocols.mlflow.reading import read_json, write
from services.model_server.protocols.tensors import Array
from services.model_server.served import ServedModel
from services.model_server.settings import ANY_MODEL, Settings

# The release whose scoring server this dialect was held against; clients read it to choose a request format.
SCORING_VERSION = b"3.17.2"
# How MLflow classifies its errors, by SQLSTATE and class, if it does. What is no sample of the model fails its schema
# there.
_CLASSES = {
    "BAD_REQUEST": ("KAM00", "INVALID_PARAMETER_VALUE"),
    "INVALID_PARAMETER_VALUE": ("KAM01", "SCHEMA_ENFORCEMENT_FAILED"),
    "RESOURCE_DOES_NOT_EXIST": ("KAM00", "RESOURCE_NOT_FOUND"),
    "INTERNAL_ERROR": ("XXM00", "CLIENT_INTERNAL_ERROR"),
    "TEMPORARILY_UNAVAILABLE": ("XXM00", "CLIENT_INTERNAL_ERROR"),
}


class Mlflow(Dialect):
    """`/invocations` as `mlflow models serve` answers it, without data frames underneath."""

    name = "mlflow"
    error_codes: ClassVar = {
        401: "UNAUTHENTICATED",
        404: "RESOURCE_DOES_NOT_EXIST",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL_ERROR",
        503: "TEMPORARILY_UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }

    def __init__(self, engine: Engine, settings: Settings, log: EventLog, keys: ApiKeys | None) -> None:
        super().__init__(engine, settings, log, keys)
        self._desk = Desk()

    def routes(self) -> list[BaseRoute]:
        """Returns the scoring call and MLflow's probes."""
        return [
            Route("/invocations", self.endpoint(self.invocations, "POST")),
            Route("/ping", self.endpoint(self.ping, "GET, HEAD", guarded=False)),
            Route("/health", self.endpoint(self.ping, "GET, HEAD", guarded=False)),
            Route("/version", self.endpoint(self.version, "GET, HEAD", guarded=False)),
        ]

    def error_body(self, error: Exception, status: int) -> Reply:
        """MLflow's error object; plain text for content types, as MLflow does."""
        if isinstance(error, UnsupportedMedia):
            return Reply(str(error).encode(), status, b"text/plain; charset=utf-8")
        code = "INVALID_PARAMETER_VALUE" if isinstance(error, BadInput) else self.error_codes.get(status, "BAD_REQUEST")
        body = {"error_code": code, "message": str(error)}
        if code in _CLASSES:
            body |= zip(("sqlstate", "error_class"), _CLASSES[code], strict=True)
        return Reply(orjson.dumps(body), status)

    async def ping(self, _: Call) -> Reply:
        """200 when a model answers, else 404."""
        return Reply(b"\n", 200 if self.engine.ready else 404)

    async def version(self, _: Call) -> Reply:
        """The MLflow release whose format this is."""
        return Reply(SCORING_VERSION)

    async def invocations(self, call: Call) -> Reply:
        """Answers `{"predictions": [[...], ...]}`."""
        kind = _content_type(call.header(b"content-type"))
        body = await self.body(call)
        model = call.model = self._choose(call)
        if kind == "application/json":
            self.offer(call, self._choose, read_json)
            return await self._answer(call, model, read_json(call, model, body))
        if kind == "text/csv" and model.contract.columns:
            return await self._answer(call, model, Prepared(await self._read_csv(call, body, model.contract), write))
        takes = "rows as application/json or text/csv" if model.contract.columns else "tensors as application/json"
        raise BadRequest(f"This model takes {takes}, not {kind}.")

    async def _answer(self, call: Call, model: ServedModel, asked: Prepared) -> Reply:
        if model.contract.columns and len(asked.rows) == 0:  # a data frame that has names alone, as pandas may make it
            return Reply(b'{"predictions":[]}')
        return await self.predict(call, model, asked)

    async def _read_csv(self, call: Call, body: bytes, contract: Contract) -> Array:
        if len(body) <= INLINE_BYTES:
            return read_csv(body, contract)
        deadline = call.deadline(self.settings.deadline_s)
        return await self._desk.do(lambda: read_csv(body, contract), len(body), deadline)

    def _choose(self, call: Call) -> ServedModel:
        name = call.header(b"model") or call.header(b"x-model") or call.query().get("model")
        if name is not None:
            return self.engine.find(name)
        first = self.settings.models[0]
        if first.name != ANY_MODEL:
            return self.engine.find(first.name, first.version, first.alias)
        names = list(dict.fromkeys(slot.ref.name for slot in self.engine.slots.values()))
        if len(names) > 1:
            raise BadRequest(
                f"This server has several models ({', '.join(names)}): name one in a `model` header or in ?model=, "
                "or list the default first in MODEL_SERVER_MODELS."
            )
        if not names:
            raise NotReady(" ".join(self.engine.unready_reasons()))
        return self.engine.find(names[0])


def _content_type(content_type: str | None) -> str:
    """Returns the media type of a body that this dialect knows."""
    if content_type is None:
        raise BadRequest("The request has no Content-Type; send Content-Type: application/json.")
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind not in ("application/json", "text/csv", "application/vnd.apache.parquet"):
        raise UnsupportedMedia(
            "This predictor only supports the content types application/json and text/csv. Got "
            f"'{listed([content_type], 96)}'."
        )
    for parameter in filter(None, parameters):
        if parameter.replace('"', "") != "charset=utf-8":
            shown = listed([parameter], 96)
            raise UnsupportedMedia(f"The only content type parameter is charset=utf-8. Got '{shown}'.")
    return kind
