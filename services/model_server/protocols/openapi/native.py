"""The server's own dialect, and what it says about itself."""

from __future__ import annotations

from typing import Any

from services.model_server.images import CENTRE, FIT, INVERT, form_of
from services.model_server.package import Contract
from services.model_server.protocols.native import Native
from services.model_server.protocols.native.options import HEADER
from services.model_server.protocols.openapi.models import Described
from services.model_server.protocols.openapi.operations import SCALE, Paths, body, operation, query
from services.model_server.protocols.openapi.schemas import TEXT, Schema, items_of, label, object_of, one_of

_TAG = Native.name
_OPEN = object_of({}, closed=False)
_PROBABILITY: Schema = {"type": ["number", "null"]}
_TOP_K: Schema = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_FILE: Schema = {"type": "string", "format": "binary"}
_READY = object_of(
    {"ready": {"type": "boolean"}, "live": {"type": "boolean"}, "reasons": items_of(TEXT, least=0), "error": TEXT},
    ("error",),
)


def server_paths() -> Paths:
    """Returns the addresses of the server."""
    return {
        "/models": {
            "get": operation(
                f"{_TAG}.models",
                _TAG,
                "Every wanted model: state, version, what it takes.",
                object_of({"ready": {"type": "boolean"}, "models": items_of(_OPEN, least=0)}, closed=False),
                {kind: code for kind, code in Native.codes.items() if code in (401, 500)},
            )
        },
        "/livez": {
            "get": operation(
                "probes.live",
                "server",
                "Whether the process answers.",
                object_of({"live": {"const": True}}),
                open_to_all=True,
            )
        },
        "/readyz": {
            "get": operation(
                "probes.ready",
                "server",
                "Whether a wanted model is loaded and checked.",
                _READY,
                unready=_READY,
                open_to_all=True,
            )
        },
        "/metrics": {
            "get": operation(
                "probes.metrics", "server", "The page for Prometheus.", TEXT, kind="text/plain", open_to_all=True
            )
        },
        "/openapi.json": {
            "get": operation(
                "server.openapi",
                "server",
                "This document.",
                _OPEN,
                {kind: code for kind, code in Native.codes.items() if code in (401, 500)},
            )
        },
    }


def paths(models: list[Described]) -> Paths:
    """Returns the addresses of one name; its versions are chosen behind the question mark."""
    default = next((model for model in models if model.default), models[0])
    versions = query("version", {"type": "string", "enum": [model.version for model in models]}, "A loaded version.")
    example = default.example()
    predict = operation(
        f"{_TAG}.{default.key}.predict",
        _TAG,
        "Predicts, and says it in labels. One sample alone is answered in kind.",
        one_of(*(_answer(model) for model in models)),
        Native.codes,
        request=body(_requests(models), None if example is None else {"inputs": example}),
        parameters=[versions, *_options(models), SCALE],
    )
    entry = operation(
        f"{_TAG}.{default.key}.model",
        _TAG,
        "State, version, what it takes.",
        _OPEN,
        Native.codes,
        parameters=[versions],
    )
    samples = operation(
        f"{_TAG}.{default.key}.samples",
        _TAG,
        "Golden samples, with what is true and what the model said.",
        object_of({"total": _COUNT, "samples": items_of(_OPEN, least=0)}, closed=False),
        Native.codes,
        parameters=[
            versions,
            query("start", _COUNT, "The first one."),
            query("count", _COUNT, "How many, at most 256."),
        ],
    )
    return {
        f"/predict/{default.name}": {"post": predict},
        f"/models/{default.name}": {"get": entry},
        f"/models/{default.name}/samples": {"get": samples},
    }


def _options(models: list[Described]) -> list[dict[str, Any]]:
    """The options of a prediction: in the address, or as fields of a form."""
    options = [query("top_k", _TOP_K, "How many classes to name.")]
    if any(map(_takes_pictures, models)):
        options += [
            query("invert", {"enum": list(INVERT)}, "Of pictures: whether dark becomes light; auto: as the data is."),
            query("fit", {"enum": list(FIT)}, "Of pictures: whether the proportions are kept."),
            query("centre", {"enum": list(CENTRE)}, "Of pictures: whether the drawing is placed as the data is."),
        ]
    if any(model.contract.columns for model in models):
        options.append(query("header", {"enum": list(HEADER)}, "Of CSV: whether its first line has the names."))
    return options


def _takes_pictures(model: Described) -> bool:
    return form_of(model.contract, model.served.golden) is not None


def _requests(models: list[Described]) -> dict[str, Schema]:
    contents = {
        "application/json": one_of(
            *(
                object_of(
                    {"inputs": one_of(model.schema("sample"), model.schema("samples")), "top_k": _TOP_K}, ("top_k",)
                )
                for model in models
            )
        )
    }
    if any(model.contract.columns for model in models):
        contents["text/csv"] = TEXT
    if any(map(_takes_pictures, models)):
        fields = {option["name"]: option["schema"] for option in _options(models) if option["name"] != "header"}
        contents |= {
            "image/png": _FILE,
            "image/jpeg": _FILE,
            "multipart/form-data": object_of({"image": _FILE, **fields}, tuple(fields)),
        }
    return contents


def _answer(model: Described) -> Schema:
    one = _prediction(model.contract)
    identity = object_of(
        {
            "name": {"const": model.served.name},
            "version": {"const": model.version},
            "alias": {"type": ["string", "null"]},
            "digest": TEXT,
            "run_id": TEXT,
        }
    )
    more: dict[str, Any] = {"warnings": items_of(TEXT), "image": _OPEN, "images": items_of(_OPEN)}
    return one_of(
        object_of({"model": identity, "prediction": one, **more}, tuple(more)),
        object_of({"model": identity, "predictions": items_of(one), **more}, tuple(more)),
    )


def _prediction(contract: Contract) -> Schema:
    if contract.task == "regression":
        return object_of({"value": _PROBABILITY, "target": TEXT})
    named = {"label": label(contract), "probability": _PROBABILITY}
    return object_of(
        {
            **named,
            "top": items_of(object_of(named)),
            "probabilities": items_of(_PROBABILITY, len(contract.labels)),
        }
    )
