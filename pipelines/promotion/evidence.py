"""What a model gets wrong, and how far its probabilities can be trusted. Pure: outputs and truth in, numbers out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.promotion.comparison import answers, losses_of
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_MISTAKES = 24
BINS = 10


@dataclass(frozen=True)
class ClassScores:
    """How a model did on one class.

    Attributes:
        label: Its name.
        precision: Of the samples that are called so, the share that is; None where none is called so.
        recall: Of the samples that are so, the share that is called so; None where none is.
        f1: Their harmonic mean.
        support: Samples that are so.
        called: Samples that are called so.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    called: int


@dataclass(frozen=True)
class Bin:
    """Samples whose probability, or predicted number, lies from `low` to `high`.

    Attributes:
        low: Where it begins.
        high: Where it ends.
        samples: How many there are.
        said: Mean of what the model says of them: its probability, or the number.
        found: What is so: the share that is right, or the mean of the true numbers.
    """

    low: float
    high: float
    samples: int
    said: float | None
    found: float | None


@dataclass(frozen=True)
class Calibration:
    """Whether a model's word can be trusted.

    Attributes:
        of: What is looked at: `confidence` (of the class that is named), `probability` (of the second of two classes)
            or `prediction` (of a number).
        bins: Ten of equal width; for numbers, ten of equal size.
        ece: Expected calibration error: mean of |said - found| over the samples, by bins (M. Naeini, G. Cooper and
            M. Hauskrecht, AAAI 2015; C. Guo and others, ICML 2017). Of numbers, in their own units.
        brier: Mean squared difference of the probabilities from the truth, summed over classes; None for numbers.
    """

    of: str
    bins: tuple[Bin, ...]
    ece: float
    brier: float | None


@dataclass(frozen=True)
class Evidence:
    """All of it.

    Attributes:
        confusion: Samples by true class (row) and named class (column); empty where a number is predicted.
        classes: One entry a class, in their order.
        calibration: Whether its word can be trusted.
        mistakes: Places of the worst mistakes among the samples, the worst first.
    """

    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassScores, ...]
    calibration: Calibration
    mistakes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)


def gather_evidence(task: Task, truth: NDArray[Any], outputs: NDArray[Any], labels: tuple[str, ...]) -> Evidence:
    """Looks at a model's outputs.

    Args:
        task: What it has learned.
        truth: int64 (n,) classes or float32 (n,) numbers.
        outputs: float32 (n, units).
        labels: Names of the classes; empty for numbers.
    """
    confusion = confusion_of(truth, outputs, len(labels)) if labels else np.zeros((0, 0), np.int64)
    return Evidence(
        tuple(tuple(row) for row in confusion.tolist()),
        tuple(_class_scores(confusion, place, label) for place, label in enumerate(labels)),
        calibration_of(task, truth, outputs),
        tuple(worst_mistakes(task, truth, outputs).tolist()),
    )


def confusion_of(truth: NDArray[Any], outputs: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Samples by true class (row) and named class (column)."""
    places = truth.astype(np.int64) * classes + answers(outputs.astype(np.float64))
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def worst_mistakes(
    task: Task, truth: NDArray[Any], outputs: NDArray[Any], most: int = MOST_MISTAKES
) -> NDArray[np.int64]:
    """Places of the samples that a model gets most wrong, the worst first: of classes only those that it misses."""
    costs = losses_of(task, truth, outputs)
    costs = np.where(np.isfinite(costs), costs, np.inf)
    wrong = np.ones(len(truth), bool) if task is Task.REGRESSION else answers(outputs.astype(np.float64)) != truth
    places = np.flatnonzero(wrong)
    return places[np.argsort(-costs[places], kind="stable")][:most].astype(np.int64)


def calibration_of(task: Task, truth: NDArray[Any], outputs: NDArray[Any]) -> Calibration:
    """Whether what a model says of its samples comes true as often as it says."""
    outputs = outputs.astype(np.float64)
    if task is Task.REGRESSION:
        said, found = outputs[:, 0], truth.astype(np.float64)
        edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1))) if np.isfinite(said).all() else np.zeros(1)
        edges = edges if len(edges) > 1 else np.array([edges[0], edges[0]])
        return _calibration("prediction", said, found, edges, None)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    if task is Task.BINARY:
        said = outputs[:, 0]
        brier = float(2.0 * ((said - truth) ** 2).mean())
        return _calibration("probability", said, truth.astype(np.float64), edges, brier)
    one_hot = np.eye(outputs.shape[1])[truth]
    brier = float(((outputs - one_hot) ** 2).sum(axis=1).mean())
    right = (answers(outputs) == truth).astype(np.float64)
    return _calibration("confidence", outputs.max(axis=1), right, edges, brier)


def _calibration(
    of: str, said: NDArray[Any], found: NDArray[Any], edges: NDArray[Any], brier: float | None
) -> Calibration:
    place = np.clip(np.searchsorted(edges, said, side="right") - 1, 0, max(0, len(edges) - 2))
    bins, off = [], 0.0
    for number in range(len(edges) - 1):
        inside = place == number
        count = int(inside.sum())
        mean = (float(said[inside].mean()), float(found[inside].mean())) if count else (None, None)
        bins.append(Bin(float(edges[number]), float(edges[number + 1]), count, *mean))
        if mean[0] is not None and mean[1] is not None:
            off += count / len(said) * abs(mean[0] - mean[1])
    return Calibration(of, tuple(bins), off if math.isfinite(off) else math.nan, brier)


def _class_scores(confusion: NDArray[np.int64], place: int, label: str) -> ClassScores:
    hits, support, called = int(confusion[place, place]), int(confusion[place].sum()), int(confusion[:, place].sum())
    precision = hits / called if called else None
    recall = hits / support if support else None
    f1 = 2 * hits / (support + called) if support + called else None
    return ClassScores(label, precision, recall, f1, support, called)
