"""A config as what MLflow calls params: flat, every value as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


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
