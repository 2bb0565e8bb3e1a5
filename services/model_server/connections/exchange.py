"""One request and its answer, between a connection and the ASGI application."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Scope

if TYPE_CHECKING:
    from services.model_server.connections.dialogue import Dialogue

# More than this of a body waits in the kernel until the application has taken what is here.
HIGH_WATER = 2**18
# An answer up to this size is copied behind its headers: one system call, one packet.
_JOINED = 2**16
_STATUS = {code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n".encode() for code in http.HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def status_line(status: int) -> bytes:
    """Returns the first line of an answer."""
    return _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status


class Exchange:
    """The ASGI side of one request: `receive` gives its body, `send` takes its answer.

    Attributes:
        complete: Whether the whole request has come.
        answered: Whether the whole answer was handed to the socket.
        keep_alive: Whether another request may follow on the connection.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_head",
        "_left",
        "_wake",
        "answered",
        "buffered",
        "complete",
        "expects_100",
        "gone",
        "keep_alive",
        "received",
        "scope",
        "since",
        "task",
    )

    def __init__(self, connection: Dialogue, scope: Scope, since: float) -> None:
        self.scope = scope
        scope["answer"] = self.answer
        self.since = since
        self.complete = False
        self.answered = False
        self.gone = False
        self.keep_alive = True
        self.expects_100 = False
        self.received = 0
        self.buffered = 0
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self._chunks: list[bytes] = []
        self._wake: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._left = 0

    def add(self, chunk: bytes) -> None:
        """Takes a piece of the body from the socket."""
        self.received += len(chunk)
        if self.answered or self.gone:
            return
        self._chunks.append(chunk)
        self.buffered += len(chunk)
        if self._wake is not None:
            self.wake()

    def wake(self) -> None:
        """Lets a waiting `receive` look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def receive(self) -> Message:
        """Returns what has come of the body since the last call; waits if that is nothing."""
        connection = self._connection
        if self.expects_100 and not self.complete:
            self.expects_100 = False
            connection.write(_CONTINUE)
        while not self._chunks and not self.complete and not self.gone and not self.answered:
            connection.resume_reading()
            self._wake = connection.shared.loop.create_future()
            await self._wake
        if self.gone or self.answered:
            return {"type": "http.disconnect"}
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks, self.buffered = [], 0
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    async def send(self, message: Message) -> None:
        """Takes the answer: its start, then its body in one piece or in several that fill its content-length.

        Raises:
            RuntimeError: the application breaks ASGI, or would let a client write headers.
        """
        connection = self._connection
        if connection.write_paused:
            await connection.writable()
        if self.gone:
            return
        if message["type"] == "http.response.start":
            self._head = self._encode(message["status"], message["headers"])
            return
        head, body = self._head, message.get("body", b"")
        if head is None:
            raise RuntimeError("The application sent a body before the start of its answer.")
        self._left -= len(body)
        more = message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            body = b""
        elif self._left < 0 or (self._left and not more):
            raise RuntimeError("The body of the answer is not as long as its content-length says.")
        if len(body) <= _JOINED:
            connection.write(head + body)
        else:
            connection.write(head)
            connection.write(body)
        self._head = b""
        if not more:
            self.answered = True
            connection.answered(self)

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Takes a whole answer at once, without ASGI's two messages; the scope has it as `answer`.

        Returns:
            False if the client does not take the answers before this one: `send` waits until it does.
        """
        connection = self._connection
        if connection.write_paused:
            return False
        if self.gone:
            return True
        head = self._encode(status, headers)
        if self.scope["method"] == "HEAD":
            connection.write(head)
        elif len(body) <= _JOINED:
            connection.write(head + body)
        else:
            connection.write(head)
            connection.write(body)
        self._head, self.answered = b"", True
        connection.answered(self)
        return True

    def forget(self) -> None:
        """Called when its task has ended."""
        self.scope.pop("answer", None)  # it refers to this exchange, which refers to the scope
        if self.task is not None:
            self._connection.shared.tasks.discard(self.task)

    def _encode(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        parts = [_STATUS.get(status) or status_line(status), self._connection.shared.date]
        length = None
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        if length is None:
            raise RuntimeError("An answer needs a content-length.")
        self._left = length
        self.keep_alive = self.keep_alive and self.complete and not self._connection.shared.draining
        lines = len(headers) + 3
        if not self.keep_alive and (b"connection", b"close") not in headers:
            parts.append(b"connection: close\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        # One line for each header and no more: a line break inside a value would let a client write headers.
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise RuntimeError("A header of the answer holds a line break.")
        return head


async def run(exchange: Exchange, app: Any, on_error: Callable[[Exchange, BaseException], None]) -> None:
    """Lets the application answer; what it raises, or leaves unanswered, ends the connection."""
    try:
        await app(exchange.scope, exchange.receive, exchange.send)
    except BaseException as error:  # a cancelled task as well: nobody waits for this one
        on_error(exchange, error)
    else:
        if not exchange.answered and not exchange.gone:
            on_error(exchange, RuntimeError("The application did not answer."))
    finally:
        exchange.forget()
