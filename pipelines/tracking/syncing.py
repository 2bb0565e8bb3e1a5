"""Puts what was written on the disk itself, in a thread of its own: a busy disk takes seconds for that."""

from __future__ import annotations

import os
import threading

SYNC_AFTER_S = 4.0
"""How long something may wait for the disk; with the time that a disk takes, it is there within 5 s."""


class Syncer:
    """Watches over one open file."""

    def __init__(self, descriptor: int, after_s: float = SYNC_AFTER_S) -> None:
        """Takes the file; its thread starts with the first word that something was written."""
        self._descriptor = descriptor
        self._after_s = after_s
        self._changed = threading.Condition()
        self._waiting = False
        self._at_once = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self.problem: OSError | None = None
        """Why the last try failed, or None."""

    def written(self, *, at_once: bool = False) -> None:
        """Something was written, which is to be on the disk in some seconds, or as soon as possible."""
        with self._changed:
            if not self._waiting or at_once:
                self._waiting = True
                self._at_once = self._at_once or at_once
                self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="journal-syncer", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stops the thread. What is waiting is left to the caller."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                self._changed.wait_for(lambda: self._at_once or self._closing, self._after_s)
                if self._closing:
                    return
                self._waiting = self._at_once = False
            try:
                os.fsync(self._descriptor)
                self.problem = None
            except OSError as error:
                self.problem = error
