"""MLflow's scoring dialect: /invocations, /ping, /health, /version, with JSON bodies, and CSV for tables.

Where `mlflow models serve` crashes (no Content-Type, an empty batch), this answers 4xx in MLflow's own error shape. A
server of several models takes the first of MODEL_SERVER_MODELS, or the one that a `model` header or ?model= names.
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import ServedModel
from services.model_server.errors import (
    BadInput,
    BadRequest,
    BodyTooLarge,
    DeadlineExceeded,
    ModelServerError,
    NotReady,
    Overloaded,
    Unauthorized,
    UnknownModel,
    UnsupportedMedia,
    WrongMethod,
)
from services.model_server.package import Contract, TensorSpec
from services.model_server.protocols.base import Call, Dialect, Reply
from services.model_server.protocols.frames import read_csv, read_frame
from services.model_server.protocols.tables import read_table
from services.model_server.protocols.tensors import (
    NOT_FINITE,
    Array,
    dump_array,
    has_nulls,
    load_json,
    refuse_booleans,
    to_array,
)
from services.model_server.settings import ANY_MODEL

# The release whose scoring server this dialect was held against; clients read it to choose a request format.
SCORING_VERSION = b"3.17.2"
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Mlflow(Dialect):
    """`/invocations` as `mlflow models serve` answers it, without data frames underneath."""

    name = "mlflow"
    codes: ClassVar = {
        BadRequest: 400,
        Unauthorized: 401,
        UnknownModel: 404,
        WrongMethod: 405,
        BodyTooLarge: 413,
        UnsupportedMedia: 415,
        Overloaded: 429,
        NotReady: 503,
        DeadlineExceeded: 504,
        ModelServerError: 500,
    }
    error_codes: ClassVar = {
        401: "UNAUTHENTICATED",
        404: "RESOURCE_DOES_NOT_EXIST",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL_ERROR",
        503: "TEMPORARILY_UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }

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
        return Reply(orjson.dumps({"error_code": code, "message": str(error)}), status)

    async def ping(self, _: Call) -> Reply:
        """200 when a model answers, else 404."""
        return Reply(b"\n", 200 if self.engine.ready else 404)

    async def version(self, _: Call) -> Reply:
        """The MLflow release whose format this is."""
        return Reply(SCORING_VERSION)

    async def invocations(self, call: Call) -> Reply:
        """Answers `{"predictions": [[...], ...]}`."""
        kind = _content_type(call.header(b"content-type"))
        body = await call.body()
        model = call.model = self._choose(call)
        if kind == "application/json":
            rows = _parse(load_json(body, lenient=True), model.contract, body)
        elif kind == "text/csv" and model.contract.columns:
            rows = read_csv(body, model.contract)
        else:
            takes = "rows as application/json or text/csv" if model.contract.columns else "tensors as application/json"
            raise BadRequest(f"This model takes {takes}, not {kind}.")
        answer = await self.predict(call, model, rows)
        encoded = dump_array(answer.outputs)
        return Reply(b'{"predictions":%b}' % encoded, headers=(NOT_FINITE,) if has_nulls(encoded) else ())

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
            f"This predictor only supports the content types application/json and text/csv. Got '{content_type[:256]}'."
        )
    for parameter in filter(None, parameters):
        if parameter.replace('"', "") != "charset=utf-8":
            raise UnsupportedMedia(f"The only content type parameter is charset=utf-8. Got '{parameter[:256]}'.")
    return kind


def _parse(request: Any, contract: Contract, body: bytes) -> Array:
    """Reads the one format that the request uses into rows (n, *sample shape)."""
    wanted = f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMATS)}"
    if not isinstance(request, dict):
        raise BadRequest(f"{wanted}. Received a {type(request).__name__}.")
    used = [key for key in FORMATS if key in request]
    if len(used) != 1:
        raise BadRequest(f"{wanted}. Received dictionary with input fields: {', '.join(request)[:256] or 'none'}.")
    if "params" in request and not isinstance(request["params"] or {}, dict):
        raise BadRequest("'params' must be a dictionary.")
    value, spec = request[used[0]], contract.input
    if used[0] in ("dataframe_split", "dataframe_records"):
        columns, data = _split(value) if used[0] == "dataframe_split" else _records(value)
        _check_frame(columns, data)
        if contract.columns:
            return read_frame(columns, data, contract, body)
        refuse_booleans(body, data, spec)
        return _tensor_of_frame(data, spec)
    if used[0] == "instances" and isinstance(value, list) and value and isinstance(value[0], dict):
        if not all(isinstance(item, dict) for item in value):
            raise BadRequest("'instances' must be all tensors or all objects.")
        if not contract.columns:
            value = [_only(item, spec) for item in value]
    if contract.columns:
        rows, single = read_table(value, contract, body, columnar=used[0] == "inputs")
        if single:
            raise BadInput(f"'{used[0]}' has one row without its list; this dialect takes a list of rows.")
        return rows
    if used[0] == "inputs" and isinstance(value, dict):
        value = _only(value, spec)
    refuse_booleans(body, value, spec)
    return to_array(value, spec)


def _only(value: dict[str, Any], spec: TensorSpec) -> Any:
    if value.keys() != {spec.name}:
        got = ", ".join(sorted(value))[:256] or "none"
        raise BadInput(
            f"Failed to enforce schema: this model takes the input '{spec.name}' and nothing else, got: {got}."
        )
    return value[spec.name]


def _split(value: Any) -> tuple[list[Any] | None, list[Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise BadRequest(
            "'dataframe_split' must be an object with 'data', a list of rows, and may have 'columns' and 'index'."
        )
    columns = value.get("columns")
    if columns is not None and not isinstance(columns, list):
        raise BadRequest("'columns' of 'dataframe_split' must be a list.")
    return columns, value["data"]


def _records(value: Any) -> tuple[list[Any] | None, list[Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise BadRequest("'dataframe_records' must be a list of objects, one for each row.")
    columns = list(value[0]) if value else []
    if any(row.keys() != value[0].keys() for row in value):
        raise BadRequest("All rows of 'dataframe_records' must have the same columns.")
    return columns, [[row[column] for column in columns] for row in value]


def _check_frame(columns: list[Any] | None, data: list[Any]) -> None:
    if not all(isinstance(row, list) for row in data):
        raise BadRequest("Every row of 'data' must be a list of cells.")
    widths = {len(row) for row in data}
    if len(widths) > 1 or (columns is not None and widths and widths != {len(columns)}):
        raise BadRequest("Every row of 'data' must have as many cells as there are columns.")


def _tensor_of_frame(data: list[Any], spec: TensorSpec) -> Array:
    """Reads rows of cells: one cell for every number of a sample in row-major order, or one column of nested lists."""
    if data and len(data[0]) == 1 and isinstance(data[0][0], list):
        return to_array([row[0] for row in data], spec, nulls=True)
    rows = to_array(data, spec, nulls=True)
    if rows.ndim == 2 and rows.shape[1] == spec.sample_size:
        return rows.reshape(len(rows), *(size or 0 for size in spec.sample_shape))
    return rows
