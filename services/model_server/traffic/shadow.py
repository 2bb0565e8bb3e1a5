"""The challenger in the shadow: it answers a share of the champion's requests as well, and nobody sees its answers."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.model_server.package import Contract
from services.model_server.served import ServedModel
from services.model_server.traffic.binning import classes_of
from services.model_server.traffic.windows import Window

MOST_PAIRS = 1000
"""Pairs of labels that are counted apart; rarer ones than that are not worth the memory."""


class Compared(NamedTuple):
    """What came of one request.

    Attributes:
        rows: How many samples it had.
        agreed: For how many of them both named the same class; of a regression 0.
        difference: Sum over the rows of the largest difference of an output.
        champion_s: Seconds of the champion, waiting included.
        challenger_s: Seconds of the challenger.
        pairs: Champion's class and challenger's, of the rows on which they disagree.
    """

    rows: int
    agreed: int
    difference: float
    champion_s: float
    challenger_s: float
    pairs: tuple[tuple[int, int], ...]


def cannot_compare(champion: Contract, challenger: Contract) -> str | None:
    """Says why two models cannot answer the same requests, or None."""
    if champion.task != challenger.task:
        return f"its task is {challenger.task}, the champion's is {champion.task}"
    if (champion.input.dtype, champion.input.shape) != (challenger.input.dtype, challenger.input.shape):
        return "it takes other inputs than the champion"
    if champion.column_names != challenger.column_names:
        return "it takes other columns than the champion"
    if set(champion.labels) != set(challenger.labels):
        return "it knows other labels than the champion"
    return None


def compare(
    champion: ServedModel, challenger: ServedModel, rows: NDArray[Any], outputs: NDArray[Any], champion_s: float
) -> Compared:
    """Lets the challenger answer, and holds its answers against the champion's `outputs`. In the sideline's thread."""
    start = time.perf_counter()
    found = challenger.predictor.run(rows)
    challenger_s = time.perf_counter() - start
    mine, theirs = champion.contract, challenger.contract
    if mine.labels != theirs.labels:  # the same classes in another order
        order = [theirs.labels.index(label) for label in mine.labels]
        found = found[:, order] if mine.task == "multiclass" else 1.0 - found
    gaps = np.abs(found.astype(np.float64) - outputs).max(axis=1)
    difference = float(np.sum(gaps, where=np.isfinite(gaps)))
    if not mine.labels:
        return Compared(len(rows), 0, difference, champion_s, challenger_s, ())
    said, other = classes_of(outputs, mine), classes_of(found, mine)
    apart = said != other
    pairs = tuple(zip(said[apart].tolist(), other[apart].tolist(), strict=True))
    return Compared(len(rows), len(rows) - len(pairs), difference, champion_s, challenger_s, pairs)


class Shadow:
    """The numbers of one challenger beside one champion."""

    def __init__(
        self, champion: ServedModel, challenger: ServedModel, span_s: float, clock: Callable[[], float]
    ) -> None:
        """Starts without a request, and keeps neither model; see `Window` for `span_s` and `clock`."""
        self.digests = (champion.digest, challenger.digest)
        self.challenger = challenger.version
        self._labels = champion.contract.labels
        self.why_not = cannot_compare(champion.contract, challenger.contract)
        self.dropped = 0
        self._window = Window(6, span_s, clock)
        self._pairs: Counter[tuple[int, int]] = Counter()

    def add(self, compared: Compared) -> None:
        """Counts one request."""
        amounts = (1, *compared[:5])
        self._window.add(np.array(amounts, dtype=np.float64))
        for pair in compared.pairs:
            if pair in self._pairs or len(self._pairs) < MOST_PAIRS:
                self._pairs[pair] += 1

    @property
    def rows(self) -> int:
        """Rows that were compared since the start."""
        return int(self._window.total[1])

    def report(self) -> dict[str, Any]:
        """Returns agreement, differences and times over the window, and the most frequent disagreements."""
        requests, rows, agreed, difference, champion_s, challenger_s = self._window.sums().tolist()
        labels = self._labels
        share = agreed / rows if rows and labels else None
        return {
            "challenger": self.challenger,
            "why_not": self.why_not,
            "requests": int(requests),
            "rows": int(rows),
            "dropped_requests": self.dropped,
            "agreement": share,
            "agreement_interval": None if share is None else wilson(agreed, rows),
            "mean_difference": difference / rows if rows else None,
            "champion_ms": champion_s / requests * 1e3 if requests else None,
            "challenger_ms": challenger_s / requests * 1e3 if requests else None,
            "disagreements": [
                {"champion": labels[said], "challenger": labels[other], "rows": count}
                for (said, other), count in self._pairs.most_common(10)
            ],
        }


def wilson(hits: float, of: float, deviations: float = 1.96) -> list[float] | None:
    """Returns the 95 % interval of a share (E. B. Wilson, Probable inference, JASA 22, 1927); None of nothing."""
    if not of:
        return None
    share, square = hits / of, deviations**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = deviations * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return [round(max(0.0, middle - half), 6), round(min(1.0, middle + half), 6)]
