"""Worker processes and the end of their controller: none may go on after it, and none may be taken for another."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Has the system end this process with its parent, however that ends: also one that hangs holds no device then.

    Elsewhere than on Linux a worker ends when it finds its pipe closed.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(0)


def note_pid(folder: Path, number: int, pid: int | None) -> Path:
    """Notes a worker's process in a file, by which `end_left_over` finds it when its controller is gone."""
    path = folder / f"worker-{number}-{pid}.pid"
    try:
        born = psutil.Process(pid).create_time()
        path.write_text(json.dumps({"pid": pid, "create_time": born}), encoding="utf-8")
    except (psutil.Error, OSError):
        pass  # it has died already, or the disk is full: neither is worth a worker
    return path


def left_over(folder: Path) -> dict[Path, psutil.Process | None]:
    """Worker processes that are noted in a folder, by file; None for one that is gone. To be called with its lock."""
    found: dict[Path, psutil.Process | None] = {}
    for path in sorted(folder.rglob("worker-*.pid")):
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            process = psutil.Process(int(noted["pid"]))
            alive = abs(process.create_time() - float(noted["create_time"])) < 1.0  # else its number was given anew
            found[path] = process if alive else None
        except (psutil.Error, OSError, ValueError, KeyError, TypeError):
            found[path] = None
    return found


def end_left_over(folder: Path) -> int:
    """Ends worker processes that have outlived their controller, and says how many there were."""
    ended = 0
    for path, process in left_over(folder).items():
        if process is not None:
            try:
                process.kill()
                process.wait(10)
                ended += 1
            except psutil.Error:
                pass
        path.unlink(missing_ok=True)
    return ended
