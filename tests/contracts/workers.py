"""Workers for the executors' contract. They live in a module of their own because spawned processes import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pipelines.executors.base import Answer, Worker


def wait_for(path: Path, deadline_s: float = 20.0) -> None:
    """Blocks until `path` exists; a worker cannot be sent an event, so it looks."""
    end = time.monotonic() + deadline_s
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not appear in {deadline_s:g} s")
        time.sleep(0.005)


def steps(task: dict[str, Any], answer: Answer) -> None:
    """Does what each step of the task says, in order."""
    for verb, value in task["steps"]:
        match verb:
            case "say":
                answer(value)
            case "pid":
                answer(("pid", os.getpid()))
            case "say until answered":  # as a training does: an answer is seen at one of the next messages
                end = time.monotonic() + 20.0
                count, found = 0, answer((value, 0))
                while found is None and time.monotonic() < end:
                    count += 1
                    found = answer((value, count))
                answer(("answer", found))
            case "wait for":
                wait_for(Path(value))
            case "print":
                print(value, flush=True)
            case "fill MiB":
                task["filled"] = b"x" * (value << 20)
            case "kill yourself":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise RuntimeError(value)
            case _:
                raise AssertionError(f"no such step: {verb}")


def make_steps() -> Worker:
    return steps


def make_nothing() -> Worker:
    """A worker that cannot even be made."""
    raise RuntimeError("no such device")
