"""Requests whose heads are the same, byte by byte: a client that keeps its connection sends one head again and again.

What follows from a head follows from its bytes alone, so it is parsed once. And an application may offer to answer what
comes behind such a head directly: most of a small prediction is the way to the model and back.
"""

from __future__ import annotations

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
# A head with one of these says more about its body than where it ends.
_LEFT_OUT = (b"transfer-encoding", b"expect", b"upgrade")


class Repeat:
    """One head, and what it means.

    Attributes:
        head: From the first byte of the request to the empty line.
        size: Bytes of the head and of the body that it announces.
        method: In capitals.
        url: The address as it came.
        headers: Names in lower case.
        short: Whether it is a prediction with a short body: all that the gate wants to know.
        scope: Of a request with this head, without what belongs to one request only.
        again: What the application has offered.
    """

    __slots__ = ("again", "head", "headers", "method", "scope", "short", "size", "url")

    def __init__(
        self, head: bytes, size: int, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], scope: Scope
    ) -> None:
        self.head, self.size = head, size
        self.method, self.url, self.headers = method, url, headers
        self.short = method == b"POST" and size - len(head) <= LONG_BYTES
        self.scope = {name: value for name, value in scope.items() if name not in ("answer", "arrival")}
        self.again: Again | None = None

    def is_of(self, data: bytes) -> bool:
        """Whether this is a whole request with this head, and nothing else."""
        return len(data) == self.size and data.startswith(self.head)

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
    lengths = [value for name, value in headers if name == b"content-length"]
    if lengths != [b"%d" % received] or any(name in _LEFT_OUT for name, _ in headers):
        return None
    return Repeat(head, len(data), method, url, headers, scope)
