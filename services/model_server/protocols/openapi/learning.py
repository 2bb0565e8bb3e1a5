"""What mattered to an answer, what traffic has shown, and what was right."""

from __future__ import annotations

from typing import Any

from services.model_server.protocols.explain import Explain
from services.model_server.protocols.openapi.models import Described
from services.model_server.protocols.openapi.operations import Paths, body, operation, query
from services.model_server.protocols.openapi.schemas import (
    NUMBER,
    TEXT,
    Schema,
    items_of,
    label,
    object_of,
    one_of,
)
from services.model_server.protocols.traffic import Learning

_TRAFFIC = Learning.name
_OPEN = object_of({}, closed=False)


def explain_paths(models: list[Described]) -> Paths:
    """Returns the explanation of one name; its versions are chosen behind the question mark."""
    default = next((model for model in models if model.default), models[0])
    example = default.example()
    call = operation(
        f"{Explain.name}.{default.key}",
        Explain.name,
        "What mattered to the answer: the drop when a part of one sample is hidden.",
        object_of({"model": _OPEN, "of": {}, "kind": TEXT, "rows": {"type": "integer"}}, closed=False),
        Explain.codes,
        request=body(
            {"application/json": one_of(*map(_asked, models))}, None if example is None else {"inputs": example}
        ),
        parameters=[query("version", {"type": "string", "enum": [model.version for model in models]}, "A version.")],
    )
    return {f"/explain/{default.name}": {"post": call}}


def _asked(model: Described) -> Schema:
    one = model.schema("sample")
    properties = {"inputs": one_of(one, items_of(one, 1))}
    if not model.contract.labels:
        return object_of(properties)
    return object_of({**properties, "label": one_of(label(model.contract), {"type": "null"})}, ("label",))


def traffic_paths(models: list[Described], feedback: bool) -> Paths:
    """Returns what the server tells of its traffic; and what it can be told, if it wants to hear it."""
    found: Paths = {
        "/traffic": {"get": _get("all", "What the traffic of all models has shown.")},
        **{
            f"/traffic/{model.name}": {"get": _get(model.key, "What the traffic of a model has shown.")}
            for model in models
            if model.default
        },
    }
    if feedback and models:
        found["/feedback"] = {
            "post": operation(
                f"{_TRAFFIC}.feedback",
                _TRAFFIC,
                "Says what was right of an answered request, or of samples that are asked again.",
                object_of({"model": _OPEN, "counted": {"type": "boolean"}}, closed=False),
                Learning.codes,
                request=body({"application/json": one_of(*(form for model in models for form in _told(model)))}),
            )
        }
    return found


def _get(name: str, summary: str) -> dict[str, Any]:
    return operation(f"{_TRAFFIC}.{name}", _TRAFFIC, summary, _OPEN, Learning.codes)


def _told(model: Described) -> list[Schema]:
    """Returns the forms of feedback on one model: one row or several, answered before or asked again."""
    contract = model.contract
    named, right = ("label", label(contract)) if contract.labels else ("value", NUMBER)
    answered: dict[str, Schema] = {"request_id": {**TEXT, "minLength": 1, "maxLength": 128}}
    again: dict[str, Schema] = {"model": {"const": model.served.name}, "version": {"enum": [model.version, None]}}
    one, several = model.schema("sample"), model.schema("samples")
    return [
        object_of({**answered, named: right}),
        object_of({**answered, f"{named}s": items_of(right)}),
        object_of({**again, "inputs": one, named: right}, ("version",)),
        object_of({**again, "inputs": several, f"{named}s": items_of(right)}, ("version",)),
    ]
