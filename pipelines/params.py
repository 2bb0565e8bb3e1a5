"""A config as what MLflow calls params: flat, every value as text; and its data set as what MLflow calls an input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_DIGEST = 16
"""Characters of a digest that MLflow's page has room for, and that tell any two data sets apart."""


def flat_params(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A config as MLflow's params: `optimizer.learning_rate` and so on, every value as text."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flat_params(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def telling_params(config: Mapping[str, Any], *said: Mapping[str, Any]) -> dict[str, str]:
    """Of all of a config's values, those at a path that one of `said` names.

    MLflow writes a run's params beside each of its pictures, and has a column for each: a hundred defaults would hide
    the dozen that somebody chose. The whole config is a tag of the run. An item of a list that is named by itself
    (`model.units.0`) is a param beside that of the list.
    """
    named = {path for part in said for path in flat_params(part)}
    repeated = {f"callbacks.{label}.name" for label in config.get("callbacks", {})}  # `early_stopping` once is enough
    items = {path: json.dumps(item) for path in sorted(named) if (item := _item(config, path)) is not None}
    return {
        path: value
        for path, value in (flat_params(config) | items).items()
        if path in named and not (path in repeated and path == f"callbacks.{value}.name")
    }


def _item(config: Mapping[str, Any], path: str) -> Any:
    """The item of a list that a path names; None for any other path."""
    *parts, index = path.split(".")
    here: Any = config
    for part in parts:
        here = here.get(part) if isinstance(here, Mapping) else None
    return here[int(index)] if isinstance(here, list) and index.isdecimal() and int(index) < len(here) else None


def dataset_input(dataset: Mapping[str, Any], sha256: str) -> dict[str, str]:
    """What a run learns from, as MLflow's page and search know it; nothing where the data has no digest.

    Args:
        dataset: The part of a config. What is somebody's own is called by its file or function.
        sha256: Of the data, of which MLflow is told the beginning; the whole of it is a tag.

    Returns:
        `name`, `digest`, `context`, and of MLflow's source its `source_type` and `source`: the part of the config, from
        which Regatta makes the data again.
    """
    if not sha256:
        return {}
    own = dataset.get("function") or PurePath(str(dataset.get("path") or "")).name
    return {
        "name": str(own or dataset["name"]),
        "digest": sha256[:_DIGEST],
        "context": "training",
        "source_type": "code",
        "source": json.dumps({"tags": flat_params(dataset)}, sort_keys=True),
    }
