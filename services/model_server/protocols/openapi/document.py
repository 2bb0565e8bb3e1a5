"""The whole document."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from services.model_server.engine import Engine
from services.model_server.protocols.openapi import learning, mlflow, native, open_inference, tf_serving
from services.model_server.protocols.openapi.models import Described
from services.model_server.protocols.openapi.operations import Paths
from services.model_server.protocols.openapi.schemas import outputs, sample, samples
from services.model_server.settings import Settings

_KEYS = {
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_TAGS = {
    "tf_serving": "TensorFlow Serving's REST API",
    "open_inference": "The Open Inference Protocol V2, as KServe and Triton speak it",
    "mlflow": "MLflow's scoring server",
    "native": "Labels and probabilities, pictures, CSV",
    "explain": "What mattered to an answer",
    "traffic": "What traffic has shown, and what was right",
    "server": "Probes, metrics, this document",
}


def describe(engine: Engine, settings: Settings) -> dict[str, Any]:
    """Describes the bodies of all dialects, for the models that are loaded now."""
    models = described(engine)
    paths: Paths = {**tf_serving.server_paths(), **open_inference.server_paths(), **native.server_paths()}
    paths |= mlflow.paths(models)
    schemas: dict[str, Any] = {}
    for model in models:
        paths |= tf_serving.paths(model) | open_inference.paths(model)
        schemas[f"{model.key}.sample"] = sample(model.contract)
        schemas[f"{model.key}.samples"] = samples(model.contract, model.schema("sample"))
        schemas[f"{model.key}.outputs"] = outputs(model.contract)
    paths |= learning.traffic_paths(models, settings.feedback)
    for _, group in groupby(models, key=lambda model: model.name):
        versions = list(group)
        paths |= native.paths(versions) | learning.explain_paths(versions)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Regatta model server",
            "version": "1",
            "description": "The bodies of the models that are loaded now. Errors are JSON, but that of /invocations "
            "about a media type, which is plain text as from MLflow.",
        },
        "servers": [{"url": ".", "description": "Where this document is, also below another path of a proxy."}],
        "tags": [{"name": name, "description": meaning} for name, meaning in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if settings.api_key is not None or settings.api_key_file is not None:
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
    return document


def described(engine: Engine) -> list[Described]:
    """Returns every loaded version once, those of a name together; the one that the name alone means comes first."""
    found: dict[tuple[str, str], Described] = {}
    for served in engine.loaded():
        key = (served.name, served.version)
        if key not in found:
            slots = engine.slots_of(served.name)
            labels = tuple(slot.ref.alias for slot in slots if slot.served is served and slot.ref.alias)
            found[key] = Described(served, engine.find(served.name) is served, labels)
    return sorted(found.values(), key=lambda model: (model.name, not model.default, int(model.version)))
