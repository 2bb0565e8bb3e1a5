"""`.keras` files of many models that differ in nothing but numbers, without Keras.

`model.save` walks all layers, asks each for its settings and writes an HDF5 file, which takes longer than a small model
trains. What it writes for the trials of a cohort differs in the bytes of the variables and in a few settings alone. So
one file of the cohort is written by Keras and looked through, and the others are made of it.

A `.keras` file is a zip archive of `metadata.json` (version and date), `config.json` (layers, and how the model was
compiled) and `model.weights.h5`, in which the values of a variable are one run of bytes each.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.checkpoints import write_whole
from pipelines.mistakes import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
DATE_FORM = "%Y-%m-%d@%H:%M:%S"
"""How Keras writes when a file was saved."""


@dataclass(frozen=True)
class Form:
    """What a variable's values look like."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Hole:
    """A number in `config.json` that is not the same in all files.

    Attributes:
        kind: Its type, `int` or `float`.
        source: The variable that Keras reads it from when it saves, by number; or the setting, by name.
    """

    kind: type[int] | type[float]
    source: int | str

    def filled(self, values: Sequence[NDArray[Any]], settings: Mapping[str, float]) -> str:
        """The number in JSON."""
        found = values[self.source].item() if isinstance(self.source, int) else settings[self.source]
        return json.dumps(self.kind(found))


@dataclass(frozen=True)
class Stamp:
    """Makes the files of one cohort. `pipelines.training.lanes.stamping.stamp_of` makes it.

    Attributes:
        metadata: What Keras writes of itself.
        config: `config.json` in pieces: text as it is, and holes for the numbers of one file.
        weights: `model.weights.h5` in pieces: bytes as they are, or the number of the variable whose bytes stand there.
        forms: Of each variable, in order.
        settings: Those that each file has its own value of, by name, with the template's values.
    """

    metadata: Mapping[str, Any]
    config: tuple[str | Hole, ...]
    weights: tuple[bytes | int, ...]
    forms: tuple[Form, ...]
    settings: Mapping[str, float]

    def write(self, path: Path, values: Sequence[NDArray[Any]], settings: Mapping[str, float] | None = None) -> str:
        """Writes a file, whole or not at all, and returns its SHA-256; for the arguments see `save`."""
        return write_whole(path, lambda beside: self.save(beside, values, settings))

    def save(self, path: Path, values: Sequence[NDArray[Any]], settings: Mapping[str, float] | None = None) -> None:
        """Writes a file as `model.save` would.

        Args:
            path: Where to.
            values: Of the model's variables and then the optimizer's, in order. What Keras reads from a variable for
                the settings, such as the learning rate, comes from here.
            settings: Where they are not the template's, by name.

        Raises:
            ValueError: The values or settings are not such as the model has.
        """
        weights, config = self.weights_of(values), self.config_of(values, settings or {})
        metadata = {**self.metadata, "date_saved": datetime.now().strftime(DATE_FORM)}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(METADATA, json.dumps(metadata))
            archive.writestr(CONFIG, config)
            entry = zipfile.ZipInfo(WEIGHTS, time.localtime()[:6])
            entry.external_attr = 0o600 << 16  # as it is where an entry is written by its name
            entry.file_size = sum(map(len, weights))
            with archive.open(entry, "w") as file:
                for piece in weights:
                    file.write(piece)

    def config_of(self, values: Sequence[NDArray[Any]], settings: Mapping[str, float]) -> str:
        """`config.json` for such values and settings."""
        for name in settings:
            if name not in self.settings:
                raise ValueError(
                    f"The files of this cohort do not differ in '{name}'{did_you_mean(name, self.settings)}; "
                    f"they differ in {', '.join(self.settings) or 'no setting'}."
                )
        settings = {**self.settings, **settings}
        return "".join(piece if isinstance(piece, str) else piece.filled(values, settings) for piece in self.config)

    def weights_of(self, values: Sequence[NDArray[Any]]) -> list[bytes | memoryview]:
        """`model.weights.h5` for such values, in pieces."""
        if len(values) != len(self.forms):
            raise ValueError(
                f"A file of this cohort holds {len(self.forms)} variables, those of the optimizer included; "
                f"got {len(values)} values."
            )
        for number, (value, form) in enumerate(zip(values, self.forms, strict=True)):
            if value.shape != form.shape or value.dtype != form.dtype:
                raise ValueError(
                    f"Value {number} must be {form.dtype} of shape {form.shape}, as its variable is; "
                    f"got {value.dtype} of shape {value.shape}."
                )
        return [bytes_of(values[piece]) if isinstance(piece, int) else piece for piece in self.weights]


def bytes_of(value: NDArray[Any]) -> memoryview:
    """The bytes of an array, as HDF5 writes them."""
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
