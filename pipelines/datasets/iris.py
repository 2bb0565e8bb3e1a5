"""Iris: a table of 150 flowers, which ships with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.datasets.base import HeldOutSpec, Source
from pipelines.datasets.shipped import table
from pipelines.inputs import Kind
from pipelines.tasks import Task


class Iris(HeldOutSpec):
    """150 flowers of three species by four lengths of their leaves, in cm. Ships with scikit-learn: no download.

    Source: R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.MULTICLASS,)
    kind: ClassVar[Kind | None] = "table"

    name: Literal["iris"] = "iris"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """table: float32 (150, 4)."""
        from sklearn.datasets import load_iris  # a second to import

        bundle = load_iris()
        return table(bundle, "species", bundle.target_names)
