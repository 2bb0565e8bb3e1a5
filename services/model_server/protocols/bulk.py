"""A JSON body whose bulk is one long list of numbers: the list becomes an array, without an object for each number.

orjson makes a Python float of every number, and NumPy an array of those. simdjson keeps the numbers where C++ wants
them, and gives them out as one piece of memory. It flattens lists in lists, so what it gives out says nothing of their
shape: that is found by the lengths of all lists but not of their numbers, and by how many lists there are in the text.

The list is cut out of the body, and orjson reads what is left, with a word in its place. Whatever is not as simple as
that is nobody's business here: then the body is read as if this file did not exist, by `tensors.load_json`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

Array = NDArray[Any]
Place = tuple[str | int, ...]

# A shorter body is read by orjson as quickly.
SHORTEST_BYTES = 1 << 12
# simdjson's memory is several times the document; it is kept up to this size, and let go after a longer one.
_KEPT_BYTES = 1 << 20
# All that may be around the list. Little enough that nothing in it can be nested too deeply for one of the two readers.
_MOST_AROUND = 512
_MOST_DIMENSIONS = 8
_MOST_LISTS = 8
_WORD = "(the numbers)"
_TOKEN = b'"(the numbers)"'
# One bracket more than there may be dimensions. It never goes back, so that no body makes it slow.
_BEGIN = re.compile(rb"(?:\[[ \t\n\r]*+){1,9}+(?=[-0-9])")
_OPEN = ord("[")


class Numbers:
    """A rectangular list of numbers, at the place of the list in what was read.

    Attributes:
        array: float64, or int64 where whole numbers were wanted, in the shape of the list.
    """

    __slots__ = ("_text", "array")

    def __init__(self, array: Array, text: bytes) -> None:
        """Takes the numbers, and the JSON that they come from."""
        self.array, self._text = array, text

    def listed(self) -> list[Any]:
        """Returns the list itself, for who must tell a 1 from a 1.0."""
        listed: list[Any] = orjson.loads(self._text)
        return listed


def load_bulk(body: bytes, places: Sequence[Place], whole: bool = False) -> Any:
    """Reads a JSON body with one long list of numbers.

    Args:
        body: The bytes, UTF-8.
        places: Where the list may be, as keys and positions from the top: `("instances",)`, `("inputs", 0, "data")`.
        whole: Whether only whole numbers will do, and are wanted as int64.

    Returns:
        What orjson makes of the body, with `Numbers` at one of the places. None if the body is short, no such list is
        there, the list is ragged or holds something else than numbers, or anything is wrong with the body.
    """
    if len(body) < SHORTEST_BYTES:
        return None
    found = _cut(body)
    if found is None:
        return None
    begin, end, dimensions = found
    before, behind = body[:begin], body[end:]
    if b"\\" in before or b"\\" in behind or _TOKEN in before or _TOKEN in behind:
        return None  # the word could be there a second time
    try:
        document = orjson.loads(before + _TOKEN + behind)
    except orjson.JSONDecodeError:
        return None
    for place in places:
        holder = _holder(document, place)
        if holder is not None:
            text = body[begin:end]
            array = _READER.read(text, dimensions, "i" if whole else "d")
            if array is None:
                return None
            holder[place[-1]] = Numbers(array, text)
            return document
    return None


def _cut(body: bytes) -> tuple[int, int, int] | None:
    """Finds the long list: where it begins and ends, and how many dimensions it has. What it finds may be no list."""
    at = 0
    for _ in range(_MOST_LISTS):
        match = _BEGIN.search(body, at, at + _MOST_AROUND)
        if match is None:
            return None
        begin = match.start()
        # It can go on until the next text or the end of the object around it.
        ends = [end for sign in (b'"', b"}") if (end := body.find(sign, begin)) >= 0]
        if not ends:
            return None
        stop = min(ends)
        if begin + len(body) - stop <= _MOST_AROUND:
            dimensions = match.group().count(b"[")
            end = len(body[begin:stop].rstrip(b"], \t\n\r")) + begin
            for _ in range(dimensions):  # its own closing brackets; those behind them are of what is around it
                end = body.find(b"]", end, stop) + 1
                if not end:
                    return None
            around = begin + len(body) - end
            return (begin, end, dimensions) if around <= _MOST_AROUND and dimensions <= _MOST_DIMENSIONS else None
        at = stop  # a short list, such as a shape
        if at > _MOST_AROUND:
            return None
    return None


def _holder(document: Any, place: Place) -> Any:
    """Returns the object or the list that has the word at the end of a place; None if there is none."""
    holder = None
    try:
        for step in place:
            holder, document = document, document[step]
    except (KeyError, IndexError, TypeError):
        return None
    return holder if document == _WORD else None


class _Reader:
    """simdjson's parser, with its memory."""

    def __init__(self) -> None:
        self._kept = simdjson.Parser()

    def read(self, text: bytes, dimensions: int, kind: str) -> Array | None:
        """Reads a list of lists of numbers; None if it is ragged or holds something else.

        Args:
            text: The JSON, which may be none.
            dimensions: With how many brackets it begins.
            kind: "d" for float64, "i" for int64; then it holds something else if one number has a decimal point.
        """
        try:
            parser = self._kept if len(text) <= _KEPT_BYTES else simdjson.Parser()
            found: Any = parser.parse(text)
            flat = np.frombuffer(found.as_buffer(of_type=kind), np.float64 if kind == "d" else np.int64)
            shape, lists, most = [len(found)], [found], 1
            for _ in range(dimensions - 1):
                most += math.prod(shape)
                lists = [inner for outer in lists for inner in outer]
                sizes = set(map(len, lists))
                if len(sizes) != 1:
                    return None
                shape += sizes
        except (ValueError, TypeError):  # a number where a list must be has no length
            return None
        except RuntimeError:  # a number beyond 64 bits; or somebody still holds what was read before
            self._kept = simdjson.Parser()
            return None
        # All lists of the shape are there, each of its length. If there are no others, the innermost ones hold numbers
        # and nothing else: flattened, a list among them would look the same.
        if np.count_nonzero(np.frombuffer(text, np.uint8) == _OPEN) != most or flat.size != math.prod(shape):
            return None
        return flat.reshape(shape)


_READER = _Reader()
