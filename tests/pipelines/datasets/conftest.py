from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.datasets.published import IDX


def idx_bytes(array: NDArray[Any]) -> bytes:
    header = bytes([0, 0, 0x08, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def fashion_arrays(train: int = 40, test: int = 20) -> dict[str, NDArray[np.uint8]]:
    """The four arrays of a small Fashion-MNIST that nobody would wear."""
    random = np.random.default_rng(3)
    return {
        IDX[0]: random.integers(0, 256, (train, 28, 28), dtype=np.uint8),
        IDX[1]: np.arange(train, dtype=np.uint8) % 10,
        IDX[2]: random.integers(0, 256, (test, 28, 28), dtype=np.uint8),
        IDX[3]: np.arange(test, dtype=np.uint8) % 10,
    }


WriteFashion = Callable[..., dict[str, NDArray[np.uint8]]]


@pytest.fixture
def write_fashion() -> WriteFashion:
    """Writes a small Fashion-MNIST into a folder, some of its arrays replaced, and returns all four by name."""

    def write(
        folder: Path, *, packed: bool = True, replaced: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[np.uint8]]:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = fashion_arrays() | dict(replaced or {})
        for name, array in arrays.items():
            content = idx_bytes(array)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        return arrays

    return write
