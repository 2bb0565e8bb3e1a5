"""Breast cancer Wisconsin: a table of 569 tumours, which ships with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.datasets.base import HeldOutSpec, Source
from pipelines.datasets.shipped import table
from pipelines.inputs import Kind
from pipelines.tasks import Task


class BreastCancer(HeldOutSpec):
    """569 tumours, malignant or benign, by 30 measures of their cells' nuclei. Ships with scikit-learn: no download.

    Source: W. Wolberg, O. Mangasarian, N. Street, W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI, 1993.
    """

    tasks: ClassVar[tuple[Task, ...]] = (Task.BINARY, Task.MULTICLASS)
    kind: ClassVar[Kind | None] = "table"

    name: Literal["breast_cancer"] = "breast_cancer"

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """table: float32 (569, 30); the probability is that of `benign`, the second class."""
        from sklearn.datasets import load_breast_cancer  # a second to import

        bundle = load_breast_cancer()
        return table(bundle, "diagnosis", bundle.target_names)
