"""A worker's process on this machine, as its controller sees it."""

from __future__ import annotations

import signal
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil

from pipelines.executors import memory
from pipelines.executors.base import Loss, LossKind
from pipelines.executors.staff import Body, Death


class ProcessBody(Body):
    """A process that serves one worker."""

    def __init__(self, process: SpawnProcess, pid_file: Path, kills: int | None) -> None:
        """Takes what is known of it.

        Args:
            process: It.
            pid_file: The note of it that outlives the controller.
            kills: How often the system had ended processes for lack of memory when this one was started.
        """
        self.process = process
        self._pid_file = pid_file
        self._kills = kills

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.is_alive()

    @property
    def sentinel(self) -> int | None:
        """See `Body`."""
        return self.process.sentinel

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        self.process.kill()

    def terminate(self) -> None:
        """Ends it by SIGTERM."""
        self.process.terminate()

    def join(self, timeout_s: float) -> None:
        """See `Body`."""
        self.process.join(timeout_s)

    def death(self) -> Death:
        """Tells it by its exit code."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return Death(Loss(f"its process exited with code {code}"))
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if -code == signal.SIGKILL and memory.killed_since(self._kills):
            text = "its process was ended by the system for lack of memory (SIGKILL)"
            return Death(Loss(text, LossKind.MEMORY), blameless=True)
        return Death(Loss(f"its process was ended by {name}"), blameless=True)

    def resident_bytes(self) -> int:
        """Bytes of memory that it fills; 0 where it has just died, which is told by other ways."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def let_go(self) -> None:
        """Waits for it a little: it rests, and ends at once where nothing of its own code is in the way."""
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.forget()

    def forget(self) -> None:
        """Removes the note of it."""
        self._pid_file.unlink(missing_ok=True)
