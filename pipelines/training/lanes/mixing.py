"""One program for trials that differ in their optimizer alone: what each of them holds, and where the program has it.

To make a program takes longer than to train dozens of small models, and lanes that nobody is in are computed, too. So
groups of trials that have everything in common but the optimizer go through the same forward and backward pass. Each
optimizer's rule is computed for all lanes, which is little beside that, and each lane takes what is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.training.lanes.bank import Bank
from pipelines.training.lanes.template import Template


class Mixture:
    """The templates of some groups, and how the values of all of them lie in one row of places.

    Optimizers keep numbers of the same shapes: the first moments of one lie where another has its momentum. So a lane
    is as large as that of the largest optimizer alone.

    Attributes:
        templates: Of each group, by its key. The first is the one whose model makes the steps.
        places: For each template, the place of each of its values among all.
        first: Values for all places, of the right shapes and types.
        lifts: Names of all settings that a lane may have its own value of.
    """

    def __init__(self, templates: Mapping[str, Template]) -> None:
        """Takes the templates; their models are alike."""
        self.templates = dict(templates)
        self.first: list[np.ndarray] = []
        self.places = [self._placed(template.first) for template in templates.values()]
        self.lifts = tuple(sorted({name for template in templates.values() for name in template.lifts}))
        self._numbers = {key: number for number, key in enumerate(templates)}

    @property
    def main(self) -> Template:
        """The template whose model makes the steps."""
        return next(iter(self.templates.values()))

    @property
    def value_bytes(self) -> int:
        """Bytes of all values of a lane."""
        return sum(value.nbytes for value in self.first)

    def number(self, key: str) -> int:
        """Which of the templates is that of a group."""
        return self._numbers[key]

    def seen_in(self, bank: Bank, key: str) -> Bank | View:
        """The bank as lanes of one group see it."""
        places = self.places[self.number(key)]
        return bank if places == [*range(len(self.first))] else View(bank, places)

    def _placed(self, values: Sequence[np.ndarray]) -> list[int]:
        """The places for these values: of those that there are, each the first of its kind that is free, or new ones.

        What is in all templates comes first in each, so that it has the same places.
        """
        free = [*range(len(self.first))]
        found = []
        for value in values:
            alike = (at for at in free if _form(self.first[at]) == _form(value))
            place = next(alike, None)
            if place is None:
                place = len(self.first)
                self.first.append(value)
            else:
                free.remove(place)
            found.append(place)
        return found


class View:
    """A bank, of which lanes of one optimizer see what is theirs."""

    def __init__(self, bank: Bank, places: Sequence[int]) -> None:
        """Takes the bank, and the place in it of each of their values."""
        self._bank = bank
        self._places = places

    def read(self, lane: int, place: int) -> np.ndarray:
        """See `Bank`."""
        return self._bank.read(lane, self._places[place])

    def read_all(self, lane: int) -> list[np.ndarray]:
        """See `Bank`."""
        values = self._bank.read_all(lane)
        return [values[place] for place in self._places]

    def write(self, lane: int, values: Mapping[int, np.ndarray]) -> None:
        """See `Bank`."""
        self._bank.write(lane, {self._places[place]: value for place, value in values.items()})


def _form(value: np.ndarray) -> tuple[Any, ...]:
    return value.shape, value.dtype
