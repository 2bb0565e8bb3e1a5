"""Several processes on one port: a small parent that starts them, replaces what dies, and passes the end on.

The parent binds the socket and never takes a connection. Its children inherit the socket: what waits in its queue when
one of them dies is taken by another. The parent loads nothing, so that a fork is cheap and safe.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from services.model_server.events import EventLog
from services.model_server.host.door import turn_new_ones_away
from services.model_server.metrics.board import BEAT, Board, Reader, clear_head
from services.model_server.settings import Settings

# Who lived this long did not fail at its start.
_HEALTHY_S = 30.0
_LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.5
# How often is looked whether a process hangs.
_LOOK_EVERY_S = 1.0
# The children keep to the time to drain themselves; this is for one that hangs.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Seat:
    """The place of one process among several; who dies is followed by another process on the same seat.

    Attributes:
        number: From 0.
        board: Where it counts; the file outlives the process.
        siblings: Where the others count, and the parent.
        parent: A file descriptor that becomes readable when the parent has died.
    """

    number: int
    board: Path
    siblings: tuple[Path, ...]
    parent: int


def wait_before_restart_s(lived_s: float, failures: int) -> float:
    """Returns how long to wait before a dead process is replaced.

    Args:
        lived_s: How long it lived.
        failures: How many before it, in a row, died young.
    """
    if lived_s >= _HEALTHY_S or failures == 0:
        return 0.0
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 16))


@dataclass
class _Place:
    seat: Seat
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    killed: bool = False

    def __post_init__(self) -> None:
        self.board = Reader(self.seat.board)

    def silent_s(self, now: float) -> float:
        """How long the process has not said that it lives; 0 before it has said so for the first time."""
        beat = self.board.head()[BEAT]
        return now - beat if beat > self.started else 0.0


class Parent:
    """Keeps one process on every seat until it is told to end."""

    def __init__(self, settings: Settings, listener: socket.socket, log: EventLog, work: Callable[[Seat], int]) -> None:
        """Takes its parts; nothing happens before `run`.

        Args:
            settings: All settings.
            listener: Bound and listening.
            log: Where events go.
            work: What a process does on its seat, until its end; returns its exit code.
        """
        self._settings, self._listener, self._log, self._work = settings, listener, log, work
        self._signals: list[int] = []

    def run(self) -> int:
        """Runs the processes.

        Returns:
            0 if all ended as they should, else 1.
        """
        folder = Path(tempfile.mkdtemp(prefix="regatta-model-server-"))
        boards = [folder / f"worker-{number}.board" for number in range(self._settings.workers)]
        own = folder / "parent.board"
        counts = Board(own)
        self._restarts = counts.place(("worker_restarts",))
        self._alive_r, self._alive_w = os.pipe()
        wake_r, wake_w = os.pipe()
        os.set_blocking(wake_w, False)
        os.set_blocking(wake_r, False)
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wake_w)
        self._inherited = (wake_r, wake_w)
        places = [
            _Place(Seat(number, board, tuple(other for other in (*boards, own) if other != board), self._alive_r))
            for number, board in enumerate(boards)
        ]
        try:
            while not self._signals:
                now = time.monotonic()
                for place in places:
                    if place.pid == 0 and now >= place.due:
                        self._start(place)
                self._collect(places)
                self._end_the_silent(places)
                waits = [place.due - time.monotonic() for place in places if place.pid == 0]
                _sleep(wake_r, max(0.0, min([*waits, _LOOK_EVERY_S])))
            return self._end(places, wake_r)
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (wake_r, wake_w, self._alive_r, self._alive_w):
                os.close(descriptor)
            counts.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _start(self, place: _Place) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        place.started, place.killed = time.monotonic(), False
        pid = os.fork()
        if pid:
            place.pid = pid
            self._log("worker_started", number=place.seat.number, pid=pid)
            return
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for descriptor in (*self._inherited, self._alive_w):
                os.close(descriptor)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells everybody; here the parent does
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = self._work(place.seat)
        except BaseException as error:  # whatever happens, a child must not go on as a second parent
            self._log("worker_failed", level="error", reason=f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _collect(self, places: list[_Place]) -> int:
        """Takes note of who died; returns how many failed."""
        failed = 0
        for place in places:
            if place.pid == 0:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid == 0:
                continue
            code, lived_s = os.waitstatus_to_exitcode(status), time.monotonic() - place.started
            failed += code != 0
            place.pid = 0
            clear_head(place.seat.board)
            if self._signals:
                continue
            self._restarts.values[self._restarts.at] += 1
            wait_s = wait_before_restart_s(lived_s, place.failures)
            place.failures = 0 if lived_s >= _HEALTHY_S else place.failures + 1
            place.due = time.monotonic() + wait_s
            self._log(
                "worker_died",
                level="error",
                number=place.seat.number,
                pid=pid,
                how=f"signal {-code}" if code < 0 else f"exit code {code}",
                lived_s=round(lived_s, 1),
                next_in_s=wait_s,
            )
        return failed

    def _end_the_silent(self, places: list[_Place]) -> None:
        """Kills what hangs: its loop does not turn any more, and what it has taken is not answered."""
        now = time.monotonic()
        for place in places:
            if place.pid and not place.killed and (silent_s := place.silent_s(now)) > self._settings.hang_s:
                self._log(
                    "worker_hangs",
                    level="error",
                    number=place.seat.number,
                    pid=place.pid,
                    silent_s=round(silent_s, 1),
                )
                place.killed = True
                os.kill(place.pid, signal.SIGKILL)

    def _end(self, places: list[_Place], wake_r: int) -> int:
        """Passes the signal on, waits, and kills what hangs."""
        name = signal.Signals(self._signals[0]).name
        self._log("stopping", signal=name, workers=sum(place.pid != 0 for place in places))
        self._tell(places, signal.SIGTERM)
        shut = time.monotonic() + min(self._settings.linger_s, self._settings.drain_s / 2)
        end = time.monotonic() + self._settings.drain_s + _PATIENCE_S
        passed_on, failed = 1, 0
        while any(place.pid for place in places):
            failed += self._collect(places)
            if len(self._signals) > passed_on:
                passed_on = len(self._signals)
                self._tell(places, signal.SIGTERM)
            if self._listener.fileno() >= 0 and time.monotonic() >= shut:
                turn_new_ones_away(self._listener)
                self._listener.close()  # who closes it last takes what waits in its queue: one that answers
            left = end - time.monotonic()
            if left <= 0:
                self._tell(places, signal.SIGKILL)
                end, failed = time.monotonic() + _PATIENCE_S, failed + 1
            elif any(place.pid for place in places):
                until_shut = shut - time.monotonic() if self._listener.fileno() >= 0 else left
                _sleep(wake_r, max(0.0, min(left, until_shut)))
        self._log("stopped")
        return 1 if failed else 0

    def _tell(self, places: list[_Place], number: signal.Signals) -> None:
        for place in places:
            if place.pid:
                os.kill(place.pid, number)


def _nothing(*_: Any) -> None:
    """Lets the signal through to the wake-up descriptor."""


def _sleep(wake_r: int, most_s: float | None) -> None:
    """Waits for a signal."""
    if select.select([wake_r], [], [], most_s)[0]:
        os.read(wake_r, 4096)
