"""Models: one file an architecture. To add one, write its file and list it in the union."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipelines.models.base import ModelSpec
from pipelines.models.cnn import CnnModel
from pipelines.models.dense import DenseModel
from pipelines.models.function import FunctionModel
from pipelines.models.linear import LinearModel
from pipelines.spec import named


def _dense_unless_named(data: Any) -> Any:
    """`model: {units: [30]}` is a dense one: the kind that takes any samples."""
    data = named(data)
    return {"name": "dense", **data} if isinstance(data, dict) and "name" not in data else data


Model = Annotated[
    Annotated[DenseModel | CnnModel | LinearModel | FunctionModel, Field(discriminator="name")],
    BeforeValidator(_dense_unless_named),
]

__all__ = ["Model", "ModelSpec"]
