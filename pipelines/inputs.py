"""What a model must know of its data, and nothing more: the one thing that data sets and models share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["image", "table", "points"]
"""`image`: (h, w) or (h, w, c). `table`: a number a column. `points`: a table of two columns, a place in the plane."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        words: None for a column of numbers, in which NaN is a missing one. For a column of categories the known words:
            the value in the array is the place of the word, counted from 1, and 0 for any other word and for none.
    """

    name: str
    words: tuple[str, ...] | None = None


@dataclass(frozen=True)
class InputFacts:
    """The form of one sample and of what is predicted.

    Attributes:
        shape: Shape of one sample, without the batch.
        low: Smallest raw value, for example 0; None where nobody can say, as in a table.
        high: Largest raw value, for example 255, or None.
        labels: Names of the classes, in the order of their numbers; empty where a number is predicted.
        kind: What a sample is.
        columns: Of a table, in order; empty otherwise.
        target: Name of what is predicted; may be empty.
        mean: Mean of the training samples, by channel of an image (one number for a grey one) or column of a table.
        deviation: Their standard deviation, likewise; 1 where a column has but one value, or holds categories.
        target_mean: Mean of the training targets, where a number is predicted.
        target_deviation: Their standard deviation, above 0.
    """

    shape: tuple[int, ...]
    low: float | None
    high: float | None
    labels: tuple[str, ...]
    kind: Kind = "image"
    columns: tuple[Column, ...] = ()
    target: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    target_mean: float = 0.0
    target_deviation: float = 1.0

    @property
    def has_words(self) -> bool:
        """Whether a raw sample holds words beside numbers."""
        return any(column.words is not None for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> InputFacts:
        """The inverse of `to_json`."""
        columns = tuple(
            Column(column["name"], None if column["words"] is None else tuple(column["words"]))
            for column in data.get("columns", ())
        )
        known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return cls(**(known | {"columns": columns}))
