"""Data sets: one file a kind. To add one, write its file and list it in the union."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.datasets.base import DatasetSpec, Samples
from pipelines.datasets.digits import Digits
from pipelines.datasets.fashion_mnist import FashionMnist
from pipelines.spec import named

Dataset = Annotated[Annotated[Digits | FashionMnist, Field(discriminator="name")], BeforeValidator(named)]

__all__ = ["Dataset", "DatasetSpec", "Samples"]
