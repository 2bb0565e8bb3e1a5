"""Warm worker processes on this machine: spawned once, used for many tasks, replaced when they die or grow."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import psutil

from pipelines.errors import ExecutorError
from pipelines.executors import memory
from pipelines.executors.base import Executor, Factory, Handler, Loss, LossKind
from pipelines.executors.logs import WorkerLog
from pipelines.executors.pids import die_with_parent, note_pid

_IDLE, _SAID = "idle", "said"  # from a worker
_TASK, _ANSWER = "task", "answer"  # to a worker
_STARTS_IN_A_ROW = 3
"""Workers of one slot that may exit before they were ever idle; then something is wrong with the worker itself."""
_KILLS_IN_A_ROW = 10
"""The same of workers that somebody ended by a signal, which says less about them."""


_LOOK_S = 1.0
"""How often the memory of working processes is looked at, where it has a cap."""


@dataclass(frozen=True)
class Recycling:
    """When a worker is replaced by a fresh one: between two tasks, and above `cap_bytes` in the middle of one."""

    after_tasks: int = 200
    above_bytes: int = 4 << 30
    cap_bytes: int | None = None


@dataclass
class _Process:
    process: SpawnProcess
    pipe: Connection
    pid_file: Path
    kills: int | None  # how often the system had ended processes for lack of memory when this one was started
    tasks: int = 0
    ready: bool = False
    loss: Loss | None = None  # why we ended it, if we did

    def alive(self) -> bool:
        return self.process.is_alive()


@dataclass
class _Slot:
    """One worker as the handler knows it: its number stays while processes come and go."""

    number: int
    current: _Process
    successor: _Process | None = None
    failed_starts: int = 0


class ProcessesExecutor(Executor):
    """One process a slot.

    A slot's environment (its device, its threads) is set before anything heavy is imported. The replacement of an
    ageing worker is started while the old one still works, so that it is warm when it takes over.
    """

    def __init__(
        self,
        factory: Factory,
        environments: Sequence[Mapping[str, str]],
        *,
        logs: Path,
        recycling: Recycling | None = None,
    ) -> None:
        """Takes what makes a worker, one environment a worker, and the folder for what the workers print."""
        self._factory = factory
        self._environments = environments
        self._logs = logs
        self._recycling = recycling or Recycling()
        self._context = multiprocessing.get_context("spawn")  # never fork: TensorFlow's threads would not survive it
        self._slots: list[_Slot] = []
        self._worker_logs = [WorkerLog(logs / f"worker-{number}.log") for number in range(len(environments))]
        self._handler: Handler | None = None
        self._looked = 0.0
        self._closed = False

    def start(self, handler: Handler) -> None:
        """Spawns all workers at once."""
        self._handler = handler
        self._logs.mkdir(parents=True, exist_ok=True)
        self._slots = [_Slot(number, self._spawn(number)) for number in range(len(self._environments))]

    def assign(self, worker: int, task: Any) -> None:
        """Sends the task; should the worker have died this moment, `wait` says so."""
        slot = self._slots[worker]
        slot.current.tasks += 1
        self._worker_logs[worker].mark()
        with contextlib.suppress(OSError):
            slot.current.pipe.send((_TASK, task))

    def wait(self, timeout_s: float) -> None:
        """Delivers what has come from the workers, and replaces those that died."""
        owners: dict[Any, tuple[_Slot, _Process]] = {}
        for slot in self._slots:
            for process in (slot.current, slot.successor):
                if process is not None:
                    owners[process.pipe] = owners[process.process.sentinel] = (slot, process)
        seen: set[int] = set()
        for source in connection.wait(list(owners), timeout_s):
            slot, process = owners[source]
            if id(process) not in seen:  # its pipe and its sentinel may both have something
                seen.add(id(process))
                self._listen(slot, process)
        self._look_at_memory()

    def tell(self, worker: int, answer: Any) -> None:
        """Sends the answer; should the worker have died this moment, `wait` says so."""
        with contextlib.suppress(OSError):
            self._slots[worker].current.pipe.send((_ANSWER, answer))

    def end(self, worker: int, reason: str) -> None:
        """Kills the worker's process: one that does not get on may not listen to anything gentler."""
        self._kill(self._slots[worker].current, Loss(reason, LossKind.ENDED))

    def log_tail(self, worker: int) -> str:
        """What the worker has printed since it was given its task: the last lines."""
        return self._worker_logs[worker].tail()

    def close(self) -> None:
        """Ends all worker processes: gently, then for good after a second."""
        self._closed = True
        processes = [entry for slot in self._slots for entry in (slot.current, slot.successor) if entry]
        self._slots = []
        for entry in processes:
            entry.pipe.close()
            entry.process.terminate()
        deadline = time.monotonic() + 1.0
        for entry in processes:
            entry.process.join(max(0.0, deadline - time.monotonic()))
            if entry.process.is_alive():
                entry.process.kill()
                entry.process.join()
            entry.pid_file.unlink(missing_ok=True)

    def _spawn(self, number: int) -> _Process:
        ours, theirs = self._context.Pipe()
        log = self._worker_logs[number]
        log.keep_small()
        kills = memory.kills()
        process = self._context.Process(
            target=_serve,
            args=(theirs, self._factory, dict(self._environments[number]), str(log.path), os.getpid()),
            name=f"regatta-worker-{number}",
            daemon=True,
        )
        process.start()
        theirs.close()  # or the pipe would stay open after the worker's death
        return _Process(process, ours, note_pid(self._logs, number, process.pid), kills)

    def _listen(self, slot: _Slot, entry: _Process) -> None:
        """Handles all that one process has said, and then its death if it died."""
        handler = self._handler
        assert handler is not None
        try:
            while not entry.pipe.closed and entry.pipe.poll():
                word, message = entry.pipe.recv()
                if word == _IDLE:
                    self._became_idle(slot, entry)
                else:
                    answer = handler.on_message(slot.number, message)
                    if answer is not None:
                        with contextlib.suppress(OSError):  # it has died by now; what else it said still counts
                            entry.pipe.send((_ANSWER, answer))
        except (EOFError, OSError):
            entry.process.join(5)
        was_let_go = self._closed or not (entry is slot.current or entry is slot.successor)
        if not was_let_go and not entry.alive():
            self._died(slot, entry)

    def _became_idle(self, slot: _Slot, entry: _Process) -> None:
        handler = self._handler
        assert handler is not None
        first_time, entry.ready, slot.failed_starts = not entry.ready, True, 0
        if entry is slot.successor:
            return  # it takes over when the worker it replaces has finished its task
        if slot.successor is not None and slot.successor.ready:
            _retire(slot.current)
            slot.current, slot.successor = slot.successor, None
        elif slot.successor is None and not first_time and self._is_due(entry):
            slot.successor = self._spawn(slot.number)
        handler.on_idle(slot.number)

    def _is_due(self, entry: _Process) -> bool:
        return entry.tasks >= self._recycling.after_tasks or _resident(entry) > self._recycling.above_bytes

    def _look_at_memory(self) -> None:
        """Ends processes that have grown beyond what they may use, before the system picks one by its own rules."""
        cap, now = self._recycling.cap_bytes, time.monotonic()
        if cap is None or now - self._looked < _LOOK_S:
            return
        self._looked = now
        for slot in self._slots:
            used = _resident(slot.current)
            if used > cap and slot.current.loss is None:
                text = f"it used {used >> 20} MiB of memory, and may use {cap >> 20} (execution.memory_cap_mb)"
                self._kill(slot.current, Loss(text, LossKind.MEMORY))

    def _kill(self, entry: _Process, loss: Loss) -> None:
        entry.loss = loss
        entry.process.kill()

    def _died(self, slot: _Slot, entry: _Process) -> None:
        handler = self._handler
        assert handler is not None
        entry.pipe.close()
        entry.pid_file.unlink(missing_ok=True)
        if entry is slot.successor:
            slot.successor = None
            return
        loss = entry.loss or _loss(entry)
        if not entry.ready:
            slot.failed_starts += 1
            killed = (entry.process.exitcode or 0) < 0
            if slot.failed_starts >= (_KILLS_IN_A_ROW if killed else _STARTS_IN_A_ROW):
                log = self._worker_logs[slot.number]
                raise ExecutorError(
                    f"Worker {slot.number} died {slot.failed_starts} times before it was ready ({loss.reason}). The "
                    f"end of {log.path}:\n{log.tail(12) or '(nothing was printed)'}"
                )
        slot.current, slot.successor = slot.successor or self._spawn(slot.number), None
        handler.on_lost(slot.number, loss)
        if slot.current.ready:
            handler.on_idle(slot.number)


