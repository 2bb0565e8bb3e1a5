"""Two models on the same samples: by how much one is better, and how sure that is. Pure, and seeded.

Everything is paired: both models answered the same samples, so what the samples have in common (hard ones, odd ones)
cancels out, and far fewer of them tell the two apart than if each model had been tested on samples of its own.

- Scores that are means over samples, and those made of such means, get a percentile bootstrap interval of their
  difference: B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16. Whole samples are
  drawn, with both models' answers to them.
- Accuracy is also tested by McNemar's test in its mid-p form, which keeps the promised error rate where the bootstrap
  does not: with a handful of samples on which the two differ. M. Fagerland, S. Lydersen and P. Laake, The McNemar test
  for binary matched-pairs data, BMC Medical Research Methodology 13:91, 2013.
- The area under the ROC curve gets DeLong's interval and test: E. DeLong, D. DeLong and D. Clarke-Pearson, Biometrics
  44, 1988; computed as by X. Sun and W. Xu, IEEE Signal Processing Letters 21, 2014.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.metrics import direction_of
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_MOST_DRAWS = 40_000_000
"""Samples that are drawn in all, about a second of work; more samples get fewer resamples, and need fewer."""
_RESAMPLES = (2_000, 10_000)
_BLOCK = 1 << 22
_ROUNDING = 1e-5
"""How far one model's outputs may be from its own in another form."""


@dataclass(frozen=True)
class Comparison:
    """How a candidate did against the champion on the same samples.

    Attributes:
        metric: What they are compared by.
        mine: The candidate's score.
        theirs: The champion's.
        gain: By how much the candidate is better, above 0 where it is, whichever direction is better.
        low: Lower end of the gain's confidence interval.
        high: Its upper end.
        confidence: Of the interval, which is two-sided.
        samples: How many both have answered.
        how: What the interval is: `paired bootstrap` or `DeLong`.
        resamples: Of the bootstrap, or 0.
        test: `McNemar mid-p` or `DeLong p`; empty where there is only the interval.
        p: Two-sided p-value of that test for no difference at all; None without one.
        only_mine: Samples that only the candidate has right; None where a number is predicted.
        only_theirs: Samples that only the champion has right, likewise.
        class_drops: By class, by how much its recall falls, as a share of the class; below 0 where it rises.
        same: Whether the two say the same of every sample, but for rounding: then no gain of either is one.
    """

    metric: str
    mine: float
    theirs: float
    gain: float
    low: float
    high: float
    confidence: float
    samples: int
    how: str
    resamples: int = 0
    test: str = ""
    p: float | None = None
    only_mine: int | None = None
    only_theirs: int | None = None
    class_drops: Mapping[str, float] | None = None
    same: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain types; no number that JSON has no word for."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


