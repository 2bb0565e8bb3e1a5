"""Rows that are made, converted or checked when somebody asks for them, so that no data set must fit into memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import Rows
from pipelines.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LazyRows(ABC):
    """Rows of a known shape and type that `read` makes, those that are asked for and no others."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Takes (n, *shape of a row) and the type of the values."""
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __len__(self) -> int:
        """How many rows there are."""
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """The rows of a slice, an index array, a mask or a list; a single number gives that row alone."""
        indices = places(len(self), chosen)
        return self.read(indices) if indices.ndim else self.read(indices[None])[0]

    @abstractmethod
    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The rows at `indices`, which are within 0..n-1, in that order."""


class Converted(LazyRows):
    """Rows of another type than those that they come from, converted a few at a time."""

    def __init__(self, rows: Rows, dtype: Any) -> None:
        """Takes the rows and the type that they shall have."""
        super().__init__(rows.shape, dtype)
        self._rows = rows

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The rows in the new type."""
        return np.asarray(self._rows[indices]).astype(self.dtype)


class Stream(LazyRows):
    """An object of the user's that has rows, held to what it promises about them.

    It is asked with slices and with index arrays that only grow, which is all that h5py knows.
    """

    def __init__(self, rows: Any, what: str) -> None:
        """Takes an object with `shape`, `dtype` and `__getitem__`, and the words for it in an error."""
        super().__init__(tuple(int(size) for size in rows.shape), rows.dtype)
        self._rows = rows
        self._what = what

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The rows, each read once.

        Raises:
            DataError: The rows that came are not those that `shape` and `dtype` promise.
        """
        if not len(indices):
            return np.empty((0, *self.shape[1:]), self.dtype)
        growing, back = np.unique(indices, return_inverse=True)
        run = growing[-1] - growing[0] + 1 == len(growing)
        chosen = slice(int(growing[0]), int(growing[-1]) + 1) if run else growing
        try:
            found = np.asarray(self._rows[chosen])
        except Exception as error:  # the user's code, or a library's that it uses
            asked = f"{chosen.start}:{chosen.stop}" if isinstance(chosen, slice) else "an index array"
            raise DataError(
                f"{self._what} cannot be read: its __getitem__ was asked for {asked} and raised "
                f"{type(error).__name__}: {error}."
            ) from error
        promised = (len(growing), *self.shape[1:])
        if found.shape != promised or found.dtype != self.dtype:
            raise DataError(
                f"{self._what} does not keep its promise: its shape and dtype say that these rows are {promised} of "
                f"{self.dtype}, and {found.shape} of {found.dtype} came."
            )
        return found if run and len(growing) == len(indices) and bool((np.diff(back) > 0).all()) else found[back]


def places(count: int, chosen: Any) -> NDArray[np.int64]:
    """What a slice, an index array, a mask, a list or a number means for `count` rows, as NumPy means it.

    Raises:
        IndexError: It asks for a row that is not there, or for something else than rows.
    """
    if isinstance(chosen, slice):
        return np.arange(*chosen.indices(count), dtype=np.int64)
    indices = np.asarray(chosen)
    if indices.dtype == np.bool_:
        if indices.shape != (count,):
            raise IndexError(f"a mask of shape {indices.shape} cannot choose among {count} rows")
        return np.flatnonzero(indices).astype(np.int64)
    if indices.size == 0 and indices.ndim == 1:
        return np.empty(0, np.int64)
    if indices.dtype.kind not in "iu" or indices.ndim > 1:
        raise IndexError(f"rows are chosen by a slice or by whole numbers, not by {chosen!r}")
    indices = indices.astype(np.int64)
    if indices.min() < -count or indices.max() >= count:
        raise IndexError(f"there are {count} rows, 0 to {count - 1}; asked for {indices.min()} to {indices.max()}")
    return np.where(indices < 0, indices + count, indices)
