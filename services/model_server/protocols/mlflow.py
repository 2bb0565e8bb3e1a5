"""MLflow's scoring dialect: /invocations, /ping, /health, /version, with JSON bodies, and CSV for tables.

Where `mlflow models serve` crashes (no Content-Type, an empty batch), this answers 4xx in MLflow's own error shape. A
server of several models takes the first of MODEL_SERVER_MODELS, or the one that a `model` header or ?model= names.
"""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from starlette.routing import BaseRoute, Route

from services.model_server.engine import Answer, Engine
from services.model_server.errors import (
    BadInput,
    BadRequest,
    NotReady,
    UnsupportedMedia,
)
from services.model_server.events import EventLog
from services.model_server.keys import ApiKeys
from services.model_server.package import Contract, TensorSpec
from services.model_server.protocols.base import Call, Dialect, Prepared, Reply
from services.model_server.protocols.bulk import Place
from services.model_server.protocols.desk import INLINE_BYTES, Desk
from services.model_server.protocols.frames import known_places, read_csv, read_frame
from services.model_server.protocols.tables import listed, picked, read_table
from services.model_server.protocols.tensors import (
    NOT_FINITE,
    Array,
    as_batch,
    dump_array,
    has_nulls,
    load_samples,
    refuse_booleans,
    to_array,
)
from services.model_server.served import ServedModel
from services.model_server.settings import ANY_MODEL, Settings

# The release whose scoring server this dialect was held against; clients read it to choose a request format.
SCORING_VERSION = b"3.17.2"
_PLACES: tuple[Place, ...] = (("instances",), ("inputs",))
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


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
            self.offer(call, self._choose, _read_json)
            return await self.predict(call, model, _read_json(call, model, body))
        if kind == "text/csv" and model.contract.columns:
            return await self.predict(call, model, Prepared(await self._read_csv(call, body, model.contract), _write))
        takes = "rows as application/json or text/csv" if model.contract.columns else "tensors as application/json"
        raise BadRequest(f"This model takes {takes}, not {kind}.")

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


def _read_json(_: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    body = bytes(body)
    request = load_samples(body, model.contract, _PLACES, tokens=True)
    rows, single = _parse(request, model.contract, body)
    return Prepared(rows, _write_one if single else _write)


def _write(answer: Answer) -> Reply:
    return _told(answer.outputs)


def _write_one(answer: Answer) -> Reply:
    return _told(answer.outputs[0])


def _told(outputs: Array) -> Reply:
    encoded = dump_array(outputs)
    return Reply(b'{"predictions":%b}' % encoded, headers=(NOT_FINITE,) if has_nulls(encoded) else ())


def _parse(request: Any, contract: Contract, body: bytes) -> tuple[Array, bool]:
    """Reads the one format that the request uses.

    Returns:
        Rows (n, *sample shape), and whether it was one sample without its batch dimension, to be answered in kind.
    """
    wanted = f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMATS)}"
    if not isinstance(request, dict):
        raise BadRequest(f"{wanted}. Received a {type(request).__name__}.")
    used = [key for key in FORMATS if key in request]
    if len(used) != 1:
        raise BadRequest(f"{wanted}. Received dictionary with input fields: {listed(list(request), 64)}.")
    if "params" in request and not isinstance(request["params"] or {}, dict):
        raise BadRequest("'params' must be a dictionary.")
    value, spec = request[used[0]], contract.input
    if used[0] in ("dataframe_split", "dataframe_records"):
        columns, data = _split(value) if used[0] == "dataframe_split" else _records(value)
        _check_frame(columns, data)
        if contract.columns:
            if columns is not None and len(places := known_places(columns, contract)) < len(columns):
                columns, data = [columns[place] for place in places], picked(data, places)
            return read_frame(columns, data, contract, body), False
        refuse_booleans(body, data, spec)
        return _tensor_of_frame(data, spec), False
    if used[0] == "instances" and isinstance(value, list) and value and isinstance(value[0], dict):
        if not all(isinstance(item, dict) for item in value):
            raise BadRequest("'instances' must be all tensors or all objects.")
        if not contract.columns:
            value = [_only(item, spec) for item in value]
    if contract.columns:
        rows, single = read_table(_without_more(value, contract), contract, body, columnar=used[0] == "inputs")
        # MLflow itself takes one row by name, and answers it as a list of one.
        return rows, single and not isinstance(value, dict)
    if used[0] == "inputs" and isinstance(value, dict):
        value = _only(value, spec)
    refuse_booleans(body, value, spec)
    return as_batch(to_array(value, spec, nulls=True), contract)


def _without_more(value: Any, contract: Contract) -> Any:
    """Leaves out columns that the model does not have, as MLflow does, unless one of the model's is missing."""
    if isinstance(value, list):
        return [_without_more(row, contract) for row in value] if value and isinstance(value[0], dict) else value
    names = contract.column_names
    if isinstance(value, dict) and len(value) > len(names) and all(name in value for name in names):
        return {name: value[name] for name in names}
    return value


def _only(value: dict[str, Any], spec: TensorSpec) -> Any:
    if spec.name not in value:
        got = listed(sorted(value), 96)
        raise BadInput(f"Failed to enforce schema: this model takes the input '{spec.name}', got: {got}.")
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
