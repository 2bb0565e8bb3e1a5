"""The datatypes of the protocol: their names, their bytes, and which of them a model's input holds exactly.

A tensor is taken if every value that its datatype can have is a value of the model's input: FP32 takes FP16, BF16, BOOL
and integers of 8 and 16 bits, and neither FP64 nor INT32. What is taken does not depend on the numbers that came. The
columns of a table take all numbers, see `inputs`.
"""

from __future__ import annotations

import numpy as np

from services.model_server.protocols.tensors import Array

BYTES, BOOL, BF16 = "BYTES", "BOOL", "BF16"
# On the wire all numbers are little-endian. NumPy has no BF16: it is the upper half of an FP32.
NUMBERS: dict[str, np.dtype[np.generic]] = {
    BOOL: np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    BF16: np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*NUMBERS, BYTES)
# What the dtypes of a contract are called here.
NAMES = {
    "float32": "FP32",
    "float64": "FP64",
    "int64": "INT64",
    "int32": "INT32",
    "uint8": "UINT8",
    "string": BYTES,
}


def _holds(target: np.dtype[np.generic], name: str) -> bool:
    """Whether every value of a datatype is one of `target`'s."""
    if name == BF16:
        return target.kind == "f" and target.itemsize >= 4
    source = NUMBERS[name]
    if source.kind in "iu" and target.kind == "f":  # NumPy lets INT64 become FP64, whose 53 bits are too few
        bits = source.itemsize * 8 - (source.kind == "i")
        return bits <= (53 if target.itemsize == 8 else 24)
    return bool(np.can_cast(source, target))


FITTING: dict[str, tuple[str, ...]] = {
    dtype: (BYTES,) if dtype == "string" else tuple(other for other in NUMBERS if _holds(np.dtype(dtype), other))
    for dtype in NAMES
}
"""The datatypes that an input of a contract's dtype takes."""


def from_bytes(body: bytes | memoryview, datatype: str, start: int, count: int) -> Array:
    """Reads `count` numbers that begin at byte `start`; without a copy where the processor can use them as they lie."""
    array: Array = np.frombuffer(body, NUMBERS[datatype], count, start)
    if datatype == BF16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif datatype == BOOL:  # any byte may come; a Boolean that is neither 0 nor 1 in memory is no number
        array = array.view(np.uint8) != 0
    return array if array.flags.aligned else array.copy()
