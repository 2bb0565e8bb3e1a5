"""The Open Inference Protocol V2."""

from __future__ import annotations

from typing import Any

from services.model_server.protocols.open_inference import OpenInference
from services.model_server.protocols.open_inference.datatypes import BOOL, FITTING, NAMES, NUMBERS
from services.model_server.protocols.openapi.models import Described
from services.model_server.protocols.openapi.operations import SCALE, Paths, body, operation
from services.model_server.protocols.openapi.schemas import TEXT, Schema, items_of, object_of, one_of

_TAG = OpenInference.name
_NUMERIC = [name for name in NUMBERS if name != BOOL]
_PARAMETERS: Schema = {"type": "object"}
_OPEN = object_of({}, closed=False)
_MODELS = object_of({"models": items_of(TEXT, least=0)}, closed=False)
_CONFIG = object_of(
    {"name": TEXT, "max_batch_size": {"type": "integer"}, "input": items_of(_OPEN), "output": items_of(_OPEN)},
    closed=False,
)
_LIVE = object_of({"live": {"const": True}})
_READY = object_of(
    {"ready": {"type": "boolean"}, "live": {"type": "boolean"}, "reasons": items_of(TEXT, least=0), "error": TEXT},
    ("error", "live", "reasons"),
    closed=False,
)


def server_paths() -> Paths:
    """Returns the addresses of the server."""

    def get(verb: str, summary: str, answer: Schema, **more: Any) -> dict[str, Any]:
        return {"get": operation(f"{_TAG}.{verb}", _TAG, summary, answer, **more)}

    ready = object_of({"ready": {"type": "boolean"}}, ("ready",), closed=False)
    return {
        "/v2": get("server", "What this server is.", _OPEN, codes=OpenInference.codes),
        "/v2/health/live": get("live", "Whether the process answers.", _LIVE, open_to_all=True),
        "/v2/health/ready": get(
            "ready", "Whether a wanted model is loaded and checked.", _READY, unready=_READY, open_to_all=True
        ),
        "/v2/models": get("models", "The names of all models.", _MODELS, codes=OpenInference.codes),
        "/v2/models/stats": get("stats", "Times and counts of all models.", _OPEN, codes=OpenInference.codes),
        "/v2/repository/index": {
            "post": operation(
                f"{_TAG}.index",
                _TAG,
                "What is served, loaded or refused.",
                items_of(_OPEN, least=0),
                OpenInference.codes,
                request=body({"application/json": ready}, required=False),
            )
        },
    }


def paths(model: Described) -> Paths:
    """Returns the addresses of one version."""
    found: Paths = {}
    starts = [(f"/v2/models/{model.name}/versions/{model.version}", "version")]
    if model.default:
        starts.append((f"/v2/models/{model.name}", "name"))
    for start, by in starts:
        key = f"{_TAG}.{model.key}.{by}"
        codes = OpenInference.codes
        found[start] = {"get": operation(f"{key}.metadata", _TAG, "Its tensors.", _OPEN, codes)}
        found[f"{start}/config"] = {
            "get": operation(f"{key}.config", _TAG, "Its tensors, and the most rows of a batch.", _CONFIG, codes)
        }
        found[f"{start}/ready"] = {
            "get": operation(
                f"{key}.ready", _TAG, "Whether it answers.", _READY, codes, unready=_READY, open_to_all=True
            )
        }
        found[f"{start}/stats"] = {"get": operation(f"{key}.stats", _TAG, "Its times and counts.", _OPEN, codes)}
        found[f"{start}/infer"] = {
            "post": operation(
                f"{key}.infer",
                _TAG,
                "Predicts. Tensors may also follow the JSON in binary (Inference-Header-Content-Length).",
                _answer(model),
                codes,
                request=body(
                    {
                        "application/json": _request(model),
                        "application/octet-stream": {"type": "string", "format": "binary"},
                    },
                    _example(model),
                ),
                parameters=[SCALE],
            )
        }
    return found


def _request(model: Described) -> Schema:
    contract = model.contract
    if contract.columns:
        inputs = [
            _tensor(column.name, _NUMERIC if column.type == "number" else ["BYTES"], 1) for column in contract.columns
        ]
        listed: Schema = items_of(one_of(*inputs), len(inputs))
    else:
        tensor = _tensor(contract.input.name, list(FITTING[contract.input.dtype]), len(contract.input.shape))
        listed = items_of(tensor, 1)
    output = object_of({"name": {"const": contract.output.name}, "parameters": _PARAMETERS}, ("parameters",))
    return object_of(
        {
            "id": TEXT,
            "inputs": listed,
            "outputs": items_of(output, least=0),
            "parameters": _PARAMETERS,
        },
        ("id", "outputs", "parameters"),
    )


def _tensor(name: str, datatypes: list[str], rank: int) -> Schema:
    size: Schema = {"type": "integer", "minimum": 0}
    return object_of(
        {
            "name": {"const": name},
            "shape": {**items_of(size), "description": f"{rank} sizes, or without the first one for one sample."},
            "datatype": {"type": "string", "enum": datatypes},
            "data": {"type": "array", "description": "Row-major: flat, or nested as the shape says."},
            "parameters": _PARAMETERS,
        },
        ("parameters", "data"),
    )


def _answer(model: Described) -> Schema:
    contract = model.contract
    output = object_of(
        {
            "name": {"const": contract.output.name},
            "shape": items_of({"type": "integer", "minimum": 0}),
            "datatype": {"type": "string", "enum": [NAMES[contract.output.dtype], "BYTES"]},
            "data": {"type": "array"},
            "parameters": _PARAMETERS,
        },
        ("parameters", "data"),
    )
    return object_of(
        {
            "model_name": {"const": model.served.name},
            "model_version": {"const": model.version},
            "id": TEXT,
            "outputs": items_of(output),
            "parameters": _PARAMETERS,
        },
        ("id", "parameters"),
    )


def _example(model: Described) -> Any:
    sample, contract = model.example(), model.contract
    if sample is None:
        return None
    if contract.columns:
        inputs = [
            {
                "name": column.name,
                "shape": [1],
                "datatype": "FP32" if column.type == "number" else "BYTES",
                "data": [sample[column.name]],
            }
            for column in contract.columns
        ]
    else:
        shape = [1, *model.served.golden.inputs.shape[1:]]
        inputs = [
            {
                "name": contract.input.name,
                "shape": shape,
                "datatype": NAMES[contract.input.dtype],
                "data": [sample],
            }
        ]
    return {"inputs": inputs}
