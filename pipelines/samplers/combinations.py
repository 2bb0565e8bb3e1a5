"""Every combination of what varies, with branches: counted and told apart, never listed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipelines.samplers.varying import Varying

Params = Mapping[str, Any]
Way = tuple[tuple[str, Any], ...]
"""What a trial has drawn, in the order of drawing: a whole combination, or the beginning of one."""


class Combinations:
    """The reachable combinations of a search space in which everything has an end.

    A combination is what a trial draws: a value for each thing that its own choices make it draw. What is inside a
    branch that was not chosen is no part of it, and so does not multiply the combinations.
    """

    def __init__(self, what_varies: Iterable[Varying]) -> None:
        """Takes what varies, a branch before what is inside it; each has finitely many values."""
        self._values: dict[str, Sequence[Any]] = {}
        # by the choice of a branch, inside which it varies; None outside of all branches
        self._inside: dict[tuple[str, Any] | None, list[str]] = {None: []}
        for found in what_varies:
            self._values[found.name] = found.domain.values()
            place = list(found.given.items())[-1] if found.given else None
            self._inside.setdefault(place, []).append(found.name)
        self._branches = {place[0] for place in self._inside if place is not None}
        self._known = {name: frozenset(values) for name, values in self._values.items()}

    def fixed(self, values: Params) -> Combinations:
        """Those of them that have these values."""
        if not values:
            return self
        narrowed = copy.copy(self)
        narrowed._values = {**self._values, **{name: [value] for name, value in values.items()}}
        return narrowed

    def values(self, name: str) -> Sequence[Any]:
        """What a thing may be."""
        return self._values[name]

    def count(self, chosen: Params | None = None) -> int:
        """How many combinations go on from what is chosen; all there are where nothing is."""
        return self._count(None, chosen or {})

    def count_by_value(self, name: str, chosen: Params) -> list[int]:
        """How many go on from what is chosen with each value of a thing."""
        values = self._values[name]
        if name in self._branches:
            return [self.count({**chosen, name: value}) for value in values]
        return [self.count({**chosen, name: values[0]})] * len(values)

    def way(self, params: Params) -> Way | None:
        """The combination that these parameters are, or its beginning; None where they do not lead to any."""
        way: list[tuple[str, Any]] = []
        for name in self._reached(None, params):
            if name not in params:
                break
            if params[name] not in self._known[name]:
                return None
            way.append((name, params[name]))
        return tuple(way) if len(way) == len(params) else None

    def is_one(self, way: Way) -> bool:
        """Whether a way is at its end: a whole combination."""
        return len(way) == sum(1 for _ in self._reached(None, dict(way)))

    def _count(self, place: tuple[str, Any] | None, chosen: Params) -> int:
        many = 1
        for name in self._inside.get(place, ()):
            values = [chosen[name]] if name in chosen else self._values[name]
            if name in self._branches:
                many *= sum(self._count((name, value), chosen) for value in values)
            else:
                many *= len(values)
        return many

    def _reached(self, place: tuple[str, Any] | None, params: Params) -> Iterator[str]:
        """Names of what is drawn, in the order of drawing, given the branches chosen."""
        for name in self._inside.get(place, ()):
            yield name
            if name in self._branches and name in params:
                yield from self._reached((name, params[name]), params)
