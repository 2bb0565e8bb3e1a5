"""Workers for the executors' contract. They live in a module of their own because spawned processes import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pipelines.executors.base import Answer, Desk, OneByOne, Worker


def wait_for(path: Path, deadline_s: float = 100.0) -> None:
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
                end = time.monotonic() + 100.0
                count, found = 0, answer((value, 0))
                while found is None and time.monotonic() < end:
                    count += 1
                    found = answer((value, count))
                answer(("answer", found))
            case "touch":
                Path(value).touch()
            case "wait for":
                wait_for(Path(value))
            case "variable":
                answer(("variable", value, os.environ.get(value)))
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
    return OneByOne(steps)


def make_nothing() -> Worker:
    """A worker that cannot even be made."""
    raise RuntimeError("no such device")


class Together:
    """Works on several tasks at once, in rounds: in each it says a word about every task that it has.

    A task is `{"name", "rounds"}`, and perhaps `until`: by round, a file to wait for before it. What it says is
    `(pid, name, round, answers so far)`; an answer `(name, word)` is for the task of that name, and the word `stop`
    ends it.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._offered = False
        self._answers: dict[str, list[str]] = {}

    def __call__(self, desk: Desk) -> None:
        if not self._offered:
            self._offered = True
            desk.offer(self._places)
        under_way: dict[str, tuple[dict[str, Any], int]] = {}
        while True:
            while (task := desk.take()) is not None:
                under_way[task["name"]] = (task, 0)
                self._answers[task["name"]] = []
            if not under_way:
                return
            for name, (task, done) in list(under_way.items()):
                if done in task.get("until", {}):
                    wait_for(task["until"][done])
                if task.get("dies"):
                    os.kill(os.getpid(), signal.SIGKILL)
                for about, word in desk.say((os.getpid(), name, done, tuple(self._answers[name]))):
                    self._answers[about].append(word)
                under_way[name] = (task, done + 1)
                if done + 1 == task["rounds"] or "stop" in self._answers[name]:
                    del under_way[name]
                    desk.offer(1)


def make_together() -> Worker:
    return Together(4)


def make_eager() -> Worker:
    """Offers far more room than a pipe has space for tasks."""
    return Together(500)


def touch(path: Path, variable: str = "") -> None:
    """A preparation that leaves a trace: a file that holds a variable of its environment."""
    print("something that nobody should see")
    path.write_text(os.environ.get(variable, ""))


def touch_and_wait(path: Path) -> None:
    """A preparation that does not end by itself."""
    touch(path)
    wait_for(path.with_name("never"), 600.0)


def fail(path: Path) -> None:
    """A preparation that fails."""
    touch(path)
    raise RuntimeError("no such module")
