"""What varies, as samplers see it: names, ranges and options, without the search space that they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included, by `step` where there is one.

    Attributes:
        whole: Whether they are whole numbers.
        log: Whether they are drawn evenly in the logarithm.
    """

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    @property
    def size(self) -> float:
        """How many numbers there are; infinite without a step."""
        if self.low == self.high:
            return 1
        return math.inf if self.step is None else int(self._span() // Decimal(str(self.step))) + 1

    @property
    def top(self) -> float:
        """The highest number that is reached: `high`, or less where steps do not end there."""
        return self.high if self.step is None else self._at(int(self.size) - 1)

    def values(self) -> Sequence[float]:
        """Every number, as Optuna counts them: in decimals, so that three steps of 0.1 are 0.3."""
        return [self._at(number) for number in range(int(self.size))]

    def read(self, value: Any) -> float:
        """A value as a trial draws it.

        Raises:
            ValueError: It is none of these numbers; the message says which are.
        """
        number = _number(value)
        if number is None:
            raise ValueError(f"must be a number from {self.low:g} to {self.high:g}, got {value!r}")
        nearest = self._nearest(number)
        if not self.low <= nearest <= self.high:
            raise ValueError(f"must be a number from {self.low:g} to {self.high:g}, got {value!r}")
        if abs(nearest - number) > 1e-9 * max(abs(number), abs(nearest), self.step or 0):
            whole = self.step is None or self.step == 1
            these = f"a whole number from {self.low:g} to {self.high:g}" if whole else self._first_and_last()
            raise ValueError(f"must be {these}, got {value!r}")
        return nearest

    def _nearest(self, number: float) -> float:
        """The number of these steps that is nearest, whether or not it is within the range."""
        if self.step is None or self.log:
            return round(number) if self.whole else number
        return self._at(round((Decimal(str(number)) - Decimal(str(self.low))) / Decimal(str(self.step))))

    def _first_and_last(self) -> str:
        return f"{self.low:g}, {self._at(1):g}, … up to {self.top:g}" if self.size > 1 else f"{self.low:g}"

    def _span(self) -> Decimal:
        return Decimal(str(self.high)) - Decimal(str(self.low))

    def _at(self, number: int) -> float:
        if self.whole:
            return int(self.low) + number * int(self.step or 1)
        return float(Decimal(str(self.low)) + number * Decimal(str(self.step or 0)))


@dataclass(frozen=True)
class Options:
    """A few values of any kind, in no order."""

    choices: tuple[Any, ...]

    @property
    def size(self) -> float:
        """How many there are."""
        return len(self.choices)

    def values(self) -> Sequence[Any]:
        """Every one of them."""
        return self.choices

    def read(self, value: Any) -> Any:
        """A value as a trial draws it.

        Raises:
            ValueError: It is none of them; the message lists them.
        """
        for choice in self.choices:  # true is no 1, although Python finds them equal
            if isinstance(choice, bool) == isinstance(value, bool) and choice == value:
                return choice
        if not isinstance(value, bool):
            number = _number(value)  # YAML reads 1e-4 as text
            for choice in self.choices:
                if number is not None and type(choice) in (int, float) and choice == number:
                    return choice
        raise ValueError(f"must be {_listed(self.choices)}, got {value!r}")


@dataclass(frozen=True)
class Varying:
    """One thing that is drawn.

    Attributes:
        name: Its name in the study.
        domain: What it is drawn from.
        given: The choices of a branch, by name and from the outermost in, without which it is not drawn at all.
    """

    name: str
    domain: Range | Options
    given: Mapping[str, str]


class Drawn(Protocol):
    """The part of a search space's parameter that is needed to see it as a sampler does."""

    @property
    def name(self) -> str:
        """Its name in the study."""

    @property
    def distribution(self) -> Any:
        """What it is drawn from: something with `suggest(trial, name)`, or the kinds to choose from."""

    @property
    def given(self) -> Mapping[str, str]:
        """The branch choices under which it exists."""


def varying(parameters: Iterable[Drawn]) -> tuple[Varying, ...]:
    """Everything that is drawn, in the order of the search space: a branch stands before what is inside it."""
    return tuple(Varying(found.name, _domain(found.distribution), found.given) for found in parameters)


def highest(what_varies: Iterable[Varying], name: str, otherwise: int) -> int:
    """The highest that a number may be: of what it is drawn from where it varies, `otherwise` where it does not."""
    for found in what_varies:
        if found.name == name:
            domain = found.domain
            return int(domain.top) if isinstance(domain, Range) else max(int(choice) for choice in domain.choices)
    return otherwise


def _domain(distribution: Any) -> Range | Options:
    if isinstance(distribution, tuple):
        return Options(distribution)
    asked = _Asked()
    distribution.suggest(asked, "")
    return asked.domain


class _Asked:
    """Stands in for a trial, and notes what is asked of it: this is how a study sees a distribution."""

    domain: Range | Options

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.domain = Range(low, high, step, log, whole=False)
        return low

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.domain = Range(low, high, step, log, whole=True)
        return low

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.domain = Options(tuple(choices))
        return choices[0]


def _number(value: Any) -> float | None:
    """A number, also where YAML has read it as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _listed(choices: Sequence[Any]) -> str:
    words = [repr(choice) for choice in choices]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
