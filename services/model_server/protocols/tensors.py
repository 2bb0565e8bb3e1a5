"""JSON values to arrays and back: what every JSON dialect needs, strict about types, fast about numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from types import NoneType
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from services.model_server.errors import BadInput, BadRequest
from services.model_server.package import Contract
from services.model_server.protocols.bulk import Numbers, Place, load_bulk

Array = NDArray[Any]

_DECODER = json.JSONDecoder()
# Some editors and PowerShell write it before UTF-8; RFC 8259, 8.1 lets readers skip it.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
JSON_TYPES = {
    str: "String",
    bool: "Boolean",
    int: "Number",
    float: "Number",
    NoneType: "Null",
    dict: "Object",
    list: "Array",
}
NOT_FINITE = (b"x-warning", b"the outputs hold NaN or Infinity, written as null")


class Typed(Protocol):
    """What of a tensor must be known in order to read its numbers."""

    @property
    def name(self) -> str:
        """Its name, for messages."""

    @property
    def dtype(self) -> str:
        """The NumPy name of its numbers."""


def load_json(body: bytes, lenient: bool = False, tokens: bool = False) -> Any:
    """Parses a JSON body.

    Args:
        body: The bytes, UTF-8.
        lenient: Also takes the tokens NaN, Infinity and -Infinity, and bytes after the document, as TF Serving does.
        tokens: Also takes these tokens.

    Raises:
        BadRequest: it is not JSON. The message does not quote the body.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        size = len(_BYTE_ORDER_MARK)
        if body.startswith(_BYTE_ORDER_MARK) and not body.startswith(_BYTE_ORDER_MARK, size):
            return load_json(body[size:], lenient, tokens)
        if not body.strip():
            raise BadRequest("JSON Parse error: The document is empty") from None
        if lenient or tokens:
            try:
                text = body.decode()
                value = _DECODER.raw_decode(text.lstrip())[0] if lenient else _DECODER.decode(text)
                if "\\u" in text:  # half a character, as in "\ud800", is no text that could be answered
                    json.dumps(value, ensure_ascii=False).encode()
                return value
            except (ValueError, RecursionError):
                pass
        try:
            body.decode()
        except UnicodeDecodeError as wrong:
            raise BadRequest(f"JSON Parse error: the body is not UTF-8, at byte {wrong.start}") from None
        raise BadRequest(f"JSON Parse error: {error.msg} at byte {error.pos}") from None


def load_samples(
    body: bytes, contract: Contract, places: Sequence[Place], lenient: bool = False, tokens: bool = False
) -> Any:
    """Parses a JSON body with samples, as `load_json` does, but for a long list of numbers at one of some places.

    Such a list is a `Numbers`, which `refuse_booleans` and `to_array` take. Not for tables: their cells are looked at
    one by one.
    """
    kind = "" if contract.columns else np.dtype(contract.input.array_dtype).kind
    if kind and kind in "iuf":
        document = load_bulk(body, places, whole=kind != "f")
        if document is not None:
            return document
    return load_json(body, lenient, tokens)


def to_array(value: Any, spec: Typed, nulls: bool = False) -> Array:
    """Turns nested JSON lists of numbers into an array of the contract's dtype.

    Args:
        value: A number or nested lists, or `Numbers`.
        spec: Says the dtype. Integer dtypes take integer literals only.
        nulls: Whether null counts as NaN, as in a data frame; no whole number is missing, though.

    Raises:
        BadInput: text, booleans, null or objects among the numbers, lists of unequal length, or numbers out of range.
    """
    dtype = np.dtype(spec.dtype)
    packed = _packed(value) if dtype.kind == "f" else None
    if packed is not None:
        with np.errstate(over="ignore"):
            return packed.astype(dtype)
    if isinstance(value, Numbers):
        if (value.array.dtype.kind == "i") != (dtype.kind in "iu"):
            return to_array(value.listed(), spec, nulls)
        value = value.array
    try:
        raw = np.array(value)
    except (ValueError, OverflowError, RecursionError):
        raise BadInput(f"Input '{spec.name}' is ragged: all lists of one level must have the same length.") from None
    if raw.dtype.kind == "f" and raw.size == 0:
        return raw.astype(dtype)
    wanted = "iu" if dtype.kind in "iu" else "iuf"
    if raw.dtype.kind not in wanted or raw.dtype.kind == "b":
        raw = _repaired(value, raw, spec, nulls and dtype.kind == "f")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if raw.size and (raw.min() < limits.min or raw.max() > limits.max):
            raise BadInput(f"Input '{spec.name}' has numbers outside {dtype} ({limits.min} to {limits.max}).")
        return raw.astype(dtype)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is counted as out of range
        return raw.astype(dtype)


