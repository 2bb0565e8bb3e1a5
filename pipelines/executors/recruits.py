"""Worker processes that are started before anybody knows what exactly they will work on: imports take them seconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess

from pipelines.executors import memory
from pipelines.executors.base import Factory
from pipelines.executors.logs import WorkerLog
from pipelines.executors.pids import note_pid
from pipelines.executors.process import ProcessBody
from pipelines.executors.serving import serve
from pipelines.executors.staff import Staff
from pipelines.executors.wire import Wire

Preparation = Callable[[], object]
"""What a process does while it has no work. It must be picklable; what it raises, the making of the worker tells."""


@dataclass(frozen=True)
class Recruit:
    """A process that was started and has no work yet. It ends with its controller, as every worker does.

    Attributes:
        environment: Its variables; they were set before anything was imported.
        process: It.
        wire: Our end of the line to it.
        kills: How often the system had ended processes for lack of memory when it was started.
    """

    environment: Mapping[str, str]
    process: SpawnProcess
    wire: Wire
    kills: int | None

    @classmethod
    def start(cls, number: int, environment: Mapping[str, str], preparation: Preparation | None = None) -> Recruit:
        """Starts one.

        Args:
            number: Of the worker that it is to be.
            environment: Variables that it needs.
            preparation: What it does until it is hired.
        """
        context = multiprocessing.get_context("spawn")  # never fork: TensorFlow's threads would not survive it
        ours, theirs = Wire.pair()
        kills = memory.kills()
        process = context.Process(
            target=serve,
            args=(theirs, dict(environment), preparation, os.getpid()),
            name=f"regatta-worker-{number}",
            daemon=True,
        )
        with _ctrl_c_waits():
            process.start()
        theirs.close()  # or the line would stay open after the process's death
        return cls(environment, process, ours, kills)

    def hire(self, number: int, factory: Factory, log: WorkerLog) -> Staff:
        """Gives it its work: from now on it is a worker, and prints into the worker's log."""
        self.wire.send(str(log.path))
        self.wire.send(factory)
        pid_file = note_pid(log.path.parent, number, self.process.pid)
        return Staff(ProcessBody(self.process, pid_file, self.kills), self.wire)

    def dismiss(self) -> None:
        """Ends it: there is no work for it."""
        self.wire.close()
        self.process.kill()  # whatever it is in the middle of, it has begun nothing that could be left half done
        self.process.join()
        self.process.close()


class Recruits:
    """Those that wait to be hired, by the number of the worker that they are to be."""

    def __init__(
        self,
        environments: Sequence[Mapping[str, str]] = (),
        preparation: Preparation | None = None,
        earlier: Recruits | None = None,
    ) -> None:
        """Starts one for each environment, but for those that were started earlier and are as it is wanted.

        Args:
            environments: One each.
            preparation: What they do until they are hired.
            earlier: Others, who do the same: those of a wanted number and environment are taken over.
        """
        self._waiting: dict[int, Recruit] = {}
        for number, environment in enumerate(environments):
            taken = earlier.take(number, environment) if earlier is not None else None
            self._waiting[number] = taken or Recruit.start(number, environment, preparation)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, number: int, environment: Mapping[str, str]) -> Recruit | None:
        """The one that is to be this worker, if there is one, and it lives, and has this very environment.

        One that is not what is wanted is dismissed.
        """
        recruit = self._waiting.pop(number, None)
        if recruit is None:
            return None
        if recruit.environment == environment and recruit.process.is_alive():
            return recruit
        recruit.dismiss()
        return None

    def dismiss(self) -> None:
        """Ends those that nobody has hired. Calling it twice is fine."""
        while self._waiting:
            _, recruit = self._waiting.popitem()
            recruit.dismiss()


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Holds a Ctrl-C back while a process is started.

    It reaches the whole group: a process that has not come to ignore it would fill the terminal with a traceback. It is
    started with the signal held back, and lets it come when it ignores it (`serve`).
    """
    resource_tracker.ensure_running()  # which is started with the first process, and then lets signals come
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
