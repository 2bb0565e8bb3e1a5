"""MLflow's scoring dialect. Its address has no model: the body is that of the model which answers by default."""

from __future__ import annotations

from typing import Any

from services.model_server.protocols.mlflow import Mlflow
from services.model_server.protocols.openapi.models import Described
from services.model_server.protocols.openapi.operations import SCALE, Paths, body, operation, query
from services.model_server.protocols.openapi.schemas import TEXT, Schema, cell, items_of, named_row, object_of, one_of

_TAG = Mlflow.name
_ERROR = object_of(
    {"error_code": TEXT, "message": TEXT, "sqlstate": TEXT, "error_class": TEXT},
    ("sqlstate", "error_class"),
    closed=False,
)


def paths(models: list[Described]) -> Paths:
    """Returns `/invocations`, for all models together; which one is asked stands in a header or in the address."""
    probe = {"description": "OK"}
    found: Paths = {
        f"/{name}": {
            "get": {
                "operationId": f"{_TAG}.{name}",
                "tags": [_TAG],
                "summary": summary,
                "responses": {"200": probe, **({} if name == "version" else {"404": {"description": "Not ready."}})},
                "security": [],
            }
        }
        for name, summary in (
            ("ping", "Whether a model answers."),
            ("health", "Whether a model answers."),
            ("version", "The MLflow release whose format this is."),
        )
    }
    models = [model for model in models if model.default]
    if not models:
        return found
    contents = {"application/json": one_of(*(_request(model) for model in models))}
    if any(model.contract.columns for model in models):
        contents["text/csv"] = TEXT
    names = sorted({model.served.name for model in models})
    call = operation(
        f"{_TAG}.invocations",
        _TAG,
        "Predicts. One sample alone is answered in kind.",
        one_of(*(_answer(model) for model in models)),
        Mlflow.codes,
        request=body(contents, _example(models[0])),
        parameters=[query("model", {"type": "string", "enum": names}, "The model that is asked."), SCALE],
        error=_ERROR,
    )
    # MLflow, too, says in plain text that it does not read a media type.
    call["responses"]["415"]["content"] = {"text/plain": {"schema": TEXT}}
    found["/invocations"] = {"post": call}
    return found


def _answer(model: Described) -> Schema:
    outputs = model.schema("outputs")
    return object_of({"predictions": one_of(items_of(outputs), outputs)})


def _request(model: Described) -> Schema:
    contract, samples = model.contract, model.schema("samples")
    if contract.columns:
        by_column = object_of({column.name: items_of(cell(column)) for column in contract.columns})
        cells = [cell(column) for column in contract.columns]
        data = items_of({"type": "array", "prefixItems": cells, "items": False, "minItems": len(cells)})
        split = object_of({"columns": {"const": list(contract.column_names)}, "data": data}, ("columns",))
        forms = [
            {"inputs": one_of(samples, model.schema("sample"), by_column)},
            {"instances": one_of(samples, model.schema("sample"))},
            {"dataframe_split": split},
            {"dataframe_records": items_of(named_row(contract))},
        ]
    else:
        name, one = contract.input.name, model.schema("sample")
        forms = [
            {"inputs": one_of(samples, one, object_of({name: samples}))},
            {"instances": one_of(samples, one, items_of(object_of({name: one})))},
        ]
    return one_of(*(object_of({**form, "params": {"type": "object"}}, ("params",)) for form in forms))


def _example(model: Described) -> Any:
    example = model.example()
    return None if example is None else {"instances": [example]}
