"""What the search may see of a data set, as files that workers open: train and validation, never the test part."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import DatasetSpec, Samples, Source, chunks
from pipelines.datasets.fitting import Fitted, fit
from pipelines.datasets.splits import split
from pipelines.errors import HomeError
from pipelines.inputs import InputFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.tasks import Task

_PARTS = ("train", "validation")
_FORMAT = "2"
"""Changes when the files would come out different for the same data and split."""


@dataclass(frozen=True)
class PreparedData:
    """A folder with the arrays of the search.

    Attributes:
        folder: Where they are.
        sha256: Digest of the whole data set, the test part included.
        split_sha256: Digest of which sample is in which part.
        facts: The form of a sample and what is predicted, with all that was learned from the training part.
        counts: Samples by part.
    """

    folder: Path
    sha256: str
    split_sha256: str
    facts: InputFacts
    counts: dict[str, int]

    def read(self) -> tuple[Samples, Samples]:
        """Train and validation, mapped from disk rather than copied."""
        train, validation = (
            Samples(
                np.load(self.folder / f"{part}-x.npy", mmap_mode="r", allow_pickle=False),
                np.load(self.folder / f"{part}-y.npy", mmap_mode="r", allow_pickle=False),
            )
            for part in _PARTS
        )
        return train, validation


def prepare(spec: DatasetSpec, user_folder: Path | None, cache: Path, task: Task | None = None) -> PreparedData:
    """Loads and splits a data set and lays the search's part of it under `cache`, once for each content and split.

    Args:
        spec: The data set, and how it is split.
        user_folder: Where the user keeps data files, or None.
        cache: Where prepared data is kept.
        task: What the recipe wants learned; None where the data tells.

    Raises:
        DataError: The data set cannot be had or cannot be split.
        HomeError: The cache cannot be written.
    """
    source = spec.load(user_folder, task)
    parts = split(source, spec)
    sha256, split_sha256 = source.sha256(), parts.sha256()
    form = "classes" if source.facts.labels else "numbers"
    name = f"{spec.name}-{sha256[:12]}-{split_sha256[:12]}-{form}-{_FORMAT}"  # type: ignore[attr-defined]
    target = cache / name
    if not (target / "facts.json").exists():
        fitted = fit(source, parts.train)
        facts = {
            "sha256": sha256,
            "split_sha256": split_sha256,
            "inputs": fitted.facts.to_json(),
            "counts": {part: len(getattr(parts, part)) for part in _PARTS},
        }
        try:
            cache.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=".preparing-", dir=cache))
            try:
                for part in _PARTS:
                    _write(building, part, source, getattr(parts, part), fitted)
                (building / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
                _move_into_place(building, target)
            finally:
                shutil.rmtree(building, ignore_errors=True)  # gone already where it moved
        except OSError as error:
            raise HomeError(f"Cannot write the prepared data to {cache}: {error.strerror or error}.") from None
    return open_prepared(target)


def open_prepared(folder: Path) -> PreparedData:
    """The prepared data in `folder`."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return PreparedData(
        folder, facts["sha256"], facts["split_sha256"], InputFacts.from_json(facts["inputs"]), facts["counts"]
    )


def _write(folder: Path, part: str, source: Source, indices: NDArray[np.int64], fitted: Fitted) -> None:
    """One part's arrays, written some rows at a time: the whole of it may be larger than the memory."""
    rows = source.samples.x
    shape = (len(indices), *rows.shape[1:])
    written: Any = np.lib.format.open_memmap(folder / f"{part}-x.npy", mode="w+", dtype=rows.dtype, shape=shape)
    start = 0
    for chunk in chunks(rows, indices):
        written[start : start + len(chunk)] = fitted.recode(chunk)
        start += len(chunk)
    written.flush()
    np.save(folder / f"{part}-y.npy", np.asarray(source.samples.y[indices]), allow_pickle=False)


def _move_into_place(building: Path, target: Path) -> None:
    """Puts a finished folder at its name; where another process was first, its equal content stays."""
    try:
        building.rename(target)
    except OSError:
        if not (target / "facts.json").exists():
            raise
