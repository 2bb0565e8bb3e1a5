"""Where workers dial in that are no children of the controller: they connect, prove who they are, and are put through.

Nothing is unpickled from anybody who has not proved to know the key that the controller gave to one worker alone; and
the worker unpickles nothing from anybody who does not know it either. What is said on the line is not encrypted: the
network between the two is taken to be one's own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.executors.wire import Wire

_SIZE = struct.Struct("!i")  # as `multiprocessing.connection` writes it
_MOST_BYTES = 1024
"""Of what somebody may say who has not proved anything yet."""
_MOST_WAITING = 256
"""Callers who have not proved anything yet; more are turned away."""
_PROVES_IN_S = 60.0
"""For how long a caller may take over it: one that imports TensorFlow beside it may need a while."""
_UNIX_BYTES = 100
"""A longer path cannot be the address of a Unix socket."""
_SILENT_S = 60
"""Seconds after which a machine that answers nothing at all is taken to be gone."""


@dataclass(frozen=True)
class Invitation:
    """What a worker needs to dial in.

    Attributes:
        address: `unix:PATH`, or `tcp:HOST:PORT`.
        name: Under which it is expected.
        key: Its secret, as hexadecimal digits; good for one call.
    """

    address: str
    name: str
    key: str

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Invitation:
        """From such a text."""
        return cls(**json.loads(text))

    def proof(self, who: str, challenge: bytes) -> bytes:
        """What only somebody who knows the key can say to a challenge, as `worker` or as `controller`."""
        said = b"\0".join((who.encode(), self.name.encode(), challenge))
        return hmac.new(bytes.fromhex(self.key), said, hashlib.sha256).hexdigest().encode()


@dataclass
class _Caller:
    """Somebody who has connected and has not proved anything yet."""

    socket: socket.socket
    challenge: bytes
    until: float
    said: bytes = b""


class Reception:
    """Listens for workers. It never waits for one."""

    def __init__(self, listener: socket.socket, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes a socket that is bound, and under which address workers reach it; see `at_path` and `at_port`."""
        listener.listen(_MOST_WAITING)
        listener.setblocking(False)
        self.address = address
        self._listener = listener
        self._clock = clock
        self._expected: dict[str, tuple[Invitation, Callable[[Wire], object]]] = {}
        self._callers: list[_Caller] = []

    @classmethod
    def at_path(cls, path: Path) -> Reception:
        """At a Unix socket, for workers that see the same files; the file is removed with it."""
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with reachable(path) as short:
            listener.bind(short)
        path.chmod(0o600)
        return cls(listener, f"unix:{path}")

    @classmethod
    def at_port(cls, host: str, port: int = 0, *, called: str | None = None) -> Reception:
        """At a port of this machine.

        Args:
            host: Address to listen at.
            port: A free one is chosen where it is 0.
            called: Under which name workers reach this machine, where that is another.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        return cls(listener, f"tcp:{called or host}:{listener.getsockname()[1]}")

    def expect(self, arrived: Callable[[Wire], object]) -> Invitation:
        """Somebody will call: `arrived` is called with our end of the line, in `attend`. It is good for one call."""
        invitation = Invitation(self.address, secrets.token_hex(8), secrets.token_hex(32))
        self._expected[invitation.name] = invitation, arrived
        return invitation

    def doors(self) -> list[socket.socket]:
        """What to look at until `attend` is called."""
        return [self._listener, *(caller.socket for caller in self._callers)]

    def attend(self) -> None:
        """Lets in who has connected, and puts through who has proved to be expected."""
        self._let_in()
        now = self._clock()
        for caller in list(self._callers):
            if self._is_done_with(caller):
                self._callers.remove(caller)
            elif now > caller.until:
                caller.socket.close()
                self._callers.remove(caller)

    def close(self) -> None:
        """Nobody can call any more. Calling it twice is fine."""
        for caller in self._callers:
            caller.socket.close()
        self._callers.clear()
        self._expected.clear()
        if self._listener.fileno() >= 0:
            self._listener.close()
            if self.address.startswith("unix:"):
                Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)

    def _let_in(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:  # nobody is there, or is not any more
                return
            if len(self._callers) >= _MOST_WAITING:
                connected.close()
                continue
            connected.setblocking(False)
            keep_alive(connected)
            challenge = secrets.token_hex(32).encode()
            with suppress(OSError):  # it has left again, which is seen at once
                connected.send(_SIZE.pack(len(challenge)) + challenge)
            self._callers.append(_Caller(connected, challenge, self._clock() + _PROVES_IN_S))

    def _is_done_with(self, caller: _Caller) -> bool:
        """Hears what a caller says. Returns whether it was put through, or sent away."""
        try:
            chunk = caller.socket.recv(_MOST_BYTES + _SIZE.size - len(caller.said))
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        caller.said += chunk
        if chunk and len(caller.said) < _SIZE.size:
            return False
        if not chunk:
            caller.socket.close()
            return True
        (size,) = _SIZE.unpack_from(caller.said)
        if 0 < size <= _MOST_BYTES and len(caller.said) < _SIZE.size + size:
            return False
        if not 0 < size <= _MOST_BYTES or not self._put_through(caller, caller.said[_SIZE.size :]):
            caller.socket.close()
        return True

    def _put_through(self, caller: _Caller, said: bytes) -> bool:
        try:
            words = json.loads(said)
            name, proof, challenge = str(words["name"]), str(words["proof"]), str(words["challenge"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if name not in self._expected:
            return False
        invitation, arrived = self._expected[name]
        if not hmac.compare_digest(invitation.proof("worker", caller.challenge), proof.encode()):
            return False
        del self._expected[name]
        answer = invitation.proof("controller", challenge.encode())
        with suppress(OSError):  # it has left again, which its end of the line tells
            caller.socket.send(_SIZE.pack(len(answer)) + answer)
        arrived(Wire(caller.socket))
        return True


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """The path of a Unix socket, short enough to be an address; on Linux one may be as long as it likes."""
    if len(os.fsencode(path)) <= _UNIX_BYTES or not sys.platform.startswith("linux"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def keep_alive(connected: socket.socket) -> None:
    """Has a TCP connection break when the machine at its other end is gone without a word, within a minute or so."""
    if connected.family == socket.AF_UNIX:
        return
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _SILENT_S // 3),
        ("TCP_KEEPINTVL", _SILENT_S // 6),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", _SILENT_S * 1000),
    ):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
