"""Rows and answers to counts: into which bins of the training data's distributions they fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.model_server.package import Contract
from services.model_server.traffic.reference import Group, Profile

Counts = NDArray[np.float64]


class Part(NamedTuple):
    """Where a distribution lies in a vector of counts. `extra` more places follow: unknown and missing words."""

    name: str
    kind: str
    start: int
    bins: int
    extra: int
    expected: Counts


class Bins:
    """Counts for one model. The vector starts with the number of rows; then come the groups, then the answers."""

    def __init__(self, profile: Profile, contract: Contract) -> None:
        self.rows_expected = profile.rows
        self._contract = contract
        self._groups: list[tuple[Part, Callable[[NDArray[Any]], Counts]]] = []
        start = 1
        places = {name: place for place, name in enumerate(contract.column_names)}
        for group in profile.groups:
            extra = 2 if group.kind == "words" else 0
            part = Part(group.name, group.kind, start, len(group.counts), extra, group.expected)
            self._groups.append((part, _counter(group, places.get(group.name, 0), contract)))
            start += part.bins + extra
        output = profile.output
        self._edges = np.array(output.edges)
        self.output = Part(
            contract.target or "answers", output.kind, start, len(output.counts), 0, np.array(output.counts)
        )
        self.size = start + self.output.bins

    @property
    def groups(self) -> list[Part]:
        """The distributions of the inputs."""
        return [part for part, _ in self._groups]

    def count(self, rows: NDArray[Any], outputs: NDArray[Any]) -> Counts:
        """Counts rows (n, *sample shape) and their outputs (n, outputs)."""
        vector = np.zeros(self.size)
        vector[0] = len(rows)
        for part, counter in self._groups:
            vector[part.start : part.start + part.bins + part.extra] = counter(rows)
        vector[self.output.start :] = self._count_outputs(outputs)
        return vector

    def _count_outputs(self, outputs: NDArray[Any]) -> Counts:
        if self._contract.labels:
            chosen = classes_of(outputs, self._contract)
            return np.bincount(chosen, minlength=self.output.bins).astype(np.float64)
        return _count_numbers(outputs[:, 0], self._edges)


def classes_of(outputs: NDArray[Any], contract: Contract) -> NDArray[np.int64]:
    """The class that each answer names, by its place among the labels."""
    chosen: NDArray[np.int64]
    chosen = (outputs[:, 0] >= 0.5).astype(np.int64) if contract.task == "binary" else outputs.argmax(axis=1)
    return chosen


def _counter(group: Group, place: int, contract: Contract) -> Callable[[NDArray[Any]], Counts]:
    edges = np.array(group.edges)
    if group.kind == "values":
        return lambda rows: _count_numbers(rows.reshape(-1), edges)
    if group.kind == "mean":
        return lambda rows: _count_numbers(rows.reshape(len(rows), -1).mean(axis=1, dtype=np.float64), edges)
    if group.kind == "number":
        return lambda rows: _count_numbers(_numbers(rows[:, place]), edges)
    bins = {word: index for index, word in enumerate(group.words)}
    known = contract.columns[place].known
    return lambda rows: _count_words(rows[:, place].tolist(), bins, known)


def _numbers(cells: NDArray[Any]) -> NDArray[Any]:
    return cells.astype(np.float64) if cells.dtype == object else cells


def _count_numbers(numbers: NDArray[Any], edges: Counts) -> Counts:
    finite = np.isfinite(numbers)
    kept = numbers if finite.all() else numbers[finite]
    bins = np.bincount(np.searchsorted(edges, kept, side="right"), minlength=len(edges) + 1)
    return np.array([*bins.tolist(), len(numbers) - len(kept)], dtype=np.float64)


def _count_words(cells: list[str], bins: dict[str, int], known: frozenset[str]) -> Counts:
    other, none, unknown, missing = (len(bins) + place for place in range(4))
    counts = np.zeros(len(bins) + 4)
    for cell in cells:
        if cell == "":
            counts[none] += 1
            counts[missing] += 1
        elif (place := bins.get(cell)) is not None:
            counts[place] += 1
        elif cell in known:
            counts[other] += 1
        else:
            counts[none] += 1
            counts[unknown] += 1
    return counts
