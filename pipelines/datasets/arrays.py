"""Arrays, however they came, taken for what their shapes say: images, a table, or points; for `npz` and `function`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import Rows, Samples, Source, chunks
from pipelines.datasets.columns import Reading, categories
from pipelines.datasets.rows import Converted
from pipelines.datasets.targets import read_targets
from pipelines.datasets.words import listed
from pipelines.errors import DataError
from pipelines.inputs import Column, InputFacts, Kind
from pipelines.tasks import Task

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FORMS = "(n, h, w) or (n, h, w, c) for images, c being 1, 3 or 4, or (n, k) for a table"
_AS_THEY_ARE = (np.uint8, np.int8, np.uint16, np.int16)
"""Types of images that stay, as they need less memory than float32 and fit into it."""
_USUAL_RANGES = ((0.0, 1.0), (-1.0, 1.0))
"""Ranges that images of floats are taken to have where all of their values lie within."""
MOST_CATEGORIES = 1000
"""Different words that a column of a DataFrame may have."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Given:
    """Arrays as they came, and what was said of them.

    Attributes:
        x: Samples: an array, rows that are read when asked for, or a DataFrame.
        y: What is predicted.
        x_test: Samples of the test part, or None.
        y_test: What is predicted of them, or None.
        what: Word for the whole in an error, such as the file's name.
        names: Words for the four arrays in an error.
        labels: Names of the classes in order; may be empty.
        columns: Names of a table's columns; may be empty.
        target: Name of what is predicted; may be empty.
        low: Smallest value of an image, or None to tell it from the type or the data.
        high: Largest value, likewise.
        kind: What a sample is, or None to tell it from the shape.
    """

    x: Any
    y: Any
    x_test: Any = None
    y_test: Any = None
    what: str = ""
    names: tuple[str, str, str, str] = ("x", "y", "x_test", "y_test")
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target: str = ""
    low: float | None = None
    high: float | None = None
    kind: Kind | None = None

    def source(self, task: Task | None) -> Source:
        """The data set that they make.

        Raises:
            DataError: They do not fit one another, or what was said of them, or are nothing that can be learned from.
        """
        train, test, columns = self._rows()
        for name, rows in zip(self.names[::2], (train, test), strict=True):
            if rows is not None and not len(rows):
                raise DataError(f"{self._of(name)} is empty: there are no samples.")
        kind = self._kind(train)
        if test is not None and test.shape[1:] != train.shape[1:]:
            raise DataError(
                f"{self._of(self.names[2])} has samples of another shape than {self.names[0]}: {test.shape[1:]}, "
                f"not {train.shape[1:]}."
            )
        targets = read_targets(self.y, self.y_test, task, what=self._of(self.names[1]), labels=self.labels)
        for names, rows, y in (
            (self.names[:2], train, targets.train),
            (self.names[2:], test, targets.test),
        ):
            if rows is not None and y is not None and len(rows) != len(y):
                raise DataError(f"{self.what} has {len(rows)} samples in {names[0]} and {len(y)} in {names[1]}.")
        if kind == "image":
            train, low, high = self._image(train, self.names[0], None)
            test = None if test is None else self._image(test, self.names[2], train.dtype)[0]
            facts = InputFacts(train.shape[1:], low, high, targets.labels, target=self.target)
        else:
            train = self._table(train, self.names[0])
            test = None if test is None else self._table(test, self.names[2])
            facts = InputFacts(train.shape[1:], None, None, targets.labels, kind, columns, self.target)
            if kind == "points":
                low, high = self._plane(train)
                facts = replace(facts, low=low, high=high)
        held = Samples(test, targets.test) if test is not None and targets.test is not None else None
        return Source(Samples(train, targets.train), held, facts)

    def _rows(self) -> tuple[Rows, Rows | None, tuple[Column, ...]]:
        """Train and test, DataFrames turned into arrays, and the columns."""
        if is_frame(self.x):
            return self._frames()
        if is_frame(self.x_test):
            raise DataError(f"{self._of(self.names[2])} is a DataFrame, so {self.names[0]} must be one too.")
        train = self.x
        count = train.shape[1] if len(train.shape) == 2 else 0
        if self.columns and len(self.columns) != count:
            raise DataError(
                f"{self.what}: `columns` names {len(self.columns)} columns, and {self.names[0]} has "
                f"{count or 'none, being ' + str(train.shape)}."
            )
        default = ("x1", "x2") if self.kind == "points" else tuple(f"x{place}" for place in range(count))
        return train, self.x_test, tuple(Column(name) for name in self.columns or default[:count])

    def _frames(self) -> tuple[Rows, Rows | None, tuple[Column, ...]]:
        """DataFrames as arrays: numbers as they are, anything else as categories."""
        import pandas as pd

        if self.columns:
            raise DataError(f"{self.what}: `columns` is for arrays; a DataFrame names its columns itself.")
        frames = [self.x]
        if self.x_test is not None:
            if not is_frame(self.x_test) or list(self.x_test.columns) != list(self.x.columns):
                raise DataError(f"{self._of(self.names[2])} must be a DataFrame with the columns of {self.names[0]}.")
            frames.append(self.x_test)
        names = [str(name) for name in self.x.columns]
        if len(set(names)) != len(names):
            raise DataError(f"{self._of(self.names[0])} has two columns of one name among {listed(names)}.")
        whole = pd.concat(frames, ignore_index=True)
        read = [self._series(name, whole.iloc[:, place]) for place, name in enumerate(names)]
        x = np.stack([values for _, values in read], axis=1) if read else np.empty((len(whole), 0), np.float32)
        first = len(self.x)
        return x[:first], x[first:] if len(frames) > 1 else None, tuple(column for column, _ in read)

    def _series(self, name: str, cells: pd.Series[Any]) -> tuple[Column, NDArray[np.float32]]:
        """A column of a DataFrame."""
        from pandas.api.types import is_bool_dtype, is_numeric_dtype

        missing = np.asarray(cells.isna(), np.bool_)
        if missing.all():
            raise DataError(f"Column '{name}' of {self._of(self.names[0])} has no value in any row. Leave it out.")
        if is_numeric_dtype(cells) and not is_bool_dtype(cells):
            with np.errstate(over="ignore"):  # what is too large is told with its row, as in any table
                return Column(name), cells.to_numpy(np.float64, na_value=np.nan).astype(np.float32)
        texts = cells.astype(object).where(~missing, "").astype(str)
        if texts.nunique() > MOST_CATEGORIES:
            raise DataError(
                f"Column '{name}' of {self._of(self.names[0])} has {texts.nunique()} different texts; at most "
                f"{MOST_CATEGORIES} make a category. Leave it out, or make numbers of it."
            )
        return categories(name, texts, missing, Reading((), ".", MOST_CATEGORIES, str))

    def _kind(self, rows: Rows) -> Kind:
        """What a sample is.

        Raises:
            DataError: The shape is that of nothing, or not that of the kind that was asked for.
        """
        shape = rows.shape
        dtype = np.dtype(rows.dtype)
        if dtype.kind not in "buif":
            raise DataError(f"{self._of(self.names[0])} must hold numbers, got {dtype}.")
        table = len(shape) == 2 and shape[1] > 0
        image = (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3, 4))) and all(shape[1:])
        if not table and not image:
            first = len(shape) == 4 and shape[1] in (1, 3, 4)
            hint = ". Its channels come first: give x.transpose(0, 2, 3, 1)" if first else ""
            hint = ". For one column, give x.reshape(-1, 1)" if len(shape) == 1 else hint
            raise DataError(f"{self._of(self.names[0])} must be {FORMS}; got {shape}{hint}.")
        found: Kind = self.kind or ("table" if table else "image")
        if (found == "image") != image or (found == "points" and shape[1] != 2):
            wanted = {"image": "(n, h, w) or (n, h, w, c)", "table": "(n, k)", "points": "(n, 2)"}[found]
            raise DataError(f"{self._of(self.names[0])} must be {wanted}, being of the kind `{found}`; got {shape}.")
        return found

    def _image(self, rows: Rows, name: str, dtype: np.dtype[Any] | None) -> tuple[Rows, float, float]:
        """Images in a type that models take, with their range."""
        given = np.dtype(rows.dtype)
        wanted = given.newbyteorder("=") if given.newbyteorder("=") in _AS_THEY_ARE else np.dtype(np.float32)
        wanted = np.dtype(np.uint8) if given.kind == "b" else wanted
        if dtype is not None and wanted != dtype:
            raise DataError(f"{self._of(name)} holds {given}, and {self.names[0]} does not. Give both in one type.")
        told = {"b": (0.0, 1.0)}.get(given.kind) or (
            (0.0, float(np.iinfo(given).max)) if given.kind == "u" and given.itemsize <= 2 else None
        )
        if given.kind == "f" or (told is None and None in (self.low, self.high)):
            least, most = self._extremes(rows, name)
            told = told or next(
                ((low, high) for low, high in _USUAL_RANGES if low <= least and most <= high),
                (least, most if most > least else least + 1.0),
            )
        low = self.low if self.low is not None else told[0] if told else 0.0
        high = self.high if self.high is not None else told[1] if told else 1.0
        if not low < high:
            raise DataError(f"{self.what}: the range of {name} must go up, got low {low:g} and high {high:g}.")
        return rows if given == wanted else Converted(rows, wanted), low, high

    def _extremes(self, rows: Rows, name: str) -> tuple[float, float]:
        """The smallest and the largest value, both finite.

        Raises:
            DataError: Some value is NaN, infinite or too large for float32.
        """
        least, most, start = np.inf, -np.inf, 0
        for chunk in chunks(rows):
            values = np.asarray(chunk)
            low, high = float(values.min()), float(values.max())
            if not (np.isfinite(low) and np.isfinite(high) and max(-low, high) <= _LARGEST):
                fits = np.isfinite(values) & (np.abs(values.astype(np.float64)) <= _LARGEST)
                at = int(np.flatnonzero(~fits.reshape(len(values), -1).all(axis=1))[0])
                raise DataError(
                    f"{self._of(name)} holds NaN, infinity or a number too large for float32, first in sample "
                    f"{start + at} (from 0). Mend it or leave it out."
                )
            least, most, start = min(least, low), max(most, high), start + len(values)
        return least, most

    def _table(self, rows: Rows, name: str) -> Rows:
        """A table in float32; NaN is a missing number, and infinity is none."""
        start = 0
        if np.dtype(rows.dtype).kind == "f":
            for chunk in chunks(rows):
                with np.errstate(invalid="ignore"):
                    bad = np.argwhere(np.abs(np.asarray(chunk, np.float64)) > _LARGEST)
                if len(bad):
                    row, column = bad[0]
                    raise DataError(
                        f"{self._of(name)} holds infinity or a number too large for float32, first in row "
                        f"{start + row}, column {column} (from 0). Mend it, or make it NaN if it is missing."
                    )
                start += len(chunk)
        return (
            rows
            if np.dtype(rows.dtype) == np.float32 and np.dtype(rows.dtype).isnative
            else Converted(rows, np.float32)
        )

    def _plane(self, rows: Rows) -> tuple[float, float]:
        """How far the points go, or the plane that the user wants to see."""
        low, high = self._extremes(rows, self.names[0]) if None in (self.low, self.high) else (0.0, 1.0)
        return self.low if self.low is not None else low, self.high if self.high is not None else high

    def _of(self, name: str) -> str:
        return f"{name} of {self.what}"


def is_frame(value: Any) -> bool:
    """Whether it is a pandas DataFrame, told without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and type(value).__name__ == "DataFrame"
