"""Parts of an OpenAPI document that all dialects share: operations, bodies, answers and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from services.model_server.errors import ModelServerError
from services.model_server.protocols.openapi.schemas import TEXT, Schema, object_of
from services.model_server.scale import AS_IS

Paths = dict[str, dict[str, Any]]
JSON = "application/json"

ERROR: Schema = object_of({"error": TEXT}, closed=False)
_MEANINGS = {
    400: "The request is wrong in itself.",
    401: "The API key is missing or wrong.",
    404: "There is no such model, version or address.",
    405: "The address answers another method.",
    413: "The body is longer than the server takes.",
    415: "The body is of a kind that this call does not read.",
    429: "The queue is full; ask again after the seconds in Retry-After.",
    500: "The server failed; its log says why.",
    501: "This server leaves it to others.",
    503: "The model is not ready, or the server is at its limits; ask again after the seconds in Retry-After.",
    504: "The deadline of the request was over.",
}


def body(contents: Mapping[str, Schema], example: Any = None, required: bool = True) -> dict[str, Any]:
    """Returns what a request holds: media type to schema; the example is one of the first."""
    content: dict[str, Any] = {kind: {"schema": schema} for kind, schema in contents.items()}
    if example is not None:
        next(iter(content.values()))["example"] = example
    return {"required": required, "content": content}


def operation(
    name: str,
    tag: str,
    summary: str,
    answer: Schema | None,
    codes: Mapping[type[ModelServerError], int] | None = None,
    *,
    kind: str = JSON,
    request: dict[str, Any] | None = None,
    parameters: Sequence[dict[str, Any]] = (),
    error: Schema = ERROR,
    error_kind: str = JSON,
    unready: Schema | None = None,
    open_to_all: bool = False,
) -> dict[str, Any]:
    """Returns one operation.

    Args:
        name: Unique in the document.
        tag: The dialect.
        summary: A line for people.
        answer: What a 200 holds; None if nothing that can be described.
        codes: The dialect's table of errors; none if the call cannot fail.
        kind: The media type of the answer.
        request: What `body` returned.
        parameters: Of the address.
        error: What an error holds.
        error_kind: The media type of an error.
        unready: What a 503 holds, if that is no error of the dialect.
        open_to_all: Whether it needs no key.
    """
    content = {} if answer is None else {"content": {kind: {"schema": answer}}}
    responses: dict[str, Any] = {"200": {"description": "OK", "headers": _headers(tag), **content}}
    for status in sorted(set((codes or {}).values())):
        if status == 401 and open_to_all:
            continue
        responses[str(status)] = {
            "description": _MEANINGS.get(status, HTTPStatus(status).phrase),
            "content": {error_kind: {"schema": error}},
        }
    if unready is not None:
        responses["503"] = {"description": "It is not ready.", "content": {JSON: {"schema": unready}}}
    described: dict[str, Any] = {"operationId": name, "tags": [tag], "summary": summary, "responses": responses}
    if request is not None:
        described["requestBody"] = request
    if parameters:
        described["parameters"] = list(parameters)
    if open_to_all:
        described["security"] = []
    return described


def query(name: str, schema: Schema, meaning: str) -> dict[str, Any]:
    """Returns one optional parameter behind the question mark."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": meaning}


SCALE = query("scale", {"enum": [AS_IS]}, "Takes values on another scale than that of the training data.")


def _headers(tag: str) -> dict[str, Any]:
    names = ["x-request-id", "server-timing"]
    if tag != "server":
        names += ["x-model-version", "x-model-digest", "x-mlflow-run-id"]
    return {name: {"schema": TEXT} for name in names}
