"""Arrays in NumPy files of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipelines.datasets.arrays import Given
from pipelines.datasets.base import HeldOutSpec, Source
from pipelines.datasets.numpy_file import read_npz
from pipelines.datasets.places import find
from pipelines.datasets.words import Word
from pipelines.inputs import Kind
from pipelines.tasks import Task


class Npz(HeldOutSpec):
    """Arrays in a NumPy file (.npz) of your own: images or a table, with classes or a number.

    (n, h, w) and (n, h, w, c), c being 1, 3 or 4, are images; (n, k) is a table, in which NaN is a missing number.
    """

    tasks: ClassVar[tuple[Task, ...]] = ()
    kind: ClassVar[Kind | None] = None

    name: Literal["npz"] = "npz"
    path: str = Field(min_length=1)
    """The file: a whole path, or one from `REGATTA_DATA` or from here."""
    x: str = "x"
    """The array of samples."""
    y: str = "y"
    """The array of what is predicted, (n,): class numbers, words, or numbers."""
    x_test: str | None = None
    """The array of the test part's samples; without it, `test_share` of the samples is sealed."""
    y_test: str | None = None
    """The array of what is predicted of them."""
    labels: tuple[Word, ...] = ()
    """Names of the classes, in the order of their numbers; left out, the numbers or words themselves."""
    columns: tuple[Word, ...] = ()
    """Names of a table's columns; left out, x0, x1 and so on."""
    target: str = ""
    """Name of what is predicted."""
    low: float | None = None
    """Smallest value of an image; left out, 0 for unsigned bytes, and otherwise told from the data."""
    high: float | None = None
    """Largest value of an image; left out, 255 for unsigned bytes, and otherwise told from the data."""

    @property
    def held_out_share(self) -> float | None:
        """The recipe's `test_share`, or None where there are arrays of the test part."""
        return None if self.x_test else self.test_share

    @model_validator(mode="after")
    def _goes_together(self) -> Npz:
        if (self.x_test is None) != (self.y_test is None):
            raise ValueError("`x_test` and `y_test` go together: name both arrays of the test part, or none")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"`low` must be below `high`, got {self.low:g} and {self.high:g}")
        return self

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """images: as they are, or float32; table: float32 (n, k)."""
        path = find(self.path, folder)
        names = (self.x, self.y, self.x_test or "", self.y_test or "")
        arrays = read_npz(path, [name for name in names if name], " Say which is which: x, y, x_test, y_test.")
        x, y, x_test, y_test = (*arrays, None, None)[:4]
        return Given(
            x,
            y,
            x_test,
            y_test,
            what=str(path),
            names=names,
            labels=self.labels,
            columns=self.columns,
            target=self.target,
            low=self.low,
            high=self.high,
        ).source(task)
