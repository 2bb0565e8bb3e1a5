"""How a model did on samples, by the scores of its task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.tasks import SCORES, Task


@dataclass(frozen=True)
class Scores:
    """How a model did on samples: values by the names that `pipelines.tasks.SCORES` has for its task, in that order."""

    values: Mapping[str, float]

    def to_json(self) -> dict[str, float]:
        """Plain types."""
        return dict(self.values)

    @property
    def headline(self) -> str:
        """Name of the score that people look at first."""
        return next(iter(self.values))


def score(task: Task, outputs: np.ndarray, truth: np.ndarray) -> Scores:
    """Scores from a model's outputs float32 (n, units) and the truth: int64 (n,) classes or float32 (n,) numbers."""
    outputs = outputs.astype(np.float64)
    if task is Task.REGRESSION:
        missed = outputs[:, 0] - truth
        spread = float(((truth - truth.mean()) ** 2).sum())
        squares = float((missed**2).mean())
        values = {
            "test_r2": 1.0 - float((missed**2).sum()) / spread if spread else math.nan,
            "test_mae": float(np.abs(missed).mean()),
            "test_rmse": math.sqrt(squares),
            "test_mse": squares,
        }
    else:
        both = np.hstack([1.0 - outputs, outputs]) if task is Task.BINARY else outputs
        of_truth = np.clip(both[np.arange(len(truth)), truth], 1e-7, 1.0)  # Keras clips there too
        values = {"test_accuracy": float((both.argmax(axis=1) == truth).mean())}
        if task is Task.BINARY:
            values["test_auc"] = _area_under_roc(outputs[:, 0], truth)
        values["test_loss"] = float(-np.log(of_truth).mean())
    return Scores({name: values[name] for name in SCORES[task]})


def _area_under_roc(probabilities: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score  # a second to import

    return float(roc_auc_score(truth, probabilities)) if len(np.unique(truth)) == 2 else math.nan
