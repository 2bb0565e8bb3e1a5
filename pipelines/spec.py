"""The base of every declarative part: closed, frozen, and cheap to read.

A spec is a promise of a thing: its fields are checked when a recipe is read, and heavy imports wait inside `build`.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Spec(BaseModel):
    """Settings of one part. Unknown keys are mistakes; values do not change once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _yes_is_not_one(cls, data: Any) -> Any:
        """YAML reads `yes` and `on` as true, which pydantic would take for the number 1; as a word it is refused."""
        if not isinstance(data, dict) or not any(isinstance(value, bool) for value in data.values()):
            return data
        return {key: str(value).lower() if cls._wants_number(key, value) else value for key, value in data.items()}

    @classmethod
    def _wants_number(cls, key: str, value: Any) -> bool:
        if not isinstance(value, bool) or key not in cls.model_fields:
            return False
        kinds = _plain_types(cls.model_fields[key].annotation)
        return bool(kinds & {int, float}) and bool not in kinds


def named(data: Any) -> Any:
    """Lets `optimizer: adam` stand for `optimizer: {name: adam}`; for use before a union of kinds is told apart."""
    return {"name": data} if isinstance(data, str) else data


def kind_name(spec: type[BaseModel]) -> str | None:
    """The literal that a class's `name` (or `type`) field is fixed to, or None where it has no such field."""
    for key in ("name", "type"):
        if key in spec.model_fields and get_origin(spec.model_fields[key].annotation) is Literal:
            return str(get_args(spec.model_fields[key].annotation)[0])
    return None


def kinds_of(annotation: Any) -> dict[str, type[Spec]]:
    """The classes of a union such as `Optimizer`, by name, in the order they are listed."""
    return {kind_name(spec) or spec.__name__: spec for spec in specs_within(annotation)}


def specs_within(annotation: Any) -> list[type[Spec]]:
    """Every Spec class that a value of this annotation (a union, optional, list or dict of specs) can hold."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return specs_within(get_args(annotation)[0])
    if origin in (Union, types.UnionType, list, tuple, dict):
        return [spec for part in get_args(annotation) for spec in specs_within(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Spec) else []


def _plain_types(annotation: Any) -> set[Any]:
    """The types a field accepts directly: `int | None` gives {int, NoneType}; containers count as themselves."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain_types(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {kind for part in get_args(annotation) for kind in _plain_types(part)}
    if origin is Literal:
        return {type(choice) for choice in get_args(annotation)}
    return {origin or annotation}
