"""The listening socket: takes connections, and shares them with the other processes that listen on the same one."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence

from services.model_server.events import EventLog
from services.model_server.metrics.board import ACCEPTING, TAKEN, Board, Reader

# How many waiting connections are taken at one turn of the loop.
_BURST = 64
# Who has more connections than another process leaves it so much time to take the next one.
_YIELD_S = 0.005
# How often the log says that there are none left; it is tried again four times a second for as long as that lasts.
_SAY_EVERY_S = 60.0
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# A filter for the kernel: of what comes to a listening socket it drops the first packet of a handshake, a SYN alone.
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte of the TCP flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone: go on, else skip one
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let it pass
)
_SO_ATTACH_FILTER = 26


def turn_new_ones_away(listener: socket.socket) -> None:
    """Lets the kernel make no more connections on a socket that is about to be closed, for all processes that have it.

    It finishes handshakes by itself, also between a last look at the queue and the close: such a client would be cut
    off after it was told that it is connected. Now it hears nothing, tries again, and is refused, or reaches whoever
    has the port by then. Where there are no such filters, a few microseconds are left in which that can happen.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    with contextlib.suppress(OSError):  # a sandbox may not know them
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program))
        )


class Door:
    """One process's end of a bound socket.

    The kernel wakes every process that listens, and one that is awake already is always quicker: without a rule it
    would take all of a burst. A socket of its own for each (SO_REUSEPORT) would deal them out by chance, and would lose
    what waits in the queue of a process that dies.
    """

    def __init__(
        self,
        listener: socket.socket,
        log: EventLog,
        come: Callable[[socket.socket], None],
        count: Callable[[], int],
        board: Board | None = None,
        others: Callable[[], Sequence[Reader]] = tuple,
    ) -> None:
        """Takes its parts, and no connection yet.

        Args:
            listener: Bound and listening.
            log: Where it says that there are no file descriptors left.
            come: Told every connection.
            count: How many connections there are now.
            board: Where this process says that it takes connections, and how many it has.
            others: The boards of the other processes that live.
        """
        listener.setblocking(False)
        self._listener, self._log, self._come, self._count = listener, log, come, count
        self._board, self._others = board, others
        self._yielded = False
        self._said = float("-inf")  # when the log heard last that there are no descriptors, by the loop's clock
        self.is_open = False

    def open(self) -> None:
        """Takes connections from now on."""
        self.is_open = True
        self._listen()
        self.say()

    def shut(self) -> None:
        """Takes no more of them; they wait in the queue of the socket."""
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().remove_reader(self._listener)
            self.say()

    def close(self) -> None:
        """Takes what waits already, and closes the socket: it would be cut off otherwise."""
        if self.is_open:  # else another process answers, or nobody can
            self.shut()
            while self._take(_BURST) == _BURST:
                pass
        self._listener.close()

    def say(self) -> None:
        """Tells the other processes how it is."""
        if self._board is not None:
            self._board.values[ACCEPTING] = float(self.is_open)
            self._board.values[TAKEN] = float(self._count())

    def _listen(self) -> None:
        if self.is_open:
            asyncio.get_running_loop().add_reader(self._listener, self._ready)

    def _ready(self) -> None:
        if self._board is None:
            self._take(_BURST)
        elif not self._yielded and self._is_ahead():
            self._yielded = True
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)  # it would be told of the same connection again and again
            loop.call_later(_YIELD_S, self._listen)
        else:
            self._yielded = False
            self._take(1)
            self.say()

    def _is_ahead(self) -> bool:
        """Whether another process that takes connections has fewer."""
        heads = (other.head() for other in self._others())
        return self._count() > min((head[TAKEN] for head in heads if head[ACCEPTING]), default=float("inf"))

    def _take(self, most: int) -> int:
        """Takes up to so many connections; returns how many."""
        for taken in range(most):
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return taken
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS and self.is_open:
                    self._say_why(error)
                    self.shut()  # as above; the server opens it again soon
                return taken
            client.setblocking(False)
            self._come(client)
        return most

    def _say_why(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said < _SAY_EVERY_S:
            return
        self._said = now
        self._log(
            "no_descriptors",
            level="error",
            reason=f"{error}: new connections wait until one of {self._count()} ends. Raise the limit of open files "
            f"(ulimit -n), or lower MODEL_SERVER_CONNECTIONS",
        )
