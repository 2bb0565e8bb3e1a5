"""TF Serving's REST dialect."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from services.model_server.errors import ModelServerError, Unauthorized
from services.model_server.protocols.openapi.models import Described
from services.model_server.protocols.openapi.operations import SCALE, Paths, body, operation
from services.model_server.protocols.openapi.schemas import (
    NUMBER,
    TEXT,
    Schema,
    cell,
    items_of,
    label,
    named_row,
    object_of,
    one_of,
    tensor,
)
from services.model_server.protocols.tf_serving import TfServing

_TAG = TfServing.name
# What can go wrong where no model is asked.
_SERVER_CODES = {kind: TfServing.codes[kind] for kind in (Unauthorized, ModelServerError)}
_STATUS = object_of(
    {
        "model_version_status": items_of(
            object_of(
                {
                    "version": TEXT,
                    "state": {"type": "string", "enum": ["LOADING", "AVAILABLE", "END"]},
                    "status": object_of({"error_code": TEXT, "error_message": TEXT}),
                }
            ),
            least=0,
        ),
        "name": TEXT,
        "ready": {"type": "boolean"},
    }
)


def server_paths() -> Paths:
    """Returns what is not of one model: the list of them, which is KServe's."""
    models = object_of({"models": items_of(TEXT, least=0)})
    return {"/v1/models": {"get": operation(f"{_TAG}.models", _TAG, "The names of all models.", models, _SERVER_CODES)}}


def paths(model: Described) -> Paths:
    """Returns the addresses of one version."""
    found: Paths = {}
    starts = [(f"/v1/models/{model.name}/versions/{model.version}", "version")]
    starts += [(f"/v1/models/{model.name}/labels/{quote(label, safe='')}", f"label.{label}") for label in model.labels]
    if model.default:
        starts.append((f"/v1/models/{model.name}", "name"))
    for start, by in starts:
        found[start] = {"get": _operation(model, by, "status", "Whether it is loaded.", _STATUS, unready=_STATUS)}
        found[f"{start}/metadata"] = {
            "get": _operation(model, by, "metadata", "Its tensors.", object_of({}, closed=False))
        }
        found[f"{start}:predict"] = {"post": _predict(model, by)}
        verb = "regress" if model.contract.task == "regression" else "classify"
        found[f"{start}:{verb}"] = {"post": _examples(model, by, verb)}
    return found


def _operation(model: Described, by: str, verb: str, summary: str, answer: Schema, **more: Any) -> dict[str, Any]:
    return operation(f"{_TAG}.{model.key}.{by}.{verb}", _TAG, summary, answer, TfServing.codes, **more)


def _predict(model: Described, by: str) -> dict[str, Any]:
    contract, one = model.contract, model.schema("sample")
    if contract.columns:
        by_column = {column.name: items_of(cell(column)) for column in contract.columns}
        inputs = one_of(model.schema("samples"), object_of(by_column))
        instances = model.schema("samples")
    else:
        named = object_of({contract.input.name: one})
        instances = one_of(model.schema("samples"), items_of(named))
        batch = model.schema("samples")
        inputs = one_of(batch, object_of({contract.input.name: batch}))
    single = one_of(one, model.schema("samples"))
    request = one_of(
        _request("predict", {"instances": instances if contract.columns else one_of(instances, one)}),
        _request("predict", {"inputs": one_of(inputs, single)}),
    )
    given, several = model.schema("outputs"), items_of(model.schema("outputs"))
    answer = one_of(
        object_of({"predictions": one_of(several, given)}),
        object_of({"outputs": one_of(several, given)}),
    )
    example = model.example()
    return _operation(
        model,
        by,
        "predict",
        "Predicts: rows as `instances`, columns as `inputs`. One sample alone is answered in kind. Outputs that are "
        "not finite come as NaN and Infinity, which are no JSON, as from TensorFlow Serving.",
        answer,
        request=body({"application/json": request}, None if example is None else {"instances": [example]}),
        parameters=[SCALE],
    )


def _examples(model: Described, by: str, verb: str) -> dict[str, Any]:
    contract = model.contract
    example = named_row(contract) if contract.columns else object_of({contract.input.name: tensor(contract.input)})
    if verb == "regress":
        results = items_of(NUMBER)
    else:
        pair = items_of(one_of(label(contract), NUMBER), 2)  # label, score
        results = items_of(items_of(pair, len(contract.labels)))
    return _operation(
        model,
        by,
        verb,
        "Answers examples by feature name.",
        object_of({"results": results}),
        request=body({"application/json": _request(verb, {"examples": items_of(example)})}),
        parameters=[SCALE],
    )


def _request(verb: str, properties: dict[str, Schema]) -> Schema:
    signature = {"type": "string", "enum": ["serving_default", "", f"tensorflow/serving/{verb}"]}
    return object_of({**properties, "signature_name": signature}, ("signature_name",), closed=False)