def _packed(value: Any) -> Array | None:
    """Turns lists of numbers into float64, level by level; None if something in them is not that simple.

    NumPy looks at every number twice, for its type and for its value, and once more at every list; this is half of it.
    """
    if isinstance(value, Numbers):
        return value.array if value.array.dtype.kind == "f" else None
    if type(value) is not list or not value:
        return None
    shape = [len(value)]
    level: list[Any] = value
    while type(level[0]) is list:
        if set(map(type, level)) != {list} or len(widths := set(map(len, level))) != 1:
            return None
        shape.append(widths.pop())
        level = list(chain.from_iterable(level))
        if not level:
            return None
    if type(level[0]) is bool:
        return None
    try:
        return np.frombuffer(struct.pack(f"{len(level)}d", *level)).reshape(shape)
    except (struct.error, OverflowError):
        return None


def refuse_booleans(body: bytes, value: Any, spec: Typed) -> None:
    """Refuses true and false among numbers, which NumPy would count as 1 and 0.

    `body` is searched first; only a body with such a word is walked, and `Numbers` are nothing else anyway.

    Raises:
        BadInput: there is a boolean.
    """
    if not isinstance(value, Numbers) and may_hold_booleans(body):
        for leaf in _leaves(value):
            if isinstance(leaf, bool):
                raise BadInput(_wrong_type(leaf, spec))


def may_hold_booleans(body: bytes) -> bool:
    """Whether the words true or false are in a body.

    One letter of each word is looked for before the word: numbers have no letters but e, and the search for a single
    byte is many times faster.
    """
    return (b"r" in body and b"true" in body) or (b"l" in body and b"false" in body)


def _repaired(value: Any, raw: Array, spec: Typed, nulls: bool) -> Array:
    for leaf in _leaves(value):
        if nulls and leaf is None:
            continue
        if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
            raise BadInput(_wrong_type(leaf, spec))
        if isinstance(leaf, float) and np.dtype(spec.dtype).kind in "iu":
            raise BadInput(f"Input '{spec.name}' takes whole numbers ({spec.dtype}), without a decimal point.")
    try:
        if nulls:
            return np.array(raw.tolist(), dtype=np.float64)
        return np.array(value, dtype=np.float64 if np.dtype(spec.dtype).kind == "f" else np.int64)
    except (ValueError, TypeError, OverflowError):
        raise BadInput(f"Input '{spec.name}' is ragged or has numbers that are too large.") from None


def _wrong_type(leaf: Any, spec: Typed) -> str:
    expected = "float" if np.dtype(spec.dtype).kind == "f" else spec.dtype
    kind = JSON_TYPES.get(type(leaf), type(leaf).__name__)
    shown = json.dumps(leaf)[:128]
    return f"JSON Value: {shown} Type: {kind} is not of expected type: {expected}"


def _leaves(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        else:
            yield item


def as_batch(array: Array, contract: Contract) -> tuple[Array, bool]:
    """Gives a single sample its batch dimension.

    Returns:
        The batch, and whether it was a single sample, to be answered without a batch dimension. A tensor of one
        dimension less than the contract's can only be one sample.
    """
    wanted = contract.input.sample_shape
    if array.ndim == len(wanted) and all(size in (None, own) for size, own in zip(wanted, array.shape, strict=True)):
        return array[np.newaxis], True
    return array, False


def dump_array(array: Array) -> bytes:
    """Encodes an array as JSON; what is not finite becomes null."""
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)


def has_nulls(encoded: bytes) -> bool:
    """Whether an encoded array of numbers had values that are not finite."""
    return b"null" in encoded
