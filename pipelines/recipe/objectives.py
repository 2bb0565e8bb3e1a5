"""What a study looks for: one objective or several, and the bounds that a trial has to keep.

Both are about metrics of an epoch, and about costs that are known only at the end of a trial.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    TypeAdapter,
    model_serializer,
    model_validator,
)

from pipelines.metrics import Direction, direction_of
from pipelines.spec import Spec

COSTS: Mapping[str, str] = {
    "parameters": "numbers in the model's weights",
    "seconds": "seconds of training",
}
"""What a trial costs, known at its end: by name, and in words."""
MEMORY = "memory"
"""The constraint that a trial breaks which ran out of memory; no metric has this name."""
MOST_OBJECTIVES = 4
STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _usable_name(name: str) -> str:
    """A study's name becomes a folder's, an experiment's and a registered model's."""
    if not re.fullmatch(STUDY_NAME, name):
        raise ValueError(f"must be letters, digits, '.', '_' or '-', and begin with a letter or digit, got {name!r}")
    return name


StudyName = Annotated[str, AfterValidator(_usable_name)]
"""Name of a study."""


class Objective(Spec):
    """What the study looks for: the best epoch's value of one metric."""

    metric: str = "val_loss"
    """The metric; one of validation, as the best training loss is no news."""
    direction: Direction | None = None
    """`minimize` or `maximize`; told from the metric where left out."""

    @property
    def sense(self) -> Direction:
        """The direction, told from the metric where the recipe does not say."""
        return self.direction or ("minimize" if self.metric in COSTS else direction_of(self.metric))

    @property
    def all(self) -> tuple[Objective, ...]:
        """This one and those that stand beside it."""
        return (self,)


class SeveralObjectives(Objective):
    """The first of several objectives, which decides each trial's best epoch, with the others beside it."""

    others: tuple[Objective, ...] = Field(min_length=1, max_length=MOST_OBJECTIVES - 1)
    """Their values are those of the first one's best epoch."""

    @property
    def all(self) -> tuple[Objective, ...]:
        """All of them, in the order of the recipe."""
        return (Objective(metric=self.metric, direction=self.direction), *self.others)

    @model_serializer
    def _as_list(self) -> list[dict[str, Any]]:
        """As the recipe has them."""
        return [each.model_dump(mode="json") for each in self.all]


def _metric_alone(data: Any) -> Any:
    return {"metric": data} if isinstance(data, str) else data


_LISTED: TypeAdapter[tuple[Objective, ...]] = TypeAdapter(
    Annotated[
        tuple[Annotated[Objective, BeforeValidator(_metric_alone)], ...],
        Field(min_length=1, max_length=MOST_OBJECTIVES),
    ]
)


def _read(data: Any) -> Any:
    """One objective, by its metric alone or with its direction, or a list of several."""
    if not isinstance(data, list | tuple):
        return _metric_alone(data)
    first, *others = _LISTED.validate_python(data)
    if not others:
        return first
    return SeveralObjectives(metric=first.metric, direction=first.direction, others=tuple(others))


Objectives = Annotated[SerializeAsAny[Objective], BeforeValidator(_read)]
"""The recipe's `objective`: as an attribute it is the first one, which knows the others."""


class Bound(Spec):
    """What a metric of a trial's best epoch, or a cost of the trial, has to be."""

    least: float | None = None
    """The lowest value that is fine."""
    most: float | None = None
    """The highest value that is fine."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Bound:
        if self.least is None and self.most is None:
            raise ValueError("needs least, most or both; it bounds nothing without them")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"least must not be above most, got least {self.least:g} and most {self.most:g}")
        return self

    def violation(self, value: float | None) -> float:
        """How far a value is beyond the bound, in its own unit: at most 0 where the bound is kept.

        For a value that is not there or no number it is 1, as nobody knows that it keeps the bound.
        """
        if value is None or math.isnan(value):
            return 1.0
        below = -math.inf if self.least is None else self.least - value
        above = -math.inf if self.most is None else value - self.most
        return max(below, above)

    def value(self, violation: float) -> float | None:
        """The value that is so far beyond the bound; None where there may be two of them."""
        if self.least is not None and self.most is not None:
            return None
        return self.most + violation if self.most is not None else (self.least or 0.0) - violation

    def __str__(self) -> str:
        """For a person."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"


class WarmStart(Spec):
    """An older study whose trials the new one begins with. They are no trials of its own, and count nowhere."""

    study: StudyName
    """Name of the older study; the study's own name means the one before it, which `--fresh` set aside."""
    trials: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """How many, the best by the first objective first; or `all` that fit the search space."""


def study_alone(data: Any) -> Any:
    """Lets `warm_start: NAME` stand for `warm_start: {study: NAME}`."""
    return {"study": data} if isinstance(data, str) else data
