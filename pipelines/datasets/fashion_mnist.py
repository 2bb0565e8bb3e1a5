"""Fashion-MNIST: 70 000 grey images of clothes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.datasets.base import DatasetSpec, Samples, Source
from pipelines.datasets.idx import read_idx
from pipelines.errors import DataError
from pipelines.inputs import InputFacts

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SHAPE = (28, 28)
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class FashionMnist(DatasetSpec):
    """Grey images of clothes, 28x28, values 0 to 255, ten classes, with a test part of its own.

    Read from the four IDX files in `REGATTA_DATA` or its subfolder `fashion_mnist`; without them, from Keras's
    download. Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017.
    """

    name: Literal["fashion_mnist"] = "fashion_mnist"

    def load(self, folder: Path | None) -> Source:
        """images: uint8 (n, 28, 28), 0-255."""
        found = _folder_with_parts(folder)
        arrays = [read_idx(path) for path in found] if found else _download(folder)
        train_x, train_y, test_x, test_y = arrays
        for part, x, y in (("train", train_x, train_y), ("t10k", test_x, test_y)):
            if x.shape[1:] != SHAPE or y.shape != x.shape[:1]:
                raise DataError(
                    f"Fashion-MNIST's {part} files do not belong together: images {x.shape}, labels {y.shape}; "
                    f"expected (n, 28, 28) and (n,)."
                )
            if y.size and y.max() >= len(LABELS):
                raise DataError(f"Fashion-MNIST's {part} labels hold {y.max()}; expected 0 to {len(LABELS) - 1}.")
        return Source(
            Samples(train_x, train_y.astype(np.int64)),
            Samples(test_x, test_y.astype(np.int64)),
            InputFacts(SHAPE, 0.0, 255.0, LABELS),
        )


def _folder_with_parts(folder: Path | None) -> list[Path] | None:
    """The four files, where one folder has them all; None where it has none."""
    if folder is None:
        return None
    for place in (folder, folder / "fashion_mnist"):
        found = [_first_existing(place / f"{part}.gz", place / part) for part in PARTS]
        missing = [part for part, path in zip(PARTS, found, strict=True) if path is None]
        if not missing:
            return [path for path in found if path is not None]
        if len(missing) < len(PARTS):
            raise DataError(
                f"{place} lacks {', '.join(f'{part}.gz' for part in missing)} of Fashion-MNIST's four files."
            )
    return None


def _first_existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _download(folder: Path | None) -> list[np.ndarray]:
    """Keras's own download, kept by Keras in its cache."""
    import contextlib
    import io

    from keras.datasets import fashion_mnist  # brings TensorFlow: some seconds

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras draws a progress bar there
            (train_x, train_y), (test_x, test_y) = fashion_mnist.load_data()
    except Exception as error:  # what Keras raises here depends on what broke: URLError, OSError, bare Exception
        looked = f"{folder} and {folder / 'fashion_mnist'}" if folder else "no folder, as REGATTA_DATA is not set"
        raise DataError(
            f"Fashion-MNIST was not found: looked in {looked}, and Keras's download failed "
            f"({type(error).__name__}). Put {', '.join(f'{part}.gz' for part in PARTS)} into one folder and name it "
            f"with REGATTA_DATA=FOLDER."
        ) from None
    return [train_x, train_y, test_x, test_y]
