"""What every data set promises: raw samples, whole, in a fixed order."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pipelines.inputs import InputFacts
from pipelines.spec import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Samples:
    """Labelled samples. x: (n, *shape) raw values; y: int64 (n,) numbers of the classes."""

    x: NDArray[Any]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """The samples at `indices`, in that order."""
        return Samples(self.x[indices], self.y[indices])


@dataclass(frozen=True)
class Source:
    """A data set as its makers published it.

    Attributes:
        samples: All samples, or the training part where the makers published a test part of their own.
        official_test: That test part, or None.
        facts: The form of a sample and the classes.
    """

    samples: Samples
    official_test: Samples | None
    facts: InputFacts

    def sha256(self) -> str:
        """Digest of every value, shape and type of the arrays."""
        return arrays_sha256(
            *(array for part in (self.samples, self.official_test) if part for array in (part.x, part.y))
        )


class DatasetSpec(Spec):
    """Settings of one data set, and how it is split.

    The search sees train and validation. The test part is sealed: only `pipelines.datasets.sealed` can open it, and
    only promotion may import that.
    """

    validation_share: float = Field(0.2, gt=0, lt=1)
    """Share of the samples that are not test, kept for validation; drawn class by class."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the split: the same seed gives the same split."""

    @property
    def held_out_share(self) -> float | None:
        """Share of the samples sealed for the test, or None where the makers published a test part."""
        return None

    @abstractmethod
    def load(self, folder: Path | None) -> Source:
        """Reads the data set; `folder` is where the user keeps data files (`REGATTA_DATA`), or None.

        Raises:
            DataError: It cannot be had; the message says what to put where.
        """


def arrays_sha256(*arrays: NDArray[Any]) -> str:
    """Digest of the values, shapes and types of `arrays`, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
