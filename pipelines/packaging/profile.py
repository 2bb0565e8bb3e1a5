"""What the training data looked like, small enough to travel with the model: `profile.json` of a package.

The model server holds live traffic against it (`services/model_server/traffic/drift.py`, which reads this form). Every
group is a distribution over a few bins: numbers by their edges, the cells of a categorical column by its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import Samples, chunks
from pipelines.inputs import Column, InputFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MOST_ROWS = 20_000
"""Rows that are looked at, spread evenly over the training part: a share is known to a third of a percent by then."""
MOST_VALUES = 4_000_000
MOST_COLUMNS = 200
MOST_WORDS = 50
TENTHS = 10
"""Bins of a number: tenths of the training data, as the population stability index is usually computed."""
PIXEL_BINS = 16
"""Bins of the values of an image, equally wide over its range."""


def profile_of(train: Samples, facts: InputFacts) -> dict[str, Any]:
    """Describes a training part.

    Args:
        train: Coded samples, as the models of this data take them.
        facts: Their form.

    Returns:
        Plain types: `groups`, one for each column of a table, or the values and the mean of an image; and `output`, how
        often each class was, or how the targets were spread. The counts of a group of numbers have one place for each
        bin between and beyond its edges, and a last one for what is missing or not finite.
    """
    size = int(np.prod(facts.shape)) or 1
    most = max(1, min(MOST_ROWS, MOST_VALUES // size, len(train)))
    places = np.unique(np.linspace(0, len(train) - 1, most).round().astype(np.int64))
    rows = np.concatenate([np.asarray(chunk) for chunk in chunks(train.x, places)])
    if facts.columns:
        groups = [_column(column, rows[:, place]) for place, column in enumerate(facts.columns[:MOST_COLUMNS])]
    else:
        values = rows.reshape(len(rows), -1).astype(np.float32)
        groups = [
            {"name": "values", "kind": "values", **_counted(values.ravel(), _value_edges(values, facts))},
            {"name": "mean", "kind": "mean", **_in_tenths(values.mean(axis=1, dtype=np.float64))},
        ]
    return {"format": FORMAT, "rows": len(rows), "of": len(train), "groups": groups, "output": _output(train.y, facts)}


def _column(column: Column, cells: NDArray[Any]) -> dict[str, Any]:
    if column.words is None:
        return {"name": column.name, "kind": "number", **_in_tenths(cells.astype(np.float64))}
    codes = np.bincount(cells.astype(np.int64), minlength=len(column.words) + 1)
    shown = np.argsort(-codes[1:], kind="stable")[:MOST_WORDS]
    counts = codes[1:][shown].tolist()
    return {
        "name": column.name,
        "kind": "words",
        "words": [column.words[place] for place in shown],
        "counts": [*counts, int(codes[1:].sum()) - sum(counts), int(codes[0])],  # of other words, and of none
    }


def _output(y: NDArray[Any], facts: InputFacts) -> Mapping[str, Any]:
    if not facts.labels:
        return {"kind": "number", **_in_tenths(np.asarray(y, np.float64))}
    return {"kind": "labels", "counts": np.bincount(np.asarray(y, np.int64), minlength=len(facts.labels)).tolist()}


def _in_tenths(numbers: NDArray[np.float64]) -> dict[str, Any]:
    """Bins of about equal weight; where there are only a few different numbers, one for each."""
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return _counted(numbers, np.empty(0))
    different = np.unique(finite)
    if len(different) <= TENTHS:
        return _counted(numbers, (different[1:] + different[:-1]) / 2)
    edges = np.unique(np.quantile(finite, np.arange(1, TENTHS) / TENTHS))
    # A number that is very frequent is an edge itself: what equals it must not fall in with what is larger.
    return _counted(numbers, np.unique(np.nextafter(edges, np.inf)))


def _value_edges(values: NDArray[np.float32], facts: InputFacts) -> NDArray[np.float64]:
    if facts.low is None or facts.high is None or not facts.low < facts.high:
        finite = values[np.isfinite(values)]
        return np.unique(np.quantile(finite, np.arange(1, PIXEL_BINS) / PIXEL_BINS)) if len(finite) else np.empty(0)
    edges = np.linspace(facts.low, facts.high, PIXEL_BINS + 1)
    edges[-1] = np.nextafter(np.float32(facts.high), np.float32(np.inf))  # the largest value is within the range
    return edges


def _counted(numbers: NDArray[Any], edges: NDArray[np.float64]) -> dict[str, Any]:
    finite = np.isfinite(numbers)
    bins = np.bincount(np.searchsorted(edges, numbers[finite], side="right"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": [*bins.tolist(), int((~finite).sum())]}
