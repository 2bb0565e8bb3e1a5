"""Models: one file an architecture. To add one, write its file and list it in the union."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from pipelines.models.base import ModelSpec
from pipelines.models.dense import DenseModel
from pipelines.spec import named

Model = Annotated[DenseModel, BeforeValidator(named)]

__all__ = ["Model", "ModelSpec"]
