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
    the dozen that somebody chose. The whole config is a tag of the run.
    """
    named = {path for part in said for path in flat_params(part)}
    repeated = {f"callbacks.{label}.name" for label in config.get("callbacks", {})}  # `early_stopping` once is enough
    return {
        path: value
        for path, value in flat_params(config).items()
        if path in named and not (path in repeated and path == f"callbacks.{value}.name")
    }
