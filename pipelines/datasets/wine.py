"""Wine: a table of 178 wines, which ships with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.datasets.base import HeldOutSpec, Source
from pipelines.datasets.shipped import table
from pipelines.inputs import Kind
from pipelines.tasks import Task


class Wine(HeldOutSpec):
    """178 Italian wines of three cultivars by 13 results of a chemical analysis. Ships with scikit-learn: no download.

    Source: S. Aeberhard and M. Forina, "Wine", UCI, 1992.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.MULTICLASS,)
    kind: ClassVar[Kind | None] = "table"

    name: Literal["wine"] = "wine"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """table: float32 (178, 13)."""
        from sklearn.datasets import load_wine  # a second to import

        bundle = load_wine()
        return table(bundle, "cultivar", bundle.target_names)
