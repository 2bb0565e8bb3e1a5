"""Reads IDX files, the format of MNIST and its kin, gzipped or not.

Format: two zero bytes, a byte for the type, a byte for the number of dimensions, the sizes as big-endian 32-bit
integers, then the values row by row (Y. LeCun, "The MNIST database", file formats).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Raises:
        DataError: The file is cut short, damaged, or not IDX.
    """
    try:
        packed = path.read_bytes()
        content = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}). Put a whole copy of the file there.") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise DataError(f"{path} is not an IDX file of bytes: it begins with {content[:4].hex() or 'nothing'}.")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{path} ends inside its header, after {len(content)} bytes. Put a whole copy there.")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise DataError(f"{path} holds {len(content)} bytes, its header promises {expected}. Put a whole copy there.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
