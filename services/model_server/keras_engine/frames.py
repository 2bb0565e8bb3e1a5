"""What goes between the server and its Keras child: frames with a few facts as JSON and at most one raw array.

A frame is a head of fixed size, then the JSON, then the array's bytes: little-endian and row by row, texts as their
lengths and then their UTF-8. Nothing in a frame is ever run or unpacked into anything but numbers and texts.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_JSON_BYTES = 4 * 2**20  # a table's columns with their words are the longest
MOST_ARRAY_BYTES = 2**30
_MAGIC = b"RGK1"
_HEAD = struct.Struct("<4sIIQ")  # magic, kind, bytes of JSON, bytes of the array
_NUMBERS = ("float32", "float64", "int64", "int32", "uint8")
_TEXTS = "string"
_MOST_DIMENSIONS = 16


class Kind(IntEnum):
    """What a frame is."""

    LOAD = 1
    """To the child, first: the model's file and what is known of it."""
    READY = 2
    """From the child: the model is loaded and warm."""
    RUN = 3
    """To the child: compute these rows."""
    OUTPUT = 4
    """From the child: the outputs of these rows."""
    FAILED = 5
    """From the child: what was asked cannot be done, and why."""


class BadFrame(Exception):
    """What came is no frame; nothing that comes after it can be trusted."""


class Ended(Exception):
    """The other side has closed the way, or died."""


class TooLarge(Exception):
    """An array is longer than a frame may be; nothing was sent."""


class TooLate(Exception):
    """The other side did not take or send a whole frame in time."""


@dataclass(frozen=True)
class Frame:
    """One frame that came. `array` is None if it had none; texts are a (…) array of objects."""

    kind: Kind
    facts: Mapping[str, Any]
    array: NDArray[Any] | None = None


def send(
    channel: socket.socket,
    kind: Kind,
    facts: Mapping[str, Any],
    array: NDArray[Any] | None = None,
    within_s: float | None = None,
) -> None:
    """Sends one frame.

    Args:
        channel: A connected stream socket.
        kind: What it is.
        facts: What JSON can hold.
        array: Numbers of any shape, or texts as objects.
        within_s: How long the other side may take to accept it; for ever if None.

    Raises:
        Ended: the other side is gone.
        TooLate: it did not take the frame in time.
        TooLarge: the array has more than `MOST_ARRAY_BYTES`.
    """
    described: dict[str, Any] = {"facts": dict(facts)}
    payload: Any = b""
    if array is not None:
        texts = array.dtype == object
        payload = _texts_to_bytes(array) if texts else _plain(array).data.cast("B")
        described["array"] = {"dtype": _TEXTS if texts else array.dtype.name, "shape": list(array.shape)}
        if len(payload) > MOST_ARRAY_BYTES:
            raise TooLarge(f"{len(payload)} bytes at once are more than {MOST_ARRAY_BYTES}; send fewer rows")
    text = json.dumps(described).encode()
    try:
        channel.settimeout(within_s)
        channel.sendall(_HEAD.pack(_MAGIC, kind, len(text), len(payload)) + text)
        if len(payload):
            channel.sendall(payload)
    except TimeoutError:
        raise TooLate from None
    except OSError:
        raise Ended from None


def receive(channel: socket.socket, within_s: float | None = None) -> Frame:
    """Waits for one frame.

    Args:
        channel: A connected stream socket.
        within_s: How long the whole frame may take; for ever if None.

    Raises:
        Ended: the other side is gone.
        TooLate: the frame did not come in time.
        BadFrame: what came is none.
    """
    until = None if within_s is None else time.monotonic() + within_s
    magic, kind, text_bytes, array_bytes = _HEAD.unpack(_read(channel, _HEAD.size, until))
    if magic != _MAGIC:
        raise BadFrame(f"it begins with {magic!r}")
    if text_bytes > MOST_JSON_BYTES or array_bytes > MOST_ARRAY_BYTES:
        raise BadFrame(f"it says that it has {text_bytes} bytes of JSON and an array of {array_bytes} bytes")
    try:
        told = Kind(kind)
        described = json.loads(bytes(_read(channel, text_bytes, until)))
        facts, form = described["facts"], described.get("array")
        if not isinstance(facts, dict):
            raise BadFrame("its facts are no object")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadFrame(f"its head cannot be read ({type(error).__name__})") from None
    payload = _read(channel, array_bytes, until)
    if form is None:
        if array_bytes:
            raise BadFrame("it has an array that it does not describe")
        return Frame(told, facts)
    return Frame(told, facts, _array(form, payload))


def _read(channel: socket.socket, size: int, until: float | None) -> bytearray:
    content = bytearray(size)
    view, filled = memoryview(content), 0
    while filled < size:
        try:
            channel.settimeout(None if until is None else max(0.001, until - time.monotonic()))
            got = channel.recv_into(view[filled:])
        except TimeoutError:
            raise TooLate from None
        except OSError:
            raise Ended from None
        if not got:
            raise Ended
        filled += got
    return content


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array as it goes over the way: row by row and little-endian, and flat, as an empty one has no buffer else."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)


def _array(form: Any, payload: bytearray) -> NDArray[Any]:
    try:
        dtype, shape = form["dtype"], tuple(form["shape"])
    except (KeyError, TypeError):
        raise BadFrame("its array is not described") from None
    if len(shape) > _MOST_DIMENSIONS or not all(type(size) is int and 0 <= size <= MOST_ARRAY_BYTES for size in shape):
        raise BadFrame("its array has no shape")
    count = 1
    for size in shape:
        count *= size
    if dtype == _TEXTS:
        return _texts(payload, count).reshape(shape)
    if dtype not in _NUMBERS:
        raise BadFrame("its array has no dtype that is known here")
    kind = np.dtype(dtype).newbyteorder("<")
    if count * kind.itemsize != len(payload):
        raise BadFrame(f"its array should have {count * kind.itemsize} bytes and has {len(payload)}")
    return np.frombuffer(payload, kind).reshape(shape)


def _texts_to_bytes(array: NDArray[Any]) -> bytes:
    # A text with half a surrogate pair is no Unicode, and no word that a model knows either.
    coded = [str(text).encode("utf-8", "replace") for text in array.reshape(-1).tolist()]
    return np.array([len(text) for text in coded], "<u4").tobytes() + b"".join(coded)


def _texts(payload: bytearray, count: int) -> NDArray[Any]:
    start = 4 * count
    if start > len(payload):
        raise BadFrame("its texts are not all there")
    ends = start + np.cumsum(np.frombuffer(payload, "<u4", count), dtype=np.int64)
    if (int(ends[-1]) if count else start) != len(payload):
        raise BadFrame("its texts have another length than it says")
    content = bytes(payload)
    found = np.empty(count, dtype=object)
    for place, end in enumerate(ends.tolist()):
        found[place] = content[start:end].decode("utf-8", "replace")
        start = end
    return found
