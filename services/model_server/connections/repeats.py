"""Requests whose heads are the same but for their length: a client that keeps its connection sends one again and again.

What follows from a head follows from its bytes alone, so it is parsed once. And an application may offer to answer what
comes behind such a head directly: most of a small prediction is the way to the model and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.types import Scope

from services.model_server.connections.gate import LONG_BYTES

# What an application offers: takes the scope and the body of a request with the same head, and says whether it will
# answer by the scope's `answer`, within this turn of the loop or the next; if not, the request goes the usual way.
Again = Callable[[Scope, memoryview], bool]
# Heads longer than this are not kept: every connection may have one.
_LONGEST = 4096
# A client that writes another head each time, with an id perhaps, is looked at so often and then no more.
TRIES = 8
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
# No length that comes in one piece has more digits.
_DIGITS = 9
# A head with one of these says more about its body than where it ends.
_LEFT_OUT = (b"transfer-encoding", b"expect", b"upgrade")


class Repeat:
    """One head, and what it means. Of another length it is the same head.

    Attributes:
        method: In capitals.
        url: The address as it came.
        headers: Names in lower case.
        short: Whether it is a prediction with a short body: all that the gate wants to know.
        scope: Of a request with this head, without what belongs to one request only.
        start: Bytes of the head, from the first one of the request to the empty line.
        again: What the application has offered.
    """

    __slots__ = ("_before", "_behind", "_head", "_size", "again", "headers", "method", "scope", "short", "start", "url")

    def __init__(
        self,
        head: bytes,
        places: tuple[int, int],
        size: int,
        method: bytes,
        url: bytes,
        headers: list[tuple[bytes, bytes]],
        scope: Scope,
    ) -> None:
        """Takes a head apart.

        Args:
            head: All of it.
            places: Where in it the digits of its length begin and end.
            size: Bytes of the request that came with it.
            method: In capitals.
            url: The address as it came.
            headers: Names in lower case.
            scope: Of that request.
        """
        self._before, self._behind = head[: places[0]], head[places[1] :]
        self.method, self.url = method, url
        self.scope = {name: value for name, value in scope.items() if name not in ("answer", "arrival")}
        self.again: Again | None = None
        self._note(head, size, headers)

    def _note(self, head: bytes, size: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._head, self._size, self.start = head, size, len(head)
        self.short = self.method == b"POST" and size - len(head) <= LONG_BYTES
        self.headers = self.scope["headers"] = headers

    def is_of(self, data: bytes) -> bool:
        """Whether this is a whole request with this head, and nothing else."""
        if len(data) == self._size and data.startswith(self._head):
            return True
        return data.startswith(self._before) and self._is_of_another_length(data)

    def _is_of_another_length(self, data: bytes) -> bool:
        begin = len(self._before)
        end = data.find(b"\r", begin, begin + _DIGITS + 1)
        if end < 0:  # it ends with other spaces
            return False
        digits, start = data[begin:end], end + len(self._behind)
        if not (digits.isdigit() and data.startswith(self._behind, end) and int(digits) == len(data) - start):
            return False
        headers = [(name, digits if name == b"content-length" else value) for name, value in self.headers]
        self._note(data[:start], len(data), headers)
        return True

    def offer(self, again: Again) -> None:
        """Takes what the application offers; a scope has it as `offer`."""
        self.again = again


def learn(
    data: bytes, received: int, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], scope: Scope
) -> Repeat | None:
    """Returns what is to be known of a request that came alone and whole, None if its head is not worth it.

    Args:
        data: All of the request and nothing else.
        received: Bytes of its body.
        method: In capitals.
        url: The address as it came.
        headers: Names in lower case.
        scope: Of the request, as the application has not changed it yet.
    """
    head = data[: len(data) - received]
    if len(head) > _LONGEST or head.find(_END) != len(head) - len(_END):
        return None
    lengths, length = [value for name, value in headers if name == b"content-length"], _LENGTH.search(head)
    if length is None or lengths != [b"%d" % received] or any(name in _LEFT_OUT for name, _ in headers):
        return None
    return Repeat(head, length.span(1), len(data), method, url, headers, scope)