def _serve(pipe: Connection, factory: Factory, environment: dict[str, str], log: str, controller: int) -> None:
    """What a worker process does: makes its worker, then serves tasks until the controller is gone."""
    die_with_parent(controller)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the controller decides what it means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)

    def say(message: Any) -> Any:
        pipe.send((_SAID, message))
        answer = None
        while pipe.poll():
            _, answer = pipe.recv()  # a task comes only to an idle worker
        return answer

    def next_task() -> Any:
        word = _ANSWER
        while word == _ANSWER:  # an answer that came too late for its task
            word, content = pipe.recv()
        return content

    try:
        worker = factory()
        while True:
            pipe.send((_IDLE, None))
            worker(next_task(), say)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the controller is gone


def _retire(entry: _Process) -> None:
    """Lets an idle worker go: it sees the end of its pipe and leaves."""
    entry.pipe.close()
    entry.process.join(2)
    if entry.process.is_alive():
        entry.process.kill()
        entry.process.join()
    entry.pid_file.unlink(missing_ok=True)


def _resident(entry: _Process) -> int:
    """Bytes of memory that a process fills; 0 where it has just died, which `wait` sees by itself."""
    try:
        return int(psutil.Process(entry.process.pid).memory_info().rss)
    except psutil.Error:
        return 0


def _loss(entry: _Process) -> Loss:
    """What a process that we did not end has died of."""
    code = entry.process.exitcode
    if code is None or code >= 0:
        return Loss(f"its process exited with code {code}")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and memory.killed_since(entry.kills):
        return Loss("its process was ended by the system for lack of memory (SIGKILL)", LossKind.MEMORY)
    return Loss(f"its process was ended by {name}")
