"""The JSON schema of a recipe, from the specs themselves, with which editors complete and check what is typed.

Pydantic writes most of it. What a recipe may also say in fewer words is added: a kind by its name alone (`optimizer:
adam`), a callback whose label is its kind, an objective by its metric alone, choices as a plain list. So are the paths
that a search space can name.
"""

from __future__ import annotations

from typing import Any

from pipelines.callbacks import Callback
from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.objectives import MOST_OBJECTIVES
from pipelines.recipe.search_space import NOT_VARIED
from pipelines.spec import kinds_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFINITIONS = "$defs"


def recipe_schema() -> dict[str, Any]:
    """The schema, as plain JSON types."""
    schema = SweepConfig.model_json_schema()
    schema = _loosened(schema, schema[_DEFINITIONS])
    properties, definitions = schema["properties"], schema[_DEFINITIONS]
    one = {"anyOf": [{"$ref": properties["objective"]["$ref"]}, {"type": "string"}]}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_OBJECTIVES}
    properties["objective"] = _also(properties["objective"], {"type": "string"}, several)
    properties["warm_start"]["anyOf"].append({"type": "string"})
    unnamed = {"type": "object", "not": {"required": ["name"]}}
    dense = {"$ref": f"#/{_DEFINITIONS}/DenseModel"}
    properties["model"] = {"if": unnamed, "then": dense, "else": properties["model"]}  # `model: {units: [30]}`
    kinds = definitions["Branches"]["additionalProperties"]
    definitions["Branches"]["additionalProperties"] = {"anyOf": [kinds, {"type": "null"}]}  # `adam:` alone
    properties["callbacks"] |= {"properties": _callbacks_by_label(schema)}
    space = properties["search_space"]
    entry = {"anyOf": [_with_name(kind) for kind in space["additionalProperties"]["anyOf"]]}
    space["additionalProperties"] = entry
    space["properties"] = {
        name: {"description": f"What varies of it: {field.description or name}", **entry}
        for name, field in TrainingConfig.model_fields.items()
        if name not in NOT_VARIED
    }
    return {"$schema": DIALECT, **schema, "title": "A Regatta recipe"}


def _loosened(node: Any, definitions: dict[str, Any]) -> Any:
    """The same schema, where each union of kinds also takes the name of a kind that needs nothing else."""
    if isinstance(node, list):
        return [_loosened(part, definitions) for part in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _loosened(value, definitions) for key, value in node.items()}
    mapping = (node.get("discriminator") or {}).get("mapping")
    if mapping:
        rest = {key: value for key, value in changed.items() if key not in {"oneOf", "anyOf", "discriminator"}}
        return {**rest, **_one_of_kinds(mapping, definitions)}
    if "oneOf" in changed:  # entries of a search space are told apart by their form, which a schema cannot see
        changed["anyOf"] = [*changed.pop("oneOf"), {"type": "array", "minItems": 1}]
    return changed


def _also(node: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """A property that may be given in other forms as well."""
    said: dict[str, Any] = {key: node[key] for key in ("description", "default") if key in node}
    return {"anyOf": [{"$ref": node["$ref"]}, *others], **said}


def _with_name(kind: dict[str, Any]) -> dict[str, Any]:
    """An entry at the top of a search space: one that stands as it is must say which kind it is."""
    if kind.get("$ref", "").endswith("/Node"):
        return {**kind, "required": ["name"], "properties": {"name": {"type": "string"}}}
    return kind


def _one_of_kinds(mapping: dict[str, str], definitions: dict[str, Any]) -> dict[str, Any]:
    """A kind by its name alone, where it needs nothing else, or with its settings.

    Told apart by conditions rather than by `oneOf`, so that an editor says what is wrong with the kind that was meant.
    """
    kinds = {name: definitions[reference.rpartition("/")[2]] for name, reference in mapping.items()}
    alone = [name for name, kind in kinds.items() if not set(kind.get("required", ())) - {"name"}]
    settings = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(kinds)}},
        "allOf": [
            {"if": {"properties": {"name": {"const": name}}, "required": ["name"]}, "then": {"$ref": reference}}
            for name, reference in mapping.items()
        ],
    }
    return {"if": {"type": "string"}, "then": {"enum": alone}, "else": settings}


def _callbacks_by_label(schema: dict[str, Any]) -> dict[str, Any]:
    """Callbacks whose label is the name of a kind: `name` may be left out, and all of it where nothing is required."""
    by_label: dict[str, Any] = {}
    for name, spec in kinds_of(Callback).items():
        definition = schema[_DEFINITIONS][spec.__name__]
        inside = {"$ref": f"#/{_DEFINITIONS}/{spec.__name__}"}
        required = set(definition.get("required", ())) - {"name"}
        by_label[name] = inside if required else {"anyOf": [inside, {"type": "null"}]}
    return by_label
