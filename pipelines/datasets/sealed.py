"""The test part of a data set. Only promotion opens it: an import contract keeps every other module away."""

from __future__ import annotations

from pathlib import Path

from pipelines.datasets.base import DatasetSpec, Samples
from pipelines.datasets.splits import split
from pipelines.errors import DataError


def open_sealed(spec: DatasetSpec, user_folder: Path | None, *, sha256: str, split_sha256: str) -> Samples:
    """The samples that no trial has seen.

    Args:
        spec: The data set and how it is split.
        user_folder: Where the user keeps data files, or None.
        sha256: Digest of the data set that the trials trained on.
        split_sha256: Digest of the split that they trained with.

    Raises:
        DataError: The data or the split are not those of the search, so some of it may have been trained on.
    """
    source = spec.load(user_folder)
    parts = split(source, spec)
    found = (source.sha256(), parts.sha256())
    if found != (sha256, split_sha256):
        what = "data set" if found[0] != sha256 else "split"
        raise DataError(
            f"The {what} is not the one that the trials trained on (digest {found[found[0] == sha256][:12]}, theirs "
            f"{(sha256, split_sha256)[found[0] == sha256][:12]}), so a test on it would prove nothing. Bring back the "
            f"data of the sweep, or run it again."
        )
    return source.official_test if source.official_test is not None else source.samples.take(parts.test)
