"""Data that a function of the user's own returns."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from pipelines.datasets.arrays import FORMS, Given, is_frame
from pipelines.datasets.base import HeldOutSpec, Source
from pipelines.datasets.rows import Stream
from pipelines.errors import DataError
from pipelines.inputs import Kind
from pipelines.mistakes import did_you_mean
from pipelines.own.calls import accepted
from pipelines.own.code import Arguments, Reference, load, told
from pipelines.tasks import Task

KEYS = ("x", "y", "x_test", "y_test", "labels", "columns", "target", "low", "high", "kind")
RETURNS = "(x, y), ((x, y), (x_test, y_test)), or a dictionary with the keys " + ", ".join(KEYS)


class Function(HeldOutSpec):
    """What a function of your own returns: arrays, a DataFrame, or rows that are read when they are needed.

    It returns (x, y), or ((x, y), (x_test, y_test)) where there is a test part of its own, or a dictionary with the
    keys x and y and, where they are wanted, x_test, y_test, labels, columns, target, low, high and kind (`image`,
    `table`, `points`). x is as for `npz`, or a pandas DataFrame, or anything with `shape`, `dtype` and `__getitem__`
    for slices and growing index arrays, such as a data set of h5py. It must return the same data every time.
    """

    tasks: ClassVar[tuple[Task, ...]] = ()
    kind: ClassVar[Kind | None] = None

    name: Literal["function"] = "function"
    function: Reference
    """The function, as `module:name`; the module is looked for here and among what is installed."""
    arguments: Arguments = Field(default_factory=dict)
    """Its arguments by name."""

    @field_validator("arguments")
    @classmethod
    def _takes_them(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return accepted(info.data.get("function"), arguments)

    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """What the function returns, images as they are or float32, a table as float32."""
        found = self._parts(self._called())
        for name in ("x", "y"):
            if found.get(name) is None:
                raise DataError(f"{self.function} returned no {name}. It must return {RETURNS}.")
        if (found.get("x_test") is None) != (found.get("y_test") is None):
            raise DataError(f"{self.function} returned one of x_test and y_test; it must return both, or neither.")
        return Given(
            self._samples(found["x"], "x"),
            found["y"],
            None if found.get("x_test") is None else self._samples(found["x_test"], "x_test"),
            found.get("y_test"),
            what=self.function,
            labels=self._words(found, "labels"),
            columns=self._words(found, "columns"),
            target=str(found.get("target") or ""),
            low=self._number(found, "low"),
            high=self._number(found, "high"),
            kind=self._kind(found.get("kind")),
        ).source(task)

    def _called(self) -> Any:
        """What the function returns.

        Raises:
            DataError: It takes other arguments, or fails.
        """
        function = load(self.function)
        if not callable(function):
            raise DataError(f"{self.function} is no function, but {_sort(function)}.")
        try:
            inspect.signature(function).bind(**self.arguments)
        except TypeError as error:
            takes = inspect.signature(function)
            raise DataError(f"{self.function} takes {takes}, which `arguments` does not fit: {error}.") from None
        except ValueError:
            pass  # some compiled functions do not say what they take
        try:
            return function(**self.arguments)
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{self.function} failed: {told(error)}.") from error

    def _parts(self, returned: Any) -> dict[str, Any]:
        """What was returned, by the names that a dictionary would have."""
        if isinstance(returned, Mapping):
            unknown = next((key for key in returned if key not in KEYS), None)
            if unknown is not None:
                raise DataError(
                    f"{self.function} returned a dictionary with the key {unknown!r}"
                    f"{did_you_mean(str(unknown), KEYS)}; known are {', '.join(KEYS)}."
                )
            return dict(returned)
        if isinstance(returned, tuple | list) and len(returned) == 2:
            first, second = returned
            if _is_pair(first) and _is_pair(second):
                return dict(zip(KEYS[:4], (*first, *second), strict=True))
            return {"x": first, "y": second}
        got = f"{_sort(returned)} of {len(returned)}" if isinstance(returned, tuple | list) else _sort(returned)
        hint = " A tf.data.Dataset is no array: return what it was made from." if _is_tensorflow_data(returned) else ""
        raise DataError(f"{self.function} must return {RETURNS}; got {got}.{hint}")

    def _samples(self, x: Any, name: str) -> Any:
        """X as an array, a DataFrame, or rows that are read when asked for."""
        if isinstance(x, np.ma.MaskedArray):  # an array of which some values are missing
            return np.ma.filled(x.astype(np.float32), np.nan)
        if isinstance(x, np.ndarray):
            return np.asarray(x)
        if is_frame(x):
            return x
        if _has_rows(x):
            return self._stream(x, name)
        try:
            array = np.asarray(x)
        except Exception as error:  # rows of different lengths: ValueError; what a library's object raises is its own
            raise DataError(f"{name} of {self.function} is no array ({error}). It must be {FORMS}.") from None
        if array.dtype.kind not in "buif" or not array.ndim:
            hint = " A tf.data.Dataset is no array: return what it was made from." if _is_tensorflow_data(x) else ""
            raise DataError(f"{name} of {self.function} must be {FORMS}, of numbers; got {_sort(x)}.{hint}")
        return array

    def _stream(self, x: Any, name: str) -> Stream:
        """Rows that are read when asked for, after a first look at whether they can be."""
        rows = Stream(x, f"{name} of {self.function}")
        if hasattr(x, "__len__") and len(x) != len(rows):
            raise DataError(f"{name} of {self.function} says that it has {len(x)} rows and the shape {rows.shape}.")
        if len(rows):
            rows[:1]
            rows[np.array([0, len(rows) - 1])]
        return rows

    def _words(self, found: Mapping[str, Any], key: str) -> tuple[str, ...]:
        words = found.get(key)
        if words is None:
            return ()
        if isinstance(words, str | bytes | Mapping) or not hasattr(words, "__iter__"):
            raise DataError(f"{key} of {self.function} must be a list of words, got {words!r}.")
        return tuple(str(word) for word in words)

    def _number(self, found: Mapping[str, Any], key: str) -> float | None:
        number = found.get(key)
        if number is None:
            return None
        try:
            value = float(number)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{key} of {self.function} must be a number, got {number!r}.")
        return value

    def _kind(self, kind: Any) -> Kind | None:
        if kind is not None and kind not in get_args(Kind):
            raise DataError(f"kind of {self.function} must be {', '.join(get_args(Kind))}, got {kind!r}.")
        return kind  # type: ignore[no-any-return]


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _has_rows(value: Any) -> bool:
    """Whether it promises rows of a type that NumPy knows; tensors of other libraries have types of their own."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")):
        return False
    if type(value).__module__.partition(".")[0] == "pandas":  # a Series, whose rows have names of their own
        return False
    try:
        np.dtype(value.dtype)
    except TypeError:
        return False
    return isinstance(value.shape, tuple) and bool(value.shape)


def _is_tensorflow_data(value: Any) -> bool:
    return type(value).__module__.startswith("tensorflow.python.data")


def _sort(value: Any) -> str:
    if value is None:
        return "nothing"
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" + (
        f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    )
