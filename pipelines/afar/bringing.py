"""Brings what a node has made to where it belongs, while the trainer goes on with other trials.

A checkpoint goes from here to the tracking server, and only then the controller hears that its trial is over. Where the
server cannot be reached from here, the controller gets the file itself, and delivers it as its own when it can: neither
keeps a node from its next trial.
"""

from __future__ import annotations

import math
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.afar.attempts import FarAttempt
from pipelines.afar.line import Line
from pipelines.afar.places import NodePlace
from pipelines.afar.words import NodeSettings, RunKnown, RunWanted
from pipelines.records import CheckpointWritten, Ended
from pipelines.tracking import Tracker, make_tracker
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.entries import CheckpointKept
from pipelines.trial import CHECKPOINT

_LEFT_ALONE_S = 30.0
"""For how long a server that cannot be reached is not tried again; what is made meanwhile goes to the controller."""
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.01, 0.25


class Bringer:
    """A thread that brings files. It is a daemon: where the controller is gone, nobody waits for it."""

    def __init__(
        self,
        line: Line,
        place: NodePlace,
        settings: NodeSettings,
        *,
        tracker: Callable[[str], Tracker] = make_tracker,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Takes the wire, the worker's folders, and what is known of the sweep; begins with the first file.

        Args:
            line: The wire.
            place: Where files are, and what they are called.
            settings: Where the tracking server is.
            tracker: Makes a tracker of an address.
            clock: Seconds that only go forward.
            pause: Waits some seconds.
        """
        self._line = line
        self._place = place
        self._settings = settings
        self._make_tracker = tracker
        self._tracker: Tracker | None = None
        self._clock = clock
        self._pause = pause
        self._not_before = -math.inf
        self._changed = threading.Condition()
        self._states: dict[tuple[int, int], tuple[FarAttempt, list[Path]]] = {}  # the newest of each
        self._ends: deque[tuple[FarAttempt, Ended]] = deque()
        self._at: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._broken: Exception | None = None

    def state(self, attempt: FarAttempt, files: Sequence[Path]) -> None:
        """Has a state sent, after files that go with it; it takes the place of an older one that waits still."""
        with self._changed:
            before = self._states.get(attempt.key, (attempt, []))[1][:-1]  # the files that went with that
            self._states[attempt.key] = (attempt, [*(file for file in before if file not in files), *files])
            self._wake()

    def bring(self, attempt: FarAttempt, ended: Ended) -> None:
        """Has an attempt's files brought, and then its end told."""
        with self._changed:
            self._ends.append((attempt, ended))
            self._wake()

    def is_busy_with(self, attempt: FarAttempt) -> bool:
        """Whether something of an attempt is on its way."""
        with self._changed:
            return self._at == attempt.key or attempt.key in self._states

    def wait(self) -> None:
        """Returns when everything has gone.

        Raises:
            ConnectionError: The controller is gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._broken is not None or not (self._ends or self._states or self._at))
            if self._broken is not None:
                raise self._broken

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="bringer", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        try:
            while True:
                self._next()
        except Exception as error:  # the controller is gone: what goes wrong with a file is seen to where it does
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _next(self) -> None:
        """Does one thing: states first, as a trial that is over waits for nothing but us."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._states or self._ends))
            state = self._states.pop(next(iter(self._states))) if self._states else None
            end = self._ends.popleft() if state is None else None
            attempt = state[0] if state is not None else end[0] if end is not None else None
            assert attempt is not None
            self._at = attempt.key
        try:
            if state is not None:
                for path in state[1]:
                    self._send(path, attempt)
            if end is not None:
                self._bring(*end)
        finally:
            with self._changed:
                self._at = None
                self._changed.notify_all()

    def _bring(self, attempt: FarAttempt, ended: Ended) -> None:
        for event, folder in attempt.large:
            if not self._keep(attempt, Path(event.path), folder) and self._send(Path(event.path), attempt):
                self._line.say(replace(event, path=self._place.name(event.path)))
        checkpoint = attempt.checkpoint
        if checkpoint is not None:
            size = self._deliver(attempt, checkpoint)
            if size is not None or self._send(Path(checkpoint.path), attempt):
                name = self._place.name(checkpoint.path)
                self._line.say(replace(checkpoint, path=name, delivered_bytes=size))
        self._line.say(ended)
        attempt.remove()

    def _send(self, path: Path, attempt: FarAttempt) -> bool:
        """Sends a file to the controller; False where it cannot be read."""
        try:
            self._line.send(path, self._place.name(str(path)), *attempt.key)
        except (EOFError, ConnectionError):
            raise
        except OSError as problem:
            print(f"{path.name} of trial {attempt.spec.number} cannot be sent: {problem}", flush=True)
            return False
        return True

    def _deliver(self, attempt: FarAttempt, checkpoint: CheckpointWritten) -> int | None:
        """Brings the checkpoint to the tracking server, and returns its size; None where that did not work out."""
        best = attempt.epoch
        path = Path(checkpoint.path)
        if best is None or checkpoint.epoch != best.epoch or not path.is_file():
            return None  # it is not what the controller would deliver it for
        run = self._run_of(attempt, best.epoch)
        if run is None:
            return None
        metrics = {name: value for name, value in best.metrics.items() if math.isfinite(value)}
        entry = CheckpointKept(
            attempt.uid, run.time_ms, path.name, CHECKPOINT, best.epoch, checkpoint.sha256, metrics, delivered=True
        )
        size = path.stat().st_size

        def keep(tracker: Tracker, suspect: bool) -> None:
            tracker.keep_checkpoint(run.run_id, path, entry, suspect=suspect)

        return size if self._ask(keep) else None

    def _keep(self, attempt: FarAttempt, path: Path, folder: str) -> bool:
        """Brings a large file to the tracking server."""
        epoch = attempt.epoch.epoch if attempt.epoch is not None else 0
        run = self._run_of(attempt, epoch)
        return run is not None and self._ask(lambda tracker, _: tracker.keep(run.run_id, path, folder))

    def _ask(self, do: Callable[[Tracker, bool], object]) -> bool:
        """Has the tracker do something, once more where its answer was lost, and says whether it did."""
        if self._tracker is None:
            os.environ.update(self._settings.variables)
            self._tracker = self._make_tracker(self._settings.server)
        for suspect in (False, True):
            try:
                do(self._tracker, suspect)
            except Refused as problem:
                print(f"The tracking server refused a file of this node: {problem}", flush=True)
                return False
            except Unavailable as problem:
                print(f"The tracking server took no file of this node: {problem}", flush=True)
            except Exception:  # whatever it is, the controller can still have the file
                traceback.print_exc()
                return False
            else:
                return True
        self._not_before = self._clock() + _LEFT_ALONE_S
        return False

    def _run_of(self, attempt: FarAttempt, epoch: int) -> RunKnown | None:
        """The run that the server has of an attempt; None where it is not worth waiting for any longer."""
        begun = self._clock()
        if not self._settings.server or begun < self._not_before:
            return None
        look = _FIRST_LOOK_S
        while True:
            self._line.say(RunWanted(*attempt.key, epoch))
            known = self._line.run(*attempt.key, epoch)
            if known is not None:
                return known
            if self._clock() - begun >= self._settings.patience_s:
                self._not_before = self._clock() + _LEFT_ALONE_S
                return None
            self._pause(look)
            look = min(2 * look, _LONGEST_LOOK_S)
