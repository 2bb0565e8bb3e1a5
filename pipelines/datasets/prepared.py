"""What the search may see of a data set, as files that workers open: train and validation, never the test part."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.base import DatasetSpec, Samples
from pipelines.datasets.splits import split
from pipelines.errors import HomeError
from pipelines.inputs import InputFacts

_PARTS = ("train", "validation")


@dataclass(frozen=True)
class PreparedData:
    """A folder with the arrays of the search.

    Attributes:
        folder: Where they are.
        sha256: Digest of the whole data set, the test part included.
        split_sha256: Digest of which sample is in which part.
        facts: The form of a sample and the classes.
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


def prepare(spec: DatasetSpec, user_folder: Path | None, cache: Path) -> PreparedData:
    """Loads and splits a data set and lays the search's part of it under `cache`, once for each content and split.

    Raises:
        DataError: The data set cannot be had or cannot be split.
        HomeError: The cache cannot be written.
    """
    source = spec.load(user_folder)
    parts = split(source, spec)
    sha256, split_sha256 = source.sha256(), parts.sha256()
    target = cache / f"{spec.name}-{sha256[:12]}-{split_sha256[:12]}"  # type: ignore[attr-defined]
    if not (target / "facts.json").exists():
        facts = {
            "sha256": sha256,
            "split_sha256": split_sha256,
            "inputs": source.facts.to_json(),
            "counts": {part: len(getattr(parts, part)) for part in _PARTS},
        }
        samples = {part: source.samples.take(getattr(parts, part)) for part in _PARTS}
        try:
            cache.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=".preparing-", dir=cache))
            try:
                _write(building, samples, facts)
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


def _write(folder: Path, samples: Mapping[str, Samples], facts: Mapping[str, Any]) -> None:
    for part, found in samples.items():
        np.save(folder / f"{part}-x.npy", found.x, allow_pickle=False)
        np.save(folder / f"{part}-y.npy", found.y, allow_pickle=False)
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _move_into_place(building: Path, target: Path) -> None:
    """Puts a finished folder at its name; where another process was first, its equal content stays."""
    try:
        building.rename(target)
    except OSError:
        if not (target / "facts.json").exists():
            raise
