"""Cuts a data set into train, validation and test: seeded, by class where there are classes, and by index.

Being indices, a split has a digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import DatasetSpec, Source, arrays_sha256
from pipelines.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Indices into `Source.samples`, each int64 (n,), sorted. `test` is empty where there is an official test part."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def sha256(self) -> str:
        """Digest of who is where."""
        return arrays_sha256(self.train, self.validation, self.test)


def split(source: Source, spec: DatasetSpec) -> Split:
    """The split that `spec` describes: the same for the same data and seed, on every machine.

    Raises:
        DataError: There are too few samples, or too few of a class, for a share of each part.
    """
    everyone = np.arange(len(source.samples), dtype=np.int64)
    targets = np.asarray(source.samples.y)
    test = np.empty(0, np.int64)
    if spec.held_out_share is not None and source.official_test is None:
        everyone, test = _cut(everyone, targets, spec.held_out_share, spec.split_seed)
    train, validation = _cut(everyone, targets, spec.validation_share, spec.split_seed)
    return Split(train, validation, test)


def _cut(
    indices: NDArray[np.int64], targets: NDArray[Any], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import train_test_split  # a second to import

    classes = np.issubdtype(targets.dtype, np.integer)
    try:
        kept, cut = train_test_split(
            indices, test_size=share, random_state=seed, stratify=targets[indices] if classes else None
        )
    except ValueError as error:
        by_class = ", class by class," if classes else ""
        raise DataError(
            f"The data set cannot be split: {share:g} of its {len(indices)} samples{by_class} is not possible "
            f"({error}). Use a larger share or more samples."
        ) from None
    return np.sort(kept), np.sort(cut)
