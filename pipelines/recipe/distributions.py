"""What one entry of `search_space` may be: a range, a choice, or branches of which one replaces a node."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, Protocol, Union

from pydantic import BeforeValidator, Discriminator, Field, RootModel, Tag, field_validator, model_validator

from pipelines.spec import Spec

Scalar = bool | int | float | str | None


def _no_part(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError(
            "must be one value: of kinds to choose from, the name alone (optimizer: sgd), and beside it what varies "
            f"within, by its own path (optimizer.sgd.momentum: 0.9); got {value!r}"
        )
    return value


Drawn = Annotated[Scalar | list[Any], BeforeValidator(_no_part)]
"""One value of something that varies, as it is written where a trial is told what to draw."""


class Suggests(Protocol):
    """The part of an Optuna trial that sampling needs."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A float in [low, high]."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """An integer in [low, high]."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""


class FloatRange(Spec):
    """A real number between `low` and `high`, both included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    """Draw evenly in the logarithm; needs `low` above 0."""
    step: float | None = Field(None, gt=0)
    """Draw `low`, `low + step`, … only."""

    @model_validator(mode="after")
    def _makes_sense(self) -> FloatRange:
        _check_range(self.low, self.high, self.log, self.step)
        return self

    def suggest(self, trial: Suggests, name: str) -> Any:
        """The trial's value."""
        high = _last_step(self.low, self.high, self.step) if self.step else self.high
        return trial.suggest_float(name, self.low, high, step=self.step, log=self.log)

    def probes(self) -> list[Any]:
        """Values that show whether the whole range is allowed."""
        return [self.low, self.high]

    def __str__(self) -> str:
        """For a person."""
        return f"{self.low:g} to {self.high:g}" + (f" by {self.step:g}" if self.step else "") + _log(self.log)


class IntRange(Spec):
    """A whole number between `low` and `high`, both included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    """Draw evenly in the logarithm; needs `low` of 1 or more."""
    step: int = Field(1, ge=1)
    """Draw `low`, `low + step`, … only."""

    @model_validator(mode="after")
    def _makes_sense(self) -> IntRange:
        _check_range(self.low, self.high, self.log, self.step if self.step > 1 else None)
        return self

    def suggest(self, trial: Suggests, name: str) -> Any:
        """The trial's value."""
        high = self.low + (self.high - self.low) // self.step * self.step
        return trial.suggest_int(name, self.low, high, step=self.step, log=self.log)

    def probes(self) -> list[Any]:
        """Values that show whether the whole range is allowed."""
        return [self.low, self.high]

    def __str__(self) -> str:
        """For a person."""
        return f"{self.low} to {self.high}" + (f" by {self.step}" if self.step > 1 else "") + _log(self.log)


class Choices(Spec):
    """One of a list. Lists among the choices (layer sizes, say) are fine; Optuna sees them as JSON text."""

    type: Literal["categorical"] = "categorical"
    choices: tuple[Scalar | list[Any], ...] = Field(min_length=1)

    @field_validator("choices", mode="before")
    @classmethod
    def _values_or_lists(cls, choices: Any) -> Any:
        for choice in choices if isinstance(choices, list | tuple) else ():
            if isinstance(choice, dict):
                raise ValueError(
                    f"a choice is a value or a list; what is in a mapping varies by its path, got {choice}"
                )
        return choices

    def suggest(self, trial: Suggests, name: str) -> Any:
        """The trial's value."""
        by_label = {label(choice): choice for choice in self.choices}
        return by_label[trial.suggest_categorical(name, list(by_label))]

    def probes(self) -> list[Any]:
        """Every choice."""
        return list(self.choices)

    def __str__(self) -> str:
        """For a person."""
        return "one of " + ", ".join(json.dumps(choice) for choice in self.choices)


_ELSEWHERE = {"values", "min", "max", "distribution", "q", "mu", "sigma", "probabilities"}
"""Keys in which other tools write ranges and choices; no kind of a part has such a name."""


def _kind(data: Any) -> str:
    """Tells what an entry is meant to be, from its form."""
    if isinstance(data, FloatRange | IntRange | Choices):
        return data.type
    if isinstance(data, list | tuple):
        return "list"
    if isinstance(data, dict):
        if isinstance(data.get("type"), str):
            return str(data["type"])
        if data.keys() & {"low", "high", "choices"}:
            return "range without a type"
        if isinstance(data.get("name"), str):
            return "node"
        return "range of another tool" if data.keys() & _ELSEWHERE and data.keys() <= _ELSEWHERE else "branches"
    if isinstance(data, Node):
        return "node"
    return "branches" if isinstance(data, Branches) else "constant"


def _kind_inside(data: Any) -> str:
    """The same inside a branch, where a mapping may also be one that is simply part of the config."""
    kind = _kind(data)
    if kind == "range of another tool":  # `{values: [0.1, 0.2]}` may be a mapping of the config's own here
        kind = "branches"
    if kind == "branches" and isinstance(data, dict):
        contents = [value for value in data.values() if value is not None]
        kinds_only = all(
            isinstance(value, dict) and _kind(value) in {"branches", "node", "range of another tool"}
            for value in contents
        )
        return "branches" if data and kinds_only else "node"
    return kind


class Branches(RootModel[dict[str, dict[str, "BranchEntry"]]]):
    """Kinds of a part, each with what varies in it: the chosen kind replaces the whole part.

    So no parameter is ever drawn and then ignored. Values that do not vary are written plainly.
    """

    model_config = {"frozen": True}

    @model_validator(mode="before")
    @classmethod
    def _a_kind_alone_is_fine(cls, data: Any) -> Any:
        """`adam:` with nothing below is Adam with its defaults."""
        return (
            {kind: {} if entry is None else entry for kind, entry in data.items()} if isinstance(data, dict) else data
        )


class Node(RootModel[dict[str, "BranchEntry"]]):
    """A part of the config as it stands, with things in it that may vary: `{name: cosine, alpha: [0, 0.1]}`."""

    model_config = {"frozen": True}


def _from_list(data: Any) -> Any:
    return {"type": "categorical", "choices": data} if isinstance(data, list) else data


Distribution = FloatRange | IntRange | Choices

_VARYING = (
    Annotated[FloatRange, Tag("float")],
    Annotated[IntRange, Tag("int")],
    Annotated[Choices, Tag("categorical")],
    Annotated[Choices, BeforeValidator(_from_list), Tag("list")],
    Annotated[Branches, Tag("branches")],
    Annotated[Node, Tag("node")],
)
Entry = Annotated[Union[_VARYING], Discriminator(_kind)]  # type: ignore[valid-type]  # noqa: UP007
BranchEntry = Annotated[Union[(*_VARYING, Annotated[Scalar, Tag("constant")])], Discriminator(_kind_inside)]  # type: ignore[valid-type]

Branches.model_rebuild()
Node.model_rebuild()


def label(choice: Any) -> Any:
    """The choice as Optuna sees it."""
    return json.dumps(choice) if isinstance(choice, list) else choice


def _log(log: bool) -> str:
    return ", logarithmic" if log else ""


def _last_step(low: float, high: float, step: float) -> float:
    """The last of `low`, `low + step`, … that is not above `high`; Optuna would warn where that is another number."""
    steps = math.floor((high - low) / step + 1e-9)
    last = low + steps * step
    return high if abs(high - last) <= 1e-9 * max(abs(high), step) else float(f"{last:.12g}")


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low must not be above high, got low {low:g} and high {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range needs low above 0, got {low:g}")
    if log and step:
        raise ValueError("a range is either logarithmic or in steps: leave out log or step")
