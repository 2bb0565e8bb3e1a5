"""Plain values as bytes and back, bit for bit and without pickle: what states are made of.

Packed are None, booleans, numbers, strings, bytes, paths, lists, tuples, dicts, sets and deques of such, NumPy's
scalars, and arrays of any type that is not made of objects, those of `ml_dtypes` (bfloat16 and so on) included. NaN and
infinities stay what they are. An array that is in a value twice is packed once.

The form is a JSON skeleton, which names arrays by number, and after it the arrays' bytes.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LENGTH = struct.Struct("<Q")
_PLAIN = (type(None), bool, int, float, str)
_MANY = 16
"""Numbers in a list from which on it is packed as an array."""
_DEEP = 64
"""Levels of lists in lists after which a value is taken to contain itself."""


class Unpackable(TypeError):
    """A value, or something in it, is of a type that cannot be packed."""


def check(value: Any) -> None:
    """Finds out whether a value can be packed, without copying any of it.

    Raises:
        Unpackable: It cannot.
    """
    _Packer().skeleton(value)


def pack(value: Any) -> list[Any]:
    """The value as pieces of bytes, to be written one after another.

    Raises:
        Unpackable: Something in it is of a type that cannot be packed.
    """
    packer = _Packer()
    skeleton = packer.skeleton(value)
    kinds = [[_dtype_name(array), list(array.shape)] for array in packer.arrays]
    text = json.dumps([skeleton, kinds], separators=(",", ":")).encode("ascii")
    return [_LENGTH.pack(len(text)), text, *map(_bytes_of, packer.arrays)]


def unpack(data: bytes | memoryview) -> Any:
    """The inverse of `pack`, on its pieces joined. Arrays are copies that can be written to."""
    (length,) = _LENGTH.unpack_from(data)
    at = _LENGTH.size + length
    skeleton, kinds = json.loads(bytes(data[_LENGTH.size : at]))
    arrays = []
    for name, shape in kinds:
        dtype = _dtype(name)
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(data, dtype, count, at).reshape(shape).copy() if count else np.empty(shape, dtype))
        at += count * dtype.itemsize
    return _value(skeleton, arrays)


class _Packer:
    """Makes the skeleton of one value, and gathers its arrays."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._numbers: dict[int, int] = {}  # by identity; `arrays` keeps them alive meanwhile
        self._depth = 0

    def skeleton(self, value: Any) -> Any:
        """JSON types; everything that is none of them is an object of one key, which says what it is."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if isinstance(value, np.generic):
            return {"scalar": self._number(np.asarray(value))}
        if isinstance(value, np.ndarray):
            return {"array": self._number(value)}
        if kind is bytes:
            return {"bytes": self._number(np.asarray(bytearray(value), np.uint8))}
        if isinstance(value, Path):
            return {"path": str(value)}
        self._depth += 1
        if self._depth > _DEEP:
            raise Unpackable("a value that contains itself cannot be packed")
        found = self._container(value, kind)
        self._depth -= 1
        return found

    def _container(self, value: Any, kind: type) -> Any:
        if kind is list:
            if len(value) >= _MANY and type(value[0]) in (float, int):
                only = type(value[0])
                if all(type(one) is only for one in value) and (only is float or _small(value)):
                    return {"floats" if only is float else "ints": self._number(np.asarray(value))}
            return [self.skeleton(one) for one in value]
        if kind is tuple or kind is set or kind is frozenset:
            return {kind.__name__: [self.skeleton(one) for one in value]}
        if kind is deque:
            return {"deque": [value.maxlen, [self.skeleton(one) for one in value]]}
        if isinstance(value, dict):
            if all(type(key) is str for key in value):
                return {"dict": {key: self.skeleton(one) for key, one in value.items()}}
            return {"pairs": [[self.skeleton(key), self.skeleton(one)] for key, one in value.items()]}
        raise Unpackable(f"a value of type {kind.__module__}.{kind.__qualname__} cannot be packed")

    def _number(self, array: NDArray[Any]) -> int:
        _dtype_name(array)
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self._numbers[id(array)]


def _value(skeleton: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(skeleton, list):
        return [_value(one, arrays) for one in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind in _FROM_ARRAY:
        return _FROM_ARRAY[kind](arrays[content])
    if kind == "dict":
        return {key: _value(one, arrays) for key, one in content.items()}
    if kind == "pairs":
        return {_value(key, arrays): _value(one, arrays) for key, one in content}
    if kind == "path":
        return Path(content)
    if kind == "deque":
        return deque(_value(content[1], arrays), content[0])
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](_value(content, arrays))


_FROM_ARRAY: dict[str, Callable[[NDArray[Any]], Any]] = {
    "array": lambda array: array,
    "scalar": lambda array: array[()],
    "bytes": lambda array: array.tobytes(),
    "floats": lambda array: array.tolist(),
    "ints": lambda array: array.tolist(),
}


def _small(numbers: list[int]) -> bool:
    return min(numbers) >= -(2**63) and max(numbers) < 2**63


def _dtype_name(array: NDArray[Any]) -> str:
    dtype = array.dtype
    if dtype.isbuiltin == 2:  # registered with NumPy by `ml_dtypes`; its `str` would be that of a void
        return dtype.name
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise Unpackable(f"an array of {dtype} cannot be packed")
    return dtype.str


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


def _bytes_of(array: NDArray[Any]) -> Any:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).data if flat.size else b""
