"""Loads the MLflow model in whose folder `code` this lies, with layers or functions whose modules lie here as well."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

NAME = "own_parts_loader"
PARTS = "own_parts.json"
"""Where each of them is, as `module:name`, by Keras's name for it."""


def _load_pyfunc(path: str) -> Any:
    """What MLflow calls for `mlflow.pyfunc.load_model`.

    Args:
        path: The model's folder.
    """
    import keras
    import mlflow.keras

    places = json.loads((Path(path) / "code" / PARTS).read_text(encoding="utf-8"))
    parts = {key: _found(*place.split(":")) for key, place in places.items()}
    with keras.saving.custom_object_scope(parts):
        return mlflow.keras._load_pyfunc(path)


def _found(module: str, name: str) -> Any:
    return getattr(import_module(module), name)
