"""The base of every declarative part: closed, frozen, and cheap to read.

A spec is a promise of a thing: its fields are checked when a recipe is read, and heavy imports wait inside `build`.
"""

from __future__ import annotations

import types
from functools import cache
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
        if not isinstance(data, dict):
            return data
        accepted = _accepted(cls)
        return {key: _as_word(value, *accepted[key]) if key in accepted else value for key, value in data.items()}


def said(spec: Spec) -> dict[str, Any]:
    """What a spec says beyond its defaults, as plain JSON types: its kind's name, and every value that differs."""
    told: dict[str, Any] = {}
    for key, field in type(spec).model_fields.items():
        value = getattr(spec, key)
        if key == "name" or value != field.get_default(call_default_factory=True):
            told[key] = _said_value(value, spec.model_dump(mode="json", include={key})[key])
    return told


def _said_value(value: Any, plain: Any) -> Any:
    if isinstance(value, Spec):
        return said(value) if isinstance(plain, dict) else plain  # some specs are written in a shorter form
    if isinstance(value, dict) and any(isinstance(part, Spec) for part in value.values()):
        return {key: _said_value(part, plain[key]) for key, part in value.items()}
    return plain


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


@cache
def _accepted(spec: type[Spec]) -> dict[str, tuple[set[Any], set[Any]]]:
    """Of each field the types that it accepts, and those of its items. Each trial of a sweep is checked by them."""
    return {
        key: (_plain_types(field.annotation), _item_types(field.annotation)) for key, field in spec.model_fields.items()
    }


def _as_word(value: Any, kinds: set[Any], item_kinds: set[Any]) -> Any:
    """`value`, with true and false spelled out where only a number is wanted, also inside a list of numbers."""
    if isinstance(value, bool):
        return str(value).lower() if kinds & {int, float} and bool not in kinds else value
    return [_as_word(item, item_kinds, set()) for item in value] if isinstance(value, list) else value


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


def _item_types(annotation: Any) -> set[Any]:
    """The types that the items of a field may have where it accepts a list: `tuple[int, ...] | str` gives {int}."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _item_types(parts[0])
    if origin in (Union, types.UnionType):
        return {kind for part in parts for kind in _item_types(part)}
    return (
        {kind for part in parts if part is not ... for kind in _plain_types(part)} if origin in (list, tuple) else set()
    )
