"""Makes sure that the child does not outlive its server, however either of them ends or hangs, nor take it along."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_first(score: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Has Linux end this process rather than the server when memory runs out: it can be replaced."""
    with contextlib.suppress(OSError):
        score.write_text("500")


def die_with(server: int) -> None:
    """Ends this process when the server's ends.

    Args:
        server: Its process id; it holds the other end of our standard input, and never writes to it.
    """
    with contextlib.suppress(OSError, AttributeError):  # Linux only; it ends even a process that is stopped
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before that
        os._exit(0)

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(0, 1)  # returns when the server closes its end, or dies
        os._exit(0)

    threading.Thread(target=watch, name="leash", daemon=True).start()
