"""What `regatta list` shows: the kinds of every room with their parameters, read from the specs themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.callbacks import Callback
from pipelines.datasets import Dataset
from pipelines.executors import ExecutorKind
from pipelines.models import Model
from pipelines.optimizers import Optimizer
from pipelines.pruners import Pruner
from pipelines.samplers import Sampler
from pipelines.schedules import EpochSchedule
from pipelines.spec import Spec, kinds_of

_SIGNS = ((Gt, "gt", ">"), (Ge, "ge", ">="), (Lt, "lt", "<"), (Le, "le", "<="))


def rooms() -> Mapping[str, Mapping[str, type[Spec] | None]]:
    """Kinds by room and name; an executor has no spec of its own."""
    return {
        "datasets": kinds_of(Dataset),
        "models": kinds_of(Model),
        "optimizers": kinds_of(Optimizer),
        "callbacks": kinds_of(Callback),
        "schedules": kinds_of(EpochSchedule),
        "samplers": kinds_of(Sampler),
        "pruners": kinds_of(Pruner),
        "executors": dict.fromkeys(get_args(ExecutorKind)),
    }


def summary_of(spec: type[Spec] | None) -> str:
    """The first sentence of a kind's docstring."""
    text = (spec.__doc__ or "") if spec else ""
    return text.strip().split("\n")[0]


def parameters_of(spec: type[Spec] | None) -> list[tuple[str, str, str]]:
    """(name, default and limits, what it is) of every parameter of a kind."""
    fields = spec.model_fields if spec else {}
    return [
        (name, _default_and_limits(field), " ".join((field.description or "").split()))
        for name, field in fields.items()
        if name != "name"
    ]


def _default_and_limits(field: FieldInfo) -> str:
    default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
    limits = [
        f"{sign} {getattr(bound, attribute):g}"
        for bound in field.metadata
        for kind, attribute, sign in _SIGNS
        if isinstance(bound, kind)
    ]
    return f"{default} ({', '.join(limits)})" if limits else default


def _shown(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    return value if isinstance(value, str) else json.dumps(value, default=str)