def compare(
    task: Task,
    metric: str,
    truth: NDArray[Any],
    mine: NDArray[Any],
    theirs: NDArray[Any],
    *,
    confidence: float = 0.95,
    labels: tuple[str, ...] = (),
    seed: int = 0,
) -> Comparison:
    """Compares two models' outputs on the same samples.

    Args:
        task: What both have learned.
        metric: One of the task's scores.
        truth: int64 (n,) classes or float32 (n,) numbers.
        mine: The candidate's outputs, float32 (n, units).
        theirs: The champion's, of the same shape.
        confidence: Of the two-sided interval.
        labels: Names of the classes.
        seed: Of the resamples.
    """
    mine, theirs = mine.astype(np.float64), theirs.astype(np.float64)
    shared: dict[str, Any] = {"metric": metric, "confidence": confidence, "samples": len(truth)}
    shared["same"] = bool(np.allclose(mine, theirs, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True))
    if task is not Task.REGRESSION:
        right, their_right = answers(mine) == truth, answers(theirs) == truth
        shared |= {
            "only_mine": int((right & ~their_right).sum()),
            "only_theirs": int((their_right & ~right).sum()),
            "class_drops": {
                name: float(their_right[truth == place].mean() - right[truth == place].mean())
                for place, name in enumerate(labels)
                if (truth == place).any()
            },
        }
    if metric == "test_auc":
        return _by_delong(truth, mine[:, 0], theirs[:, 0], shared)
    columns, statistic = _parts(metric, truth, mine, theirs)
    sign = -1.0 if direction_of(metric) == "minimize" else 1.0
    scores = statistic(columns.mean(axis=0)[None])[0]
    resamples = int(min(max(_MOST_DRAWS // max(1, len(truth)), _RESAMPLES[0]), _RESAMPLES[1]))
    drawn = statistic(_resampled_means(columns, resamples, np.random.default_rng(seed)))
    gains = sign * (drawn[:, 0] - drawn[:, 1])
    gain = float(sign * (scores[0] - scores[1]))
    # a resample of targets that are all alike explains nothing and is left out; a gain that is no number has no ends
    gains = gains[np.isfinite(gains)] if math.isfinite(gain) else gains[:0]
    low, high = np.quantile(gains, _ends(confidence)) if len(gains) else (math.nan, math.nan)
    tested: dict[str, Any] = {}
    if metric == "test_accuracy":
        tested = {"test": "McNemar mid-p", "p": mcnemar_mid_p(shared["only_mine"], shared["only_theirs"])}
    return Comparison(
        mine=float(scores[0]),
        theirs=float(scores[1]),
        gain=gain,
        low=float(low),
        high=float(high),
        how="paired bootstrap",
        resamples=resamples,
        **shared,
        **tested,
    )


def answers(outputs: Floats) -> NDArray[np.int64]:
    """The classes that a model's outputs name: (n, classes) probabilities, or (n, 1) of the second of two."""
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(np.int64)


def losses_of(task: Task, truth: NDArray[Any], outputs: NDArray[Any]) -> Floats:
    """What each sample costs a model: cross-entropy in nats of classes, or the size of the difference of a number."""
    outputs = outputs.astype(np.float64)
    if task is Task.REGRESSION:
        return np.asarray(np.abs(outputs[:, 0] - truth))
    of_truth = outputs[np.arange(len(truth)), truth] if outputs.shape[1] > 1 else _of_two(outputs[:, 0], truth)
    return np.asarray(-np.log(np.clip(of_truth, 1e-7, 1.0)))


def mcnemar_mid_p(only_mine: int, only_theirs: int) -> float:
    """Two-sided mid-p value of McNemar's exact test, from the numbers of samples that only one of two has right."""
    from scipy.special import bdtr  # `scipy.stats` has it, too, and takes a second to import

    differing, fewer = only_mine + only_theirs, min(only_mine, only_theirs)
    if differing == 0:
        return 1.0
    below = float(bdtr(fewer, differing, 0.5))
    at = below - float(bdtr(fewer - 1, differing, 0.5)) if fewer else below
    return 1.0 - at / 2.0 if only_mine == only_theirs else 2.0 * below - at


def _of_two(probability: Floats, truth: NDArray[Any]) -> Floats:
    return np.where(truth == 1, probability, 1.0 - probability)


def _ends(confidence: float) -> tuple[float, float]:
    return (1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0


def _parts(metric: str, truth: NDArray[Any], mine: Floats, theirs: Floats) -> tuple[Floats, Callable[[Floats], Floats]]:
    """A score as a function of means: columns (n, c), and (draws, c) means of them to (draws, 2) scores."""
    if metric == "test_accuracy":
        return np.stack([answers(mine) == truth, answers(theirs) == truth], axis=1).astype(np.float64), lambda m: m
    if metric == "test_loss":
        task = Task.MULTICLASS if mine.shape[1] > 1 else Task.BINARY
        return np.stack([losses_of(task, truth, mine), losses_of(task, truth, theirs)], axis=1), lambda m: m
    missed = np.stack([mine[:, 0] - truth, theirs[:, 0] - truth], axis=1)
    if metric == "test_mae":
        return np.abs(missed), lambda m: m
    if metric == "test_mse":
        return missed**2, lambda m: m
    if metric == "test_rmse":
        return missed**2, np.sqrt
    centred = truth.astype(np.float64) - float(np.mean(truth))  # small numbers: their squares keep their digits
    columns = np.column_stack([missed**2, centred, centred**2])

    def explained(means: Floats) -> Floats:
        spread = means[:, 3] - means[:, 2] ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1.0 - means[:, :2] / spread[:, None])

    return columns, explained


def _resampled_means(columns: Floats, resamples: int, chance: np.random.Generator) -> Floats:
    """Means (resamples, c) of the columns over as many rows as there are, drawn with replacement."""
    values, of_row = np.unique(columns, axis=0, return_inverse=True)
    count = len(columns)
    if len(values) <= 8:  # rows that are alike are drawn together: how often each kind comes is multinomial
        shares = np.bincount(of_row.reshape(-1), minlength=len(values)) / count
        return np.asarray(chance.multinomial(count, shares, size=resamples) @ values / count)
    means = np.empty((resamples, columns.shape[1]))
    block = max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        some = min(block, resamples - start)
        rows = chance.integers(0, count, size=(some, count), dtype=np.int32)
        for place in range(columns.shape[1]):
            means[start : start + some, place] = columns[:, place][rows].mean(axis=1)
    return means


def _by_delong(truth: NDArray[Any], mine: Floats, theirs: Floats, shared: dict[str, Any]) -> Comparison:
    from scipy.special import ndtr, ndtri

    second = truth == 1
    ones, zeros = int(second.sum()), int((~second).sum())
    areas, of_ones, of_zeros = [math.nan, math.nan], np.zeros((2, max(ones, 1))), np.zeros((2, max(zeros, 1)))
    for place, scores in enumerate((mine, theirs)):
        if ones and zeros:
            together = _ranks(np.concatenate([scores[second], scores[~second]]))
            areas[place] = float((together[:ones].sum() - ones * (ones + 1) / 2) / (ones * zeros))
            of_ones[place] = (together[:ones] - _ranks(scores[second])) / zeros
            of_zeros[place] = 1.0 - (together[ones:] - _ranks(scores[~second])) / ones
    gain = areas[0] - areas[1]
    deviation = math.nan
    if ones > 1 and zeros > 1:
        deviation = math.sqrt(
            float(np.var(of_ones[0] - of_ones[1], ddof=1)) / ones
            + float(np.var(of_zeros[0] - of_zeros[1], ddof=1)) / zeros
        )
    reach = deviation * float(ndtri(_ends(shared["confidence"])[1]))
    p = None
    if math.isfinite(deviation):
        p = float(2.0 * ndtr(-abs(gain) / deviation)) if deviation > 0 else (1.0 if gain == 0 else 0.0)
    return Comparison(
        mine=areas[0],
        theirs=areas[1],
        gain=gain,
        low=max(-1.0, gain - reach),
        high=min(1.0, gain + reach),
        how="DeLong",
        test="DeLong p",
        p=p,
        **shared,
    )


def _ranks(scores: Floats) -> Floats:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, of_each, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2.0)[of_each.reshape(-1)])
