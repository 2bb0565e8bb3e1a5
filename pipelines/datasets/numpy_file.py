"""Reads NumPy's .npz files, never by pickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.datasets.words import listed
from pipelines.errors import DataError
from pipelines.mistakes import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_npz(path: Path, names: Sequence[str], hint: str = "") -> list[NDArray[Any]]:
    """The arrays of these names, in this order.

    Args:
        path: The file.
        names: Of the arrays.
        hint: What to do where one is missing.

    Raises:
        DataError: The file is no .npz, is damaged, lacks an array, or one of them would need pickle.
    """
    try:
        with path.open("rb") as opened:  # NumPy leaves a file open that it cannot read
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(f"{path} holds one array without a name. Save both: np.savez('data.npz', x=x, y=y).")
            for name in names:
                if name not in file:
                    raise DataError(
                        f"{path} has no array '{name}'{did_you_mean(name, file.files)}; it has "
                        f"{listed(file.files) or 'none'}.{hint}"
                    )
            return [_array(file, name, path) for name in names]
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        why = "it is no NumPy file" if "allow_pickle" in str(error) else error
        raise DataError(f"{path} cannot be read ({why}). Put a whole copy of the file there.") from None


def _array(file: Any, name: str, path: Path) -> NDArray[Any]:
    try:
        return np.asarray(file[name])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"The array '{name}' of {path} holds Python objects, which only pickle could read. Save words as text: "
            f"np.array(words, dtype=str)."
        ) from None
