"""What `regatta list` shows: the kinds of every room with their parameters, read from the specs themselves."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.callbacks import Callback
from pipelines.datasets import Dataset
from pipelines.executors import EXECUTORS
from pipelines.executors.docker import Docker
from pipelines.executors.ray.settings import RayCluster
from pipelines.losses import Loss
from pipelines.metrics import Metric
from pipelines.models import Model
from pipelines.optimizers import Optimizer
from pipelines.pruners import Pruner
from pipelines.samplers import Sampler
from pipelines.schedules import EpochSchedule, LearningRate
from pipelines.spec import Spec, kind_name, kinds_of

_SIGNS = ((Gt, "gt", ">"), (Ge, "ge", ">="), (Lt, "lt", "<"), (Le, "le", "<="))


@dataclass(frozen=True)
class Kind:
    """One kind of a room.

    Attributes:
        text: What it is, as its docstring has it.
        spec: What a recipe says of it; None where that is nothing but its name.
        below: Path in a recipe below which its parameters stand, where that is not the kind itself; ends in a dot.
    """

    text: str
    spec: type[Spec] | None
    below: str = ""

    @property
    def summary(self) -> str:
        """The first sentence."""
        return self.text.strip().split("\n")[0]

    @property
    def paragraphs(self) -> list[str]:
        """What follows it, as one text a paragraph."""
        return [" ".join(paragraph.split()) for paragraph in self.text.strip().split("\n\n")[1:]]

    @property
    def parameters(self) -> list[tuple[str, str, str]]:
        """(name, default and limits, what it is) of every parameter."""
        fields = self.spec.model_fields if self.spec else {}
        return [
            (f"{self.below}{name}", _default_and_limits(field), " ".join((field.description or "").split()))
            for name, field in fields.items()
            if name != "name"
        ]


def rooms() -> Mapping[str, Mapping[str, Kind]]:
    """Kinds by room and name."""
    unions = {
        "datasets": Dataset,
        "models": Model,
        "optimizers": Optimizer,
        "losses": Loss,
        "metrics": Metric,
        "callbacks": Callback,
        "schedules": LearningRate,
        "epoch_schedules": EpochSchedule,
        "samplers": Sampler,
        "pruners": Pruner,
    }
    found = {
        room: {name: Kind(spec.__doc__ or "", spec) for name, spec in kinds_of(union).items()}
        for room, union in unions.items()
    }
    settings: Mapping[str, type[Spec]] = {"docker": Docker, "ray": RayCluster}
    found["executors"] = {
        name: Kind(text, settings.get(name), f"execution.{name}.") for name, text in EXECUTORS.items()
    }
    return found


def _default_and_limits(field: FieldInfo) -> str:
    default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
    bounds = _bounds(field.metadata)
    limits = list(dict.fromkeys([*bounds, *_limits(field.annotation)]))
    # `relu, or a list with one a layer` has the same limits twice
    limits = [limit for limit in limits if limit.removeprefix("each ") == limit or limit[5:] not in limits]
    return f"{default} ({', '.join(limits)})" if limits else default


def _limits(annotation: Any) -> list[str]:
    """What a value of this annotation may be, in words: bounds, choices, kinds where it can be a part of its own."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return [*_bounds(parts[1:]), *_limits(parts[0])]
    if origin is Literal:
        return [" | ".join(_shown(choice) for choice in parts)] if len(parts) > 1 else [f"or {_shown(parts[0])}"]
    if origin in (tuple, list):
        return [f"each {limit}" for part in parts if part is not ... for limit in _limits(part)]
    if origin in (Union, types.UnionType) and not all(
        isinstance(part, type) and issubclass(part, Spec) for part in parts
    ):
        return [limit for part in parts for limit in _limits(part)]
    kinds = kinds_of(annotation)
    return [f"or one of {', '.join(kinds)}"] if kinds and all(map(kind_name, kinds.values())) else []


def _bounds(metadata: Iterable[Any]) -> list[str]:
    found = []
    for item in metadata:
        inside = item.metadata if isinstance(item, FieldInfo) else [item]
        found += [
            f"{sign} {getattr(bound, attribute):g}"
            for bound in inside
            for kind, attribute, sign in _SIGNS
            if isinstance(bound, kind)
        ]
    return found


def _shown(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Spec):
        return kind_name(value.__class__) or json.dumps(value.model_dump(mode="json"))
    return value if isinstance(value, str) else json.dumps(value, default=str)
