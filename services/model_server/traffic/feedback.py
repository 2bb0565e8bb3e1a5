"""Feedback: what was right, told later by request id, and the live accuracy that follows from it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model_server.package import Contract
from services.model_server.traffic.shadow import wilson
from services.model_server.traffic.windows import Window

Version = tuple[str, str]

MOST_ROWS = 4096
"""A request of more rows than that is not remembered."""


@dataclass(slots=True)
class Remembered:
    """One answered request.

    Attributes:
        version: Name and version of the model that answered.
        said: The class of each row, int64 (n,), or its value, float64 (n,).
        until: When it is forgotten.
        counted: Whether somebody has told what was right.
    """

    version: Version
    said: NDArray[Any]
    until: float
    counted: bool = False


class Memory:
    """Request ids with what was answered, bounded by rows and by age. The oldest are forgotten first."""

    def __init__(self, most_rows: int, ttl_s: float, clock: Callable[[], float]) -> None:
        """Starts empty; `clock` gives seconds, monotonic."""
        self._most_rows = most_rows
        self._ttl_s = ttl_s
        self._clock = clock
        self._requests: OrderedDict[str, Remembered] = OrderedDict()
        self.rows = 0

    def __len__(self) -> int:
        """How many requests are remembered."""
        return len(self._requests)

    def keep(self, request_id: str, version: Version, said: NDArray[Any]) -> None:
        """Remembers an answer; of two with the same id the later one."""
        if len(said) > min(MOST_ROWS, self._most_rows):
            return
        before = self._requests.pop(request_id, None)
        if before is not None:
            self.rows -= len(before.said)
        self._requests[request_id] = Remembered(version, said, self._clock() + self._ttl_s)
        self.rows += len(said)
        self._forget()

    def find(self, request_id: str) -> Remembered | None:
        """Returns what was answered, if it is still remembered."""
        self._forget()
        return self._requests.get(request_id)

    def _forget(self) -> None:
        now = self._clock()
        while self._requests:
            oldest = next(iter(self._requests.values()))
            if self.rows <= self._most_rows and oldest.until > now:
                return
            self.rows -= len(oldest.said)
            self._requests.popitem(last=False)


class Score:
    """The live accuracy of one model version, or the error of its values."""

    def __init__(self, contract: Contract, span_s: float, clock: Callable[[], float]) -> None:
        """Starts without feedback; see `Window` for `span_s` and `clock`."""
        self.labels = contract.labels
        self._window = Window(3 + 2 * len(self.labels), span_s, clock)

    def add(self, said: NDArray[Any], truth: NDArray[Any]) -> None:
        """Counts rows: classes by their places (n,), or values (n,)."""
        amounts = np.zeros(len(self._window.total))
        amounts[0] = len(said)
        if self.labels:
            right = said == truth
            amounts[1] = right.sum()
            classes = len(self.labels)
            amounts[3 : 3 + classes] = np.bincount(truth, minlength=classes)
            amounts[3 + classes :] = np.bincount(truth[right], minlength=classes)
        else:
            missed = said.astype(np.float64) - truth
            amounts[1:3] = np.abs(missed).sum(), (missed**2).sum()
        self._window.add(amounts)

    @property
    def rows(self) -> int:
        """Rows with feedback since the start."""
        return int(self._window.total[0])

    def report(self) -> dict[str, Any]:
        """Returns accuracy with its interval and per label, or the errors, over the window and since the start."""
        return {"window": self._said(self._window.sums()), "since_start": self._said(self._window.total)}

    def _said(self, sums: NDArray[np.float64]) -> dict[str, Any]:
        rows, first, second = sums[:3].tolist()
        if not self.labels:
            errors = {"mae": first / rows, "rmse": (second / rows) ** 0.5} if rows else {"mae": None, "rmse": None}
            return {"rows": int(rows), **errors}
        of, right = sums[3 : 3 + len(self.labels)], sums[3 + len(self.labels) :]
        return {
            "rows": int(rows),
            "right": int(first),
            "accuracy": first / rows if rows else None,
            "interval": wilson(first, rows),
            "labels": {
                label: {"rows": int(rows), "recall": float(hits / rows)}
                for label, rows, hits in zip(self.labels, of, right, strict=True)
                if rows
            },
        }
