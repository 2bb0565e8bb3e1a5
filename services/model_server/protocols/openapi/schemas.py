"""JSON Schemas (2020-12) of what a model takes and gives, from its contract."""

from __future__ import annotations

from typing import Any

from services.model_server.package import Column, Contract, TensorSpec

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
_INTEGERS = {"uint8": (0, 2**8 - 1), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def items_of(schema: Schema, count: int | None = None, least: int = 1) -> Schema:
    """Returns a list of something: of `count`, or of `least` and more."""
    bounds = {"minItems": least} if count is None else {"minItems": count, "maxItems": count}
    return {"type": "array", "items": schema, **bounds}


def object_of(
    properties: dict[str, Schema], optional: tuple[str, ...] = (), closed: bool = True, **more: Any
) -> Schema:
    """Returns an object with these properties, all of them required but for the optional ones."""
    required = [name for name in properties if name not in optional]
    closing = {"additionalProperties": False} if closed else {}
    return {"type": "object", "properties": properties, "required": required, **closing, **more}


def one_of(*schemas: Schema) -> Schema:
    """Returns what is like one of several."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def scalar(spec: TensorSpec) -> Schema:
    """Returns one number of a tensor."""
    if spec.dtype == "string":
        return TEXT
    if spec.dtype in _INTEGERS:
        low, high = _INTEGERS[spec.dtype]
        return {"type": "integer", "minimum": low, "maximum": high}
    return NUMBER


def tensor(spec: TensorSpec) -> Schema:
    """Returns one sample of a tensor, as nested lists."""
    schema = scalar(spec)
    for size in reversed(spec.sample_shape):
        schema = items_of(schema, size)
    if spec.range is not None:
        low, high = spec.range
        schema = {**schema, "description": f"In the training data the values are from {low:g} to {high:g}."}
    return schema


def cell(column: Column) -> Schema:
    """Returns one cell of a table; null is a missing one."""
    if column.type == "number":
        return {"type": ["number", "null"]}
    known = f"The model knows: {', '.join(column.words[:32])}{', …' if len(column.words) > 32 else ''}."
    return {"type": ["string", "null"], "description": known}


def row(contract: Contract) -> Schema:
    """Returns one row of a table: by column name, or as cells in the order of the columns."""
    cells = [cell(column) for column in contract.columns]
    named = object_of({column.name: schema for column, schema in zip(contract.columns, cells, strict=True)})
    listed = {"type": "array", "prefixItems": cells, "items": False, "minItems": len(cells), "maxItems": len(cells)}
    return one_of(named, listed)


def named_row(contract: Contract) -> Schema:
    """Returns one row of a table, by column name."""
    return object_of({column.name: cell(column) for column in contract.columns})


def sample(contract: Contract) -> Schema:
    """Returns one sample of a model."""
    return row(contract) if contract.columns else tensor(contract.input)


def samples(contract: Contract, one: Schema) -> Schema:
    """Returns a list of samples. Rows of a table are all of one kind: by name, or in the order of the columns."""
    if not contract.columns:
        return items_of(one)
    return one_of(*(items_of(kind) for kind in row(contract)["anyOf"]))


def outputs(contract: Contract) -> Schema:
    """Returns the outputs for one sample. A number that is not finite is null."""
    return items_of({"type": ["number", "null"]}, contract.output.shape[1])


def label(contract: Contract) -> Schema:
    """Returns one of a model's labels."""
    return {"type": "string", "enum": list(dict.fromkeys(contract.labels))}
