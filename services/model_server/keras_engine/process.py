"""One child process of the Keras engine, and the way to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from services.model_server.keras_engine.frames import Frame, Kind, receive, send

COMMAND = (sys.executable, "-m", "services.model_server.keras_engine")
_ROOT = Path(__file__).resolve().parents[3]
_BUFFER_BYTES = 2**20
_LAST_LINES = 5
_SETTLE_S = 2.0
# What a model's process gets to know of the server's environment: no key, no password, no address of a registry.
_PASSED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "SYSTEMROOT")
_PASSED_BEGINNINGS = ("LC_", "TF_", "KERAS_", "OMP_", "MALLOC_", "COVERAGE_")


class Child:
    """A running child. `ask` is for one thread at a time; everything else for any.

    To be made in a thread that lives at least as long as the child: Linux ends it with the thread that made it.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """Starts the process; it has loaded nothing yet.

        Raises:
            OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            try:
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno()), str(os.getpid())],
                    cwd=_ROOT,
                    env=_environment(),
                    stdin=subprocess.PIPE,  # never written to: it closes when this process ends
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # a Ctrl-C in the server's terminal is the server's to handle
                )
            except OSError:
                ours.close()
                raise
        self._channel = ours
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._listener = threading.Thread(target=self._listen, name=f"keras-stderr-{self.pid}", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, kind: Kind, facts: Mapping[str, Any], array: NDArray[Any] | None, within_s: float) -> Frame:
        """Sends one frame and waits for one; each may take `within_s`.

        Raises:
            Ended, TooLate, BadFrame: see `frames`. The child is of no use after any of them.
        """
        send(self._channel, kind, facts, array, within_s)
        return receive(self._channel, within_s)

    def settle(self) -> None:
        """Gives one that has closed its way a moment to end by itself, so that it can be told how it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SETTLE_S)

    def kill(self) -> None:
        """Ends it at once, also if it hangs or is stopped."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def wait(self) -> str:
        """Waits for its end, and returns how it ended, as a part of a sentence."""
        code = self._process.wait()
        self._listener.join(1.0)
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(-code).name}"
        lines = [line for line in self._last_lines if line.strip()]
        return f"it ended with exit code {code}" + (f", saying: {lines[-1]}" if lines else "")

    def close(self) -> None:
        """Gives up the way to it; nobody asks it any more."""
        self._channel.close()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while line := stream.readline(4096):
                self._last_lines.append(line.decode("utf-8", "replace").strip()[:300])


def _environment() -> dict[str, str]:
    passed = {k: v for k, v in os.environ.items() if k in _PASSED or k.startswith(_PASSED_BEGINNINGS)}
    return {**passed, "PYTHONUNBUFFERED": "1"}
