"""What the tables that ship with scikit-learn have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.datasets.base import Samples, Source
from pipelines.inputs import Column, InputFacts


def table(bundle: Any, target: str, labels: Sequence[str] = ()) -> Source:
    """A bundle of scikit-learn's as a table of numbers; without `labels`, its target is a number too."""
    x = np.ascontiguousarray(bundle.data, np.float32)
    y = np.asarray(bundle.target).astype(np.int64 if len(labels) else np.float32)
    columns = tuple(Column(str(name)) for name in bundle.feature_names)
    names = tuple(str(label) for label in labels)
    return Source(
        Samples(x, y),
        None,
        InputFacts((len(columns),), None, None, names, kind="table", columns=columns, target=target),
    )
