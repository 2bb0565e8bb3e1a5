"""Image data sets that everybody has: read from files that the user put somewhere, or downloaded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.base import Samples, Source
from pipelines.datasets.idx import read_idx
from pipelines.datasets.numpy_file import read_npz
from pipelines.errors import DataError
from pipelines.inputs import InputFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = Sequence["NDArray[np.uint8]"]
"""Training images and labels, test images and labels."""
IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
KEYS = ("x_train", "y_train", "x_test", "y_test")
STARTS = {
    "mnist": ("MNIST", (5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5)),
    "fashion_mnist": ("Fashion-MNIST", (9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9)),
}
"""The first training labels of data sets whose files have the same names, so that none is taken for another."""


@dataclass(frozen=True)
class Form:
    """One of the forms in which people have the files.

    Attributes:
        files: The files that belong together, each by the names that it may have, the commonest first.
        read: Makes the four arrays of the files, in their order.
    """

    files: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[Path]], Arrays]

    def find(self, place: Path) -> list[Path | None]:
        """Where each file is within `place`."""
        return [next((place / name for name in names if (place / name).is_file()), None) for names in self.files]


@dataclass(frozen=True)
class Published:
    """What is known of a data set before it is read.

    Attributes:
        name: In recipes, and of the subfolder that is looked into.
        title: As its makers write it.
        shape: Of an image.
        labels: The classes in order.
        target: What is predicted.
        forms: What to look for.
        download: Fetches the four arrays, kept in Keras's cache; may raise anything.
    """

    name: str
    title: str
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    target: str
    forms: tuple[Form, ...]
    download: Callable[[], Arrays]

    def load(self, folder: Path | None) -> Source:
        """Reads the files in `folder` (where the user keeps data, or None) or its subfolder; without them, downloads.

        Raises:
            DataError: Files are missing, damaged or another's, or there are none and the download failed.
        """
        arrays = self._from_files(folder)
        if arrays is None:
            arrays = self._downloaded(folder)
        train_x, train_y, test_x, test_y = arrays
        train_y, test_y = (y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for y in (train_y, test_y))
        for part, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
            self._check(part, x, y)
        for name, (title, start) in STARTS.items():
            if name != self.name and tuple(train_y[: len(start)].tolist()) == start:
                raise DataError(
                    f"The files in {folder} are {title}'s, whose names are the same, and the recipe asks for "
                    f"{self.title}. Put {self.title}'s into the subfolder {self.name}, or say dataset: {name}."
                )
        return Source(
            Samples(train_x, train_y.astype(np.int64)),
            Samples(test_x, test_y.astype(np.int64)),
            InputFacts(self.shape, 0.0, 255.0, self.labels, target=self.target),
        )

    def _from_files(self, folder: Path | None) -> Arrays | None:
        """The arrays of the first form that one of the places has all files of; None where no place has any."""
        lacking = ""
        for place in self._places(folder):
            for form in self.forms:
                found = form.find(place)
                if None not in found:
                    return form.read([path for path in found if path is not None])
                if any(found) and not lacking:
                    missing = [names[0] for names, path in zip(form.files, found, strict=True) if path is None]
                    lacking = f"{place} lacks {', '.join(missing)} of {self.title}'s {len(form.files)} files."
        if lacking:
            raise DataError(lacking)
        return None

    def _places(self, folder: Path | None) -> list[Path]:
        """The subfolder of the data set's own comes first: names of files may be another's too."""
        return [folder / self.name, folder] if folder else []

    def _downloaded(self, folder: Path | None) -> Arrays:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # Keras draws a progress bar there
                return self.download()
        except Exception as error:  # what is raised depends on what broke: URLError, OSError, bare Exception
            looked = " and ".join(map(str, self._places(folder))) or "no folder, as REGATTA_DATA is not set"
            why = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")[:160]
            files = "; or ".join(", ".join(names[0] for names in form.files) for form in self.forms)
            raise DataError(
                f"{self.title} was not found: looked in {looked}, and the download failed ({why}). "
                f"Put into one folder {files}; and name the folder with REGATTA_DATA=FOLDER."
            ) from None

    def _check(self, part: str, x: NDArray[Any], y: NDArray[Any]) -> None:
        if x.shape[1:] != self.shape or y.shape != x.shape[:1] or x.dtype != np.uint8 or y.dtype.kind not in "iu":
            expected = ", ".join(map(str, self.shape))
            raise DataError(
                f"{self.title}'s {part} files do not belong together: images {x.shape} of {x.dtype}, labels {y.shape} "
                f"of {y.dtype}; expected (n, {expected}) of uint8 and (n,) of whole numbers."
            )
        if y.size and not 0 <= y.min() <= y.max() < len(self.labels):
            wrong = y.max() if y.max() >= len(self.labels) else y.min()
            raise DataError(f"{self.title}'s {part} labels hold {wrong}; expected 0 to {len(self.labels) - 1}.")


def idx_form() -> Form:
    """Four IDX files, gzipped or not."""
    files = tuple((f"{name}.gz", name) for name in IDX)
    return Form(files, lambda paths: [read_idx(path) for path in paths])


def npz_form(name: str) -> Form:
    """One file with four arrays, as Keras keeps it."""
    return Form(((name,),), lambda paths: read_npz(paths[0], KEYS))
