"""Diabetes: a table of 442 patients, which ships with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.datasets.base import HeldOutSpec, Source
from pipelines.datasets.shipped import table
from pipelines.inputs import Kind
from pipelines.tasks import Task


class Diabetes(HeldOutSpec):
    """How far the diabetes of 442 patients has come in a year, by ten measures. Ships with scikit-learn: no download.

    Source: B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, "Least Angle Regression", 2004; in its own units.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.REGRESSION,)
    kind: ClassVar[Kind | None] = "table"

    name: Literal["diabetes"] = "diabetes"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """table: float32 (442, 10), in years, mmHg and the like, not scaled."""
        from sklearn.datasets import load_diabetes  # a second to import

        return table(load_diabetes(scaled=False), "progression")
