"""The worker's side of dialling in: connects to its controller, and serves it until that is gone.

`python -m pipelines.executors.calling` is what a worker's container runs.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from pipelines.executors.reception import Invitation, keep_alive, reachable
from pipelines.executors.serving import serve_controller

CALL = "REGATTA_CALL"
"""Variable that holds, as JSON, the `invitation`, what to `prepare` until the worker is hired, and more `path`."""

_CONNECTS_IN_S = 20.0
_ANSWERS_IN_S = 600.0
"""For how long the controller may be busy with other things, such as its data, before it answers a call."""
_MOST_BYTES = 1024
_GRACE_S = 3.0
"""What a worker has for leaving by itself when its controller is gone."""


class CallFailed(Exception):
    """The controller was not reached, or it was somebody else."""


def dial(invitation: Invitation, *, timeout_s: float = _CONNECTS_IN_S) -> Connection:
    """Connects to a controller, which may not have answered yet; see `introduce`.

    Raises:
        CallFailed: Nobody is there.
    """
    until = time.monotonic() + timeout_s
    pause = 0.05
    while True:
        try:
            return Connection(_connect(invitation.address, timeout_s).detach())
        except OSError as problem:
            if time.monotonic() + pause > until:
                text = f"the controller at {invitation.address} cannot be reached: {problem.strerror or problem}"
                raise CallFailed(text) from None
        time.sleep(pause)
        pause = min(2 * pause, 1.0)


def introduce(pipe: Connection, invitation: Invitation, *, timeout_s: float = _ANSWERS_IN_S) -> None:
    """Proves to the controller to be the one that it expects, and has it prove to be the one that invited it.

    Raises:
        CallFailed: It did not.
    """
    try:
        challenge = _hear(pipe, timeout_s)
        mine = secrets.token_hex(32)
        proof = invitation.proof("worker", challenge).decode()
        pipe.send_bytes(json.dumps({"name": invitation.name, "proof": proof, "challenge": mine}).encode())
        answer = _hear(pipe, timeout_s)
    except (EOFError, OSError) as problem:
        raise CallFailed(
            f"the controller at {invitation.address} hung up: {str(problem) or 'it does not know us'}"
        ) from None
    if not hmac.compare_digest(answer, invitation.proof("controller", mine.encode())):
        raise CallFailed(f"whoever listens at {invitation.address} is not the controller")


def answer_call(
    invitation: Invitation,
    preparation: Callable[[], object] | None = None,
    *,
    leave: Callable[[int], Any] = os._exit,
) -> None:
    """The whole life of a worker that dials in: it returns when the controller is gone, or needs it no more.

    Should it be in the middle of something then, its process is ended a moment later: it must not hold a device.

    Args:
        invitation: Whom to dial.
        preparation: What it does until it is hired.
        leave: Ends the process.

    Raises:
        CallFailed: The controller was not reached.
    """
    pipe = dial(invitation)
    over = threading.Event()

    def watch() -> None:
        wait_for_end(pipe.fileno())
        if not over.wait(_GRACE_S):
            leave(0)

    threading.Thread(target=watch, name="controller", daemon=True).start()
    try:
        with _introducing(pipe, invitation):
            if preparation is not None:
                with suppress(Exception):  # what is wrong is met again where the worker is made, and is in its log then
                    preparation()
        serve_controller(pipe, memory=resident_bytes)
    finally:
        over.set()


def wait_for_end(descriptor: int) -> None:
    """Waits until the other end of a line is closed, whatever may still be there to be read."""
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", 0))  # that it is broken is always told
    poll.poll()


def resident_bytes() -> int:
    """Bytes of memory that this process fills."""
    return int(psutil.Process().memory_info().rss)


def main() -> int:
    """Serves the controller that the environment names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller decides what Ctrl-C means
    call = json.loads(os.environ.pop(CALL))
    sys.path.extend(call.get("path") or ())
    prepare, preparation = call.get("prepare"), None
    if prepare:
        module, _, name = prepare[0].partition(":")

        def preparation() -> object:
            return getattr(import_module(module), name)(*prepare[1])

    try:
        answer_call(Invitation(**call["invitation"]), preparation)
    except CallFailed as problem:
        print(f"No worker: {problem}.", file=sys.stderr)
        return 3
    return 0


@contextmanager
def _introducing(pipe: Connection, invitation: Invitation) -> Iterator[None]:
    """Makes the introduction, while there is other work to do."""
    problems: list[CallFailed] = []

    def make() -> None:
        try:
            introduce(pipe, invitation)
        except CallFailed as problem:
            problems.append(problem)

    made = threading.Thread(target=make, name="introduction", daemon=True)
    made.start()
    yield
    made.join()
    if problems:
        raise problems[0]


def _connect(address: str, timeout_s: float) -> socket.socket:
    kind, _, where = address.partition(":")
    if kind == "unix":
        connected = socket.socket(socket.AF_UNIX)
        try:
            with reachable(Path(where)) as short:
                connected.connect(short)
        except OSError:
            connected.close()
            raise
        return connected
    host, _, port = where.rpartition(":")
    connected = socket.create_connection((host, int(port)), timeout=timeout_s)
    connected.settimeout(None)
    keep_alive(connected)
    return connected


def _hear(pipe: Connection, timeout_s: float) -> bytes:
    if not pipe.poll(timeout_s):
        raise OSError(f"it said nothing for {timeout_s:g} s")
    return pipe.recv_bytes(_MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
