"""The controller's end of the line to a worker: length-prefixed messages over a connected socket. It never waits.

The worker's end is a `multiprocessing.connection.Connection`, which waits; both write the same bytes. A controller
that waited could wait for ever: for a worker that was stopped in the middle of a message, for one that itself waits for
space in the other direction, or for a machine that left the network.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

_SIZE = struct.Struct("!i")
_CHUNK = 1 << 16
_MOST_BYTES = 1 << 30
"""Of one message; more than that is no message of ours."""
_SPENT = 1 << 16
"""Bytes at the front of what has come that are over, above which they are dropped."""


class Wire:
    """Our end of the line.

    Attributes:
        ended: Whether nothing will come any more, once what has come is taken.
    """

    def __init__(self, connected: socket.socket, before: bytes = b"") -> None:
        """Takes the socket, which is closed with this, and bytes that were read from it already."""
        connected.setblocking(False)
        self._socket = connected
        self._came = bytearray(before)
        self._place = 0
        self._goes: deque[memoryview] = deque()
        self.ended = False

    @classmethod
    def pair(cls) -> tuple[Wire, Connection]:
        """Our end of a new line, and the other, for a process on this machine."""
        ours, theirs = socket.socketpair()
        return cls(ours), Connection(theirs.detach())

    def fileno(self) -> int:
        """The descriptor, for a selector; -1 where it is closed."""
        return self._socket.fileno()

    @property
    def closed(self) -> bool:
        """Whether we closed it."""
        return self._socket.fileno() < 0

    @property
    def has_mail(self) -> bool:
        """Whether there is something that it had no space for yet."""
        return bool(self._goes)

    def send(self, message: Any) -> None:
        """Sends a message, or keeps what of it there was no space for until `flush`."""
        content = ForkingPickler.dumps(message)
        self._goes.append(memoryview(_SIZE.pack(len(content)) + content))
        self.flush()

    def flush(self) -> None:
        """Sends what is kept, as far as there is space."""
        try:
            while self._goes:
                sent = self._socket.send(self._goes[0])
                if sent < len(self._goes[0]):
                    self._goes[0] = self._goes[0][sent:]
                else:
                    self._goes.popleft()
        except BlockingIOError:
            return
        except OSError:
            self._goes.clear()  # nobody is there any more, which is told by other ways

    def listen(self) -> bool:
        """Takes in what has come by now, or a part of it where it is much. Returns whether there may be more."""
        if self.ended:
            return False
        try:
            chunk = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        self.ended = not chunk
        self._came += chunk
        return len(chunk) == _CHUNK

    @property
    def has_word(self) -> bool:
        """Whether a whole message is there."""
        size = self._next_size()
        return size is not None and len(self._came) - self._place - _SIZE.size >= size

    def take(self) -> Any:
        """The next message; to be asked for where `has_word`."""
        size = self._next_size()
        assert size is not None, "has_word comes before take"
        begins = self._place + _SIZE.size
        self._place = begins + size
        with memoryview(self._came) as came, came[begins : self._place] as content:
            message = ForkingPickler.loads(content)
        if self._place == len(self._came):
            self._came.clear()
            self._place = 0
        elif self._place > _SPENT:
            del self._came[: self._place]
            self._place = 0
        return message

    def close(self) -> None:
        """Ends the line; the other end sees it. Calling it twice is fine."""
        with suppress(OSError):
            self._socket.close()
        self.ended = True
        self._goes.clear()

    def _next_size(self) -> int | None:
        """Bytes of the next message; None where not even that has come."""
        if len(self._came) - self._place < _SIZE.size:
            return None
        (size,) = _SIZE.unpack_from(self._came, self._place)
        if not 0 <= size <= _MOST_BYTES:  # nothing after it can be made sense of
            self._came.clear()
            self._place = 0
            self.ended = True
            return None
        return int(size)
