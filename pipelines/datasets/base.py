"""What every data set promises: raw samples, whole, in a fixed order."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from pydantic import Field

from pipelines.inputs import InputFacts, Kind
from pipelines.spec import Spec
from pipelines.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 1024
"""Rows that are read at a time where a data set may be larger than the memory."""


class Rows(Protocol):
    """Rows that need not be in memory: an array, a file mapped from disk, or images decoded when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, *shape of a row)."""

    @property
    def dtype(self) -> Any:
        """Of the values."""

    def __len__(self) -> int:
        """How many rows there are."""

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        """The rows of a slice or of an index array, as an array."""


@dataclass(frozen=True)
class Samples:
    """Samples with what is known of them.

    Attributes:
        x: (n, *shape) raw values. In a table, a category is the place of its word among `Column.words`, from 1.
        y: int64 (n,) numbers of classes, or float32 (n,) numbers where a number is predicted.
    """

    x: Rows
    y: NDArray[Any]

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """The samples at `indices`, in that order, in memory."""
        return Samples(self.x[indices], self.y[indices])


@dataclass(frozen=True)
class Source:
    """A data set as its makers published it.

    Attributes:
        samples: All samples, or the training part where the makers published a test part of their own.
        official_test: That test part, or None.
        facts: The form of a sample and what is predicted. Means and deviations are left to `fitting`, which takes them
            from the training part alone; so are the words that a column of categories will know.
    """

    samples: Samples
    official_test: Samples | None
    facts: InputFacts

    def sha256(self) -> str:
        """Digest of every value, shape and type of the arrays, and of the words that stand for numbers in them."""
        parts = [array for part in (self.samples, self.official_test) if part for array in (part.x, part.y)]
        words = [column.words for column in self.facts.columns if column.words is not None]
        return arrays_sha256(*parts, *([np.frombuffer(repr(words).encode(), np.uint8)] if words else []))


class DatasetSpec(Spec):
    """Settings of one data set, and how it is split.

    The search sees train and validation. The test part is sealed: only `pipelines.datasets.sealed` can open it, and
    only promotion may import that.
    """

    tasks: ClassVar[tuple[Task, ...]] = ()
    """What it can be learned as, the default first; empty where only the data can tell."""
    kind: ClassVar[Kind | None] = None
    """What a sample is; None where only the data can tell."""

    validation_share: float = Field(0.2, gt=0, lt=1)
    """Share of the samples that are not test, kept for validation; drawn class by class where there are classes."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the split: the same seed gives the same split."""

    @property
    def held_out_share(self) -> float | None:
        """Share of the samples sealed for the test, or None where the makers published a test part."""
        return None

    @abstractmethod
    def load(self, folder: Path | None, task: Task | None = None) -> Source:
        """Reads the data set.

        Args:
            folder: Where the user keeps data files (`REGATTA_DATA`), or None.
            task: What the recipe wants learned, for a data set that can be read in more than one way.

        Raises:
            DataError: It cannot be had; the message says what to put where.
        """


class HeldOutSpec(DatasetSpec):
    """A data set without a test part of its own: some of its samples are sealed."""

    test_share: float = Field(0.2, gt=0, lt=1)
    """Share of all samples that is sealed for promotion; drawn class by class where there are classes."""

    @property
    def held_out_share(self) -> float | None:
        """The recipe's `test_share`."""
        return self.test_share


def chunks(rows: Rows, indices: NDArray[np.int64] | None = None) -> Iterator[NDArray[Any]]:
    """The rows, or those at `indices`, some at a time and in order."""
    count = len(rows) if indices is None else len(indices)
    for start in range(0, count, CHUNK):
        yield rows[start : start + CHUNK] if indices is None else rows[indices[start : start + CHUNK]]


def arrays_sha256(*arrays: Rows) -> str:
    """Digest of the values, shapes and types of `arrays`, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{np.dtype(array.dtype).str}{array.shape}".encode())
        for chunk in chunks(array):
            digest.update(np.ascontiguousarray(chunk).data)
    return digest.hexdigest()
