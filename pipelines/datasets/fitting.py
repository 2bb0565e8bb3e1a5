"""What is learned from the training part alone before anything trains: means, spreads, and the words that are known.

A model takes all of it from the facts, so that the same graph serves raw samples. Validation and test part have no say
in it: a word that only they hold is an unknown word, as it would be when it came from a client.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import Rows, Source, chunks
from pipelines.inputs import Column, InputFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fitted:
    """What was learned from the training part.

    Attributes:
        facts: The facts of the data set, with means, deviations and known words.
        recodings: By place of a column of categories: the new code of each old one, int64 (old words + 1,).
    """

    facts: InputFacts
    recodings: dict[int, NDArray[np.int64]]

    def recode(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows (n, *shape) as a model takes them: words that were not seen in training become 0."""
        if not self.recodings:
            return rows
        recoded = np.array(rows)
        for place, codes in self.recodings.items():
            recoded[:, place] = codes[recoded[:, place].astype(np.int64)]
        return recoded


def fit(source: Source, train: NDArray[np.int64]) -> Fitted:
    """Learns from the samples at `train`; reads them some at a time, as they may be larger than the memory."""
    rows, facts = source.samples.x, source.facts
    seen = {place: np.zeros(len(column.words) + 1, bool) for place, column in _categories(facts)}
    for chunk in chunks(rows, train) if seen else ():
        for place, known in seen.items():
            known[np.unique(chunk[:, place].astype(np.int64))] = True
    columns, recodings = list(facts.columns), {}
    for place, known in seen.items():
        known[0] = False  # no word, or none that counts
        recodings[place] = np.where(known, np.cumsum(known), 0)
        words = columns[place].words or ()
        columns[place] = Column(
            columns[place].name, tuple(word for word, is_known in zip(words, known[1:], strict=True) if is_known)
        )
    mean, deviation = _spread(rows, train, facts)
    for place in seen:
        mean[place], deviation[place] = 0.0, 1.0
    targets = (0.0, 1.0)
    if not facts.labels:
        y = np.asarray(source.samples.y[train], np.float64)
        targets = (float(y.mean()), float(y.std()) or 1.0)
    fitted = replace(
        facts,
        columns=tuple(columns),
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        target_mean=targets[0],
        target_deviation=targets[1],
    )
    return Fitted(fitted, recodings)


def _categories(facts: InputFacts) -> list[tuple[int, Any]]:
    return [(place, column) for place, column in enumerate(facts.columns) if column.words is not None]


def _spread(rows: Rows, train: NDArray[np.int64], facts: InputFacts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of what is no NaN, by channel or column; one of each for a grey image."""
    groups = facts.shape[-1] if facts.kind != "image" or len(facts.shape) == 3 else 1
    count, total, squares = np.zeros(groups), np.zeros(groups), np.zeros(groups)
    shift: NDArray[np.float64] | None = None
    for chunk in chunks(rows, train):
        values = np.asarray(chunk, np.float64).reshape(-1, groups)
        if shift is None:  # sums of squares far from zero would lose their digits
            shift = np.nan_to_num(values[0]) if len(values) else np.zeros(groups)
        moved = values - shift
        known = ~np.isnan(moved)
        count += known.sum(axis=0)
        total += np.where(known, moved, 0.0).sum(axis=0)
        squares += np.where(known, moved * moved, 0.0).sum(axis=0)
    count = np.maximum(count, 1)
    off = total / count
    deviation = np.sqrt(np.maximum(squares / count - off * off, 0.0))
    return off + (shift if shift is not None else 0.0), np.where(deviation > 1e-12 * (1 + np.abs(off)), deviation, 1.0)
