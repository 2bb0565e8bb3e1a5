"""What goes on where a worker lives: it makes its worker, and brings it the tasks and answers that the line brings."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from pipelines.executors.base import Factory
from pipelines.executors.pids import die_with_parent

SAID, ROOM, REST = "said", "room", "rest"
"""Words from a worker: a message, places that it offers, and how many tasks it had taken when it returned from them."""
MEMORY, PRINTED = "memory", "printed"
"""Words from one that cannot be looked at: bytes of memory that it fills, and bytes that it has printed."""
TASK, ANSWER = "task", "answer"
"""Words to a worker."""

_PRINTED_BYTES = 1 << 14


class PipeDesk:
    """The desk of a worker at the end of a line; see `pipelines.executors.base.Desk`."""

    def __init__(self, pipe: Connection, memory: Callable[[], int] | None = None) -> None:
        """Takes the worker's end of the line.

        Args:
            pipe: It.
            memory: Looks how many bytes of memory the worker fills, where the controller cannot.
        """
        self._pipe = pipe
        self._memory = memory
        self._heard: deque[tuple[str, Any]] = deque()  # in the order in which it came
        self._taken = 0
        self._lock = threading.Lock()  # what is printed is sent by another thread

    def take(self) -> Any | None:
        """The next task that has come."""
        self._listen()
        place = next((place for place, (word, _) in enumerate(self._heard) if word == TASK), None)
        if place is None:
            return None
        task = self._heard[place][1]
        del self._heard[place]
        self._taken += 1
        return task

    def say(self, message: Any) -> Sequence[Any]:
        """Sends a message, and returns the answers that are there."""
        self.send(SAID, message)
        self._listen()
        answers = [content for word, content in self._heard if word == ANSWER]
        if answers:
            self._heard = deque(heard for heard in self._heard if heard[0] == TASK)
        return answers

    def offer(self, places: int) -> None:
        """Sends it at once."""
        if places > 0:
            self._tell_memory()
            self.send(ROOM, places)

    def rest(self) -> None:
        """Says that the worker has returned, where no task is waiting, and waits for one."""
        self._listen()
        self._drop_answers()
        if not self._heard:
            self._tell_memory()
            self.send(REST, self._taken)
        while not self._heard:
            self._heard.append(self._pipe.recv())
            self._drop_answers()

    def send(self, word: str, content: Any) -> None:
        """Sends a word; any thread may do that at any time."""
        with self._lock:
            self._pipe.send((word, content))

    def _tell_memory(self) -> None:
        if self._memory is not None:
            self.send(MEMORY, self._memory())

    def _listen(self) -> None:
        while self._pipe.poll():
            self._heard.append(self._pipe.recv())

    def _drop_answers(self) -> None:
        """Drops those that came before the first task: what they are about is over."""
        while self._heard and self._heard[0][0] == ANSWER:
            self._heard.popleft()


def serve_controller(
    pipe: Connection,
    preparation: Callable[[], object] | None = None,
    memory: Callable[[], int] | None = None,
    gone: Callable[[], object] = lambda: None,
) -> None:
    """Waits to be hired, makes a worker then, and serves it until the controller is gone.

    It is the whole life of a worker, wherever that is. The first word on the line is the file that everything printed
    is appended to, or nothing where the controller writes it, who is sent it then; the second what makes the worker.

    Args:
        pipe: To the controller.
        preparation: What it does until then.
        memory: Looks how many bytes of memory it fills, where the controller cannot.
        gone: Called first of all when the controller is gone.
    """
    try:
        if preparation is not None:
            with suppress(Exception):  # what is wrong is met again where the worker is made, and is in its log then
                preparation()
        log, desk = pipe.recv(), PipeDesk(pipe, memory)
        if log:
            print_to(log)
        else:
            _print_over(desk)
        factory: Factory = pipe.recv()
        worker = factory()
        while True:
            worker(desk)
            desk.rest()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        gone()  # and with it the reason to be


def serve(
    pipe: Connection, environment: dict[str, str], preparation: Callable[[], object] | None, controller: int
) -> None:
    """The whole life of a worker's process on the controller's machine; see `serve_controller`.

    Args:
        pipe: To the controller.
        environment: Variables that it needs.
        preparation: What it does until it is hired.
        controller: Process id of the controller.
    """
    die_with_parent(controller)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the controller decides what it means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see `pipelines.executors.recruits`
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print_to(os.devnull)  # nobody sees what it prints until it is hired
    serve_controller(pipe, preparation)


def print_to(path: str) -> None:
    """Has everything that this process prints appended to a file."""
    _flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    _print_into(descriptor)


def _print_over(desk: PipeDesk) -> None:
    """Has everything that this process prints sent to the controller."""
    _flush()
    comes, goes = os.pipe()
    _print_into(goes)

    def carry() -> None:
        with suppress(OSError):  # the controller is gone, and nobody reads it
            while printed := os.read(comes, _PRINTED_BYTES):
                desk.send(PRINTED, printed)

    threading.Thread(target=carry, name="printed", daemon=True).start()


def _print_into(descriptor: int) -> None:
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none
            stream.flush()
