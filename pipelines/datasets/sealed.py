"""The test part of a data set. Only promotion opens it: an import contract keeps every other module away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import DatasetSpec, Rows, Samples
from pipelines.datasets.fitting import Fitted, fit
from pipelines.datasets.splits import split
from pipelines.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.tasks import Task


@dataclass(frozen=True)
class _Sealed:
    """Rows at `indices` of others, read and recoded when they are asked for; all rows where there are no indices."""

    rows: Rows
    indices: NDArray[np.int64]
    fitted: Fitted

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), *self.rows.shape[1:])

    @property
    def dtype(self) -> Any:
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, chosen: Any) -> NDArray[Any]:
        return self.fitted.recode(self.rows[self.indices[chosen]])


def open_sealed(
    spec: DatasetSpec, user_folder: Path | None, *, sha256: str, split_sha256: str, task: Task | None = None
) -> Samples:
    """The samples that no trial has seen, coded as the models have learned it; read when they are asked for.

    Args:
        spec: The data set and how it is split.
        user_folder: Where the user keeps data files, or None.
        sha256: Digest of the data set that the trials trained on.
        split_sha256: Digest of the split that they trained with.
        task: What the recipe wants learned; None where the data tells.

    Raises:
        DataError: The data or the split are not those of the search, so some of it may have been trained on.
    """
    source = spec.load(user_folder, task)
    parts = split(source, spec)
    found = (source.sha256(), parts.sha256())
    if found != (sha256, split_sha256):
        what = "data set" if found[0] != sha256 else "split"
        raise DataError(
            f"The {what} is not the one that the trials trained on (digest {found[found[0] == sha256][:12]}, theirs "
            f"{(sha256, split_sha256)[found[0] == sha256][:12]}), so a test on it would prove nothing. Bring back the "
            f"data of the sweep, or run it again."
        )
    fitted = fit(source, parts.train)
    test, chosen = source.samples, parts.test
    if source.official_test is not None:
        test = source.official_test
        chosen = np.arange(len(test), dtype=np.int64)
    return Samples(_Sealed(test.x, chosen, fitted), np.asarray(test.y[chosen]))
