from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.base import HeldOutSpec
from pipelines.datasets.breast_cancer import BreastCancer
from pipelines.datasets.diabetes import Diabetes
from pipelines.datasets.iris import Iris
from pipelines.datasets.wine import Wine
from pipelines.tasks import Task

TABLES = [
    # spec, shape, labels, target, samples by class, some columns, tasks
    (BreastCancer(), (569, 30), ("malignant", "benign"), "diagnosis", [212, 357], ("mean radius", "worst texture"),
     (Task.BINARY, Task.MULTICLASS)),
    (Iris(), (150, 4), ("setosa", "versicolor", "virginica"), "species", [50, 50, 50], ("petal width (cm)",),
     (Task.MULTICLASS,)),
    (Wine(), (178, 13), ("class_0", "class_1", "class_2"), "cultivar", [59, 71, 48], ("alcohol", "proline"),
     (Task.MULTICLASS,)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "shape", "labels", "target", "counts", "columns", "tasks"),
    TABLES,
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_table_of_classes_is_whole_with_its_names(
    spec: HeldOutSpec,
    shape: tuple[int, int],
    labels: tuple[str, ...],
    target: str,
    counts: list[int],
    columns: tuple[str, ...],
    tasks: tuple[Task, ...],
) -> None:
    source = spec.load(None)
    assert source.samples.x.shape == shape
    assert source.facts.shape == shape[1:]
    assert (source.facts.kind, source.facts.labels, source.facts.target) == ("table", labels, target)
    assert (source.facts.low, source.facts.high) == (None, None)
    assert np.bincount(source.samples.y).tolist() == counts
    assert set(columns) < {column.name for column in source.facts.columns}
    assert all(column.words is None for column in source.facts.columns)
    assert len(source.facts.columns) == shape[1]
    assert source.official_test is None
    assert spec.tasks == tasks
    assert spec.held_out_share == 0.2


def test_diabetes_is_a_number_in_its_own_units() -> None:
    source = Diabetes().load(None)
    x = source.samples.x[:]
    assert x.shape == (442, 10)
    assert [column.name for column in source.facts.columns] == [
        "age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"
    ]  # fmt: skip
    assert (x[:, 0].min(), x[:, 0].max()) == (19, 79)
    assert source.samples.y.dtype == np.float32
    assert (source.samples.y.min(), source.samples.y.max()) == (25, 346)
    assert (source.facts.labels, source.facts.target) == ((), "progression")
    assert Diabetes.tasks == (Task.REGRESSION,)


@pytest.mark.parametrize("spec", [BreastCancer(), Iris(), Wine(), Diabetes()], ids=lambda spec: spec.name)
def test_what_the_docstring_says_is_so(spec: HeldOutSpec) -> None:
    source = spec.load(None)
    said = (type(spec).__doc__ or "") + (type(spec).load.__doc__ or "")
    assert str(len(source.samples)) in said
    assert f"float32 {source.samples.x.shape}" in said
