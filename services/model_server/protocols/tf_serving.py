"""TensorFlow Serving's REST dialect, under /v1: status, metadata, predict, classify, regress; KServe V1 reads it too.

Two differences: a single sample without batch dimension is taken and answered in kind, and the status of a model that
is not ready comes with code 503 (KServe looks at the code, TF Serving's clients look at the body).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple
from urllib.parse import unquote

import numpy as np
import orjson
from starlette.routing import BaseRoute, Mount

from services.model_server.engine import Answer
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
)
from services.model_server.package import Contract, TensorSpec
from services.model_server.protocols.base import Call, Dialect, Prepared, Reply
from services.model_server.protocols.bulk import Numbers, Place
from services.model_server.protocols.tables import listed, read_table
from services.model_server.protocols.tensors import (
    Array,
    as_batch,
    dump_array,
    has_nulls,
    load_json,
    load_samples,
    refuse_booleans,
    to_array,
)
from services.model_server.served import ServedModel, Slot, State

_ADDRESS = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"(?:(?P<metadata>/metadata)|:(?P<verb>predict|classify|regress))?",
    re.IGNORECASE,
)
_SIGNATURE = "serving_default"
_PLACES: tuple[Place, ...] = (("instances",), ("inputs",))
_DTYPES = {
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "int64": "DT_INT64",
    "int32": "DT_INT32",
    "uint8": "DT_UINT8",
    "string": "DT_STRING",
}
# Which tasks TF Serving's two calls for examples answer.
_TASKS = {"classify": ("multiclass", "binary"), "regress": ("regression",)}
_KINDS = {"classify": "classification", "regress": "regression"}


class _Address(NamedTuple):
    name: str
    version: str | None
    label: str | None
    verb: str  # status, metadata, predict, classify or regress


@lru_cache(maxsize=1024)
def _parse_address(method: str, path: str) -> _Address:
    """Reads an address like /v1/models/digits/versions/3:predict; parts are percent-decoded after the cut.

    Raises:
        BadRequest: TF Serving's sentence for everything under /v1 that is not one of its addresses.
    """
    if method == "GET" and re.fullmatch(r"/v1/models/?", path, re.IGNORECASE):
        raise BadRequest("Missing model name in request.")
    match = _ADDRESS.fullmatch(path)
    verb = (match["verb"] or ("metadata" if match["metadata"] else "status")).lower() if match else ""
    if match is None or method != ("GET" if verb in ("status", "metadata") else "POST"):
        raise BadRequest(f"Malformed request: {method} {listed([unquote(path)], 192)}")
    version = match["version"]
    if version is not None:
        digits = version.lstrip("0") or "0"
        if not version.isascii() or not version.isdigit() or len(digits) > 19 or int(digits) >= 2**63:
            raise BadRequest(f"Failed to convert version: {unquote(version)[:64]} to numeric.")
        version = digits
    label = match["label"]
    return _Address(unquote(match["name"]), version, None if label is None else unquote(label), verb)


class TfServing(Dialect):
    """`/v1/models/...` as TF Serving 2.x answers it."""

    name = "tf_serving"
    codes: ClassVar = {
        BadRequest: 400,
        UnsupportedMedia: 400,
        Unauthorized: 401,
        UnknownModel: 404,
        BodyTooLarge: 413,
        Overloaded: 429,
        NotReady: 503,
        DeadlineExceeded: 504,
        ModelServerError: 500,
    }

    def routes(self) -> list[BaseRoute]:
        """Takes everything under /v1: the dialect has its own grammar and its own answer to what does not fit."""
        return [Mount("/v1", app=self.endpoint(self.handle))]

    async def handle(self, call: Call) -> Reply:
        """Answers any address under /v1."""
        raw = call.scope.get("raw_path")
        path = str(raw, "latin-1").partition("?")[0] if raw else call.scope["path"]
        address = _parse_address(call.method, path)
        if address.verb == "status":
            return self._status(address)
        if address.verb == "metadata":
            model = call.model = self._find(address)
            return Reply(orjson.dumps(_metadata(model)))
        body = await call.body()
        model = call.model = self._find(address)
        read = _read_predict if address.verb == "predict" else partial(_read_examples, address.verb)
        self.offer(call, lambda _: self._find(address), read)
        return await self.predict(call, model, read(call, model, body))

    def _find(self, address: _Address) -> ServedModel:
        try:
            return self.engine.find(address.name, address.version, address.label)
        except UnknownModel as error:
            name = listed([address.name])
            wanted = f"Specific({name}, {address.version})" if address.version else f"Latest({name})"
            raise type(error)(f"Servable not found for request: {wanted}") from None

    def _status(self, address: _Address) -> Reply:
        slots = self.engine.slots_of(address.name)
        if not slots:
            raise UnknownModel(f"Could not find any versions of model {listed([address.name])}")
        versions = [
            entry
            for slot in slots
            if address.label is None or slot.ref.alias == address.label
            for entry in _version_status(slot)
            if address.version is None or entry["version"] == address.version
        ]
        if not versions and address.version is not None:
            raise UnknownModel(f"Could not find version {address.version} of model {address.name}")
        if not versions and address.label is not None:
            raise BadRequest(f"Unrecognized servable version label: {listed([address.label])}")
        versions = list({(entry["version"], entry["state"]): entry for entry in versions}.values())
        versions.sort(key=lambda entry: -int(entry["version"]))
        ready = any(entry["state"] == "AVAILABLE" for entry in versions) and not self.engine.draining
        body = {"model_version_status": versions, "name": address.name, "ready": ready}
        return Reply(orjson.dumps(body), 200 if ready else 503)


def _read_predict(_: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    contract, body = model.contract, bytes(body)
    value, key = _value(_checked(load_samples(body, contract, _PLACES, lenient=True)))
    if contract.columns:
        if b'"b64"' in body:
            value = _decoded(value)
        batch, single = read_table(value, contract, body, columnar=key == b"outputs")
    else:
        value = _tensors(value, contract.input, key)
        refuse_booleans(body, value, contract.input)
        batch, single = as_batch(to_array(value, contract.input), contract)

    def write(answer: Answer) -> Reply:
        return Reply(b'{"%b":%b}' % (key, _encode(answer.outputs[0] if single else answer.outputs)))

    return Prepared(batch, write)


def _read_examples(verb: str, _: Call, model: ServedModel, body: bytes | memoryview) -> Prepared:
    contract, body = model.contract, bytes(body)
    if contract.task not in _TASKS[verb]:
        other = next(other for other, tasks in _TASKS.items() if contract.task in tasks)
        raise BadRequest(
            f"Expected {_KINDS[verb]} signature method_name to be tensorflow/serving/{verb}. Was: "
            f"tensorflow/serving/{other}. Model {model.name} is of task {contract.task}: use :{other} or :predict."
        )
    rows = _examples(_checked(load_json(body, lenient=True)), contract, body)

    def write(answer: Answer) -> Reply:
        scores = answer.outputs
        if verb == "regress":
            return Reply(b'{"results":%b}' % _encode(scores[:, 0]))
        if contract.task == "binary":
            scores = np.concatenate([1.0 - scores, scores], axis=1)
        results = [
            [[label, score] for label, score in zip(contract.labels, row, strict=True)] for row in scores.tolist()
        ]
        return Reply(json.dumps({"results": results}).encode())

    return Prepared(rows, write)


def _checked(request: Any) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise BadRequest("Request body must be a JSON object")
    signature = request.get("signature_name", _SIGNATURE)
    if not isinstance(signature, str):
        raise BadRequest("'signature_name' must be a string value.")
    if signature not in (_SIGNATURE, ""):
        raise BadRequest(f'Serving signature name: "{listed([signature], 96)}" not found in signature def')
    return request


def _value(request: dict[str, Any]) -> tuple[Any, bytes]:
    """Returns what is asked about, and the key of the answer: the row format has another one than the column format."""
    if ("instances" in request) == ("inputs" in request):
        both = "Request has both 'inputs' and 'instances'; send one" if "inputs" in request else None
        raise BadRequest(both or "Missing 'inputs' or 'instances' key")
    if "inputs" in request:
        return request["inputs"], b"outputs"
    instances = request["instances"]
    if not isinstance(instances, list | dict | Numbers) or not instances:
        raise BadRequest("'instances' must be a list of one or more samples")
    return instances, b"predictions"


def _tensors(value: Any, spec: TensorSpec, key: bytes) -> Any:
    """Takes the tensors out of objects that name the one input."""
    if key == b"outputs":
        return _named(value, spec) if isinstance(value, dict) else value
    if isinstance(value, dict):
        raise BadRequest("'instances' must be a list of one or more samples")
    if isinstance(value, Numbers):
        return value
    if isinstance(value[0], dict):
        if not all(isinstance(item, dict) for item in value):
            raise BadRequest("'instances' must be all tensors or all objects")
        return [_named(item, spec) for item in value]
    return value


def _examples(request: dict[str, Any], contract: Contract, body: bytes) -> Array:
    """Reads the examples of :classify and :regress; `context` holds features that all of them share."""
    examples, context, spec = request.get("examples"), request.get("context", {}), contract.input
    if not isinstance(examples, list) or not examples or not all(isinstance(item, dict) for item in examples):
        raise BadRequest("Missing 'examples' key: a list of objects, feature name to value or list of values")
    if not isinstance(context, dict):
        raise BadRequest("'context' must be an object, feature name to value or list of values")
    value: list[Any] = [context | example for example in examples] if context else examples
    if contract.columns:
        return read_table(_decoded(value) if b'"b64"' in body else value, contract, body)[0]
    value = [_named(example, spec) for example in value]
    refuse_booleans(body, value, spec)
    rows = to_array(value, spec)
    if spec.sample_size is not None and rows.size == len(rows) * spec.sample_size:
        rows = rows.reshape(len(rows), *(size or 0 for size in spec.sample_shape))  # an Example's features are flat
    return rows


def _decoded(value: Any, levels: int = 4) -> Any:
    """Replaces every `{"b64": text}`, this dialect's other form of a string, by the string.

    `levels` is how deep a table's cells may lie: in a list of rows, by name, as a feature's list.
    """
    if levels == 0 or not isinstance(value, list | dict):
        return value
    if isinstance(value, list):
        return [_decoded(item, levels - 1) for item in value]
    if value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise BadInput(f"'b64' must be UTF-8 text in base64, got {json.dumps(value['b64'])[:96]}.") from None
    return {name: _decoded(item, levels - 1) for name, item in value.items()}


def _named(value: dict[str, Any], spec: TensorSpec) -> Any:
    if value.keys() != {spec.name}:
        got = listed(sorted(value), 96)
        raise BadInput(f"Missing named input: this model takes '{spec.name}' and nothing else, got: {got}.")
    return value[spec.name]


def _encode(outputs: Array) -> bytes:
    encoded = dump_array(outputs)
    if has_nulls(encoded):  # this dialect has tokens for them: NaN, Infinity, -Infinity
        return json.dumps(outputs.tolist()).encode()
    return encoded


def _version_status(slot: Slot) -> list[dict[str, Any]]:
    """Lists what a slot serves, loads or refuses as TF Serving lists versions."""
    entries = []
    if slot.served is not None:
        entries.append(_entry(slot.served.version, State.AVAILABLE.value))
    if slot.rejection is not None:
        entries.append(_entry(slot.rejection.version, "END", "DATA_LOSS", f"REJECTED: {slot.rejection.reason}"))
    elif slot.loading is not None:
        entries.append(_entry(slot.loading, State.LOADING.value))
    return entries


def _entry(version: str, state: str, code: str = "OK", message: str = "") -> dict[str, Any]:
    return {"version": version, "state": state, "status": {"error_code": code, "error_message": message}}


def _metadata(model: ServedModel) -> dict[str, Any]:
    def tensor(spec: TensorSpec, kind: str) -> dict[str, Any]:
        sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape]
        shape = {"dim": sizes, "unknown_rank": False}
        return {"dtype": _DTYPES[spec.dtype], "tensor_shape": shape, "name": f"{kind}_{spec.name}:0"}

    contract = model.contract
    signature = {
        "inputs": {contract.input.name: tensor(contract.input, _SIGNATURE)},
        "outputs": {contract.output.name: tensor(contract.output, "StatefulPartitionedCall")},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        # The double key is TF Serving's own: a map inside a message of the same name.
        "metadata": {"signature_def": {"signature_def": {_SIGNATURE: signature}}},
    }
