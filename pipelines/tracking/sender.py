"""Ships the journal to a tracker, in the background and in batches, for as long as it takes.

It never gives up: a server that is gone, slow, out of order or asks for a pause is tried again later, at most some
seconds apart, and `problem` says in words what is the matter. Nobody who writes to the journal ever waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.tracking.base import Tracker, Unavailable
from pipelines.tracking.courier import Courier
from pipelines.tracking.delivery import Delivery, delivery_file, read_delivery, trusted

_GATHER_S = 0.3
"""How long entries may gather before they are sent: an epoch of a small model is far shorter than a request."""
_LONGEST_GATHER_S = 2.0
"""The same where a delivery takes longer: they gather for as long as it took, and more of them go in a request."""
_HOLD_S = 15.0
"""How long a checkpoint waits for a better one to take its place: sent and removed, it costs more than all curves."""
_SHORTEST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_LONGEST_PAUSE_ASKED_FOR_S = 60.0
"""A server may ask for more time than we would give it by ourselves, but not for the rest of the day."""


class Sender:
    """A background thread with a journal at one end and a tracker at the other."""

    def __init__(
        self,
        journal: Path,
        tracker: Tracker,
        server: str,
        *,
        keeps_progress: bool = True,
        on_its_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """Takes what it carries, and where.

        Args:
            journal: The journal.
            tracker: Takes its entries.
            server: The name under which progress is kept: the server's address.
            keeps_progress: Without it nothing is written beside the journal, whose folder may be one that is only read.
            on_its_way: Whether a server that has not answered yet is still starting.
        """
        state = trusted(read_delivery(journal, server), journal)
        self._courier = Courier(journal, tracker, state, delivery_file(journal, server) if keeps_progress else None)
        self._news = threading.Event()
        self._urgent = threading.Event()
        self._on_its_way = on_its_way
        self._closing = False
        self._hurry = self._asked_for = False
        self._problem: str | None = None
        self._begun = time.monotonic()
        self._reached = False
        self._thread = threading.Thread(target=self._run, name="journal-sender", daemon=True)

    def start(self) -> None:
        """Starts sending."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the journal."""
        self._news.set()

    @property
    def courier(self) -> Courier:
        """Who carries; to be asked directly only where `start` was not called."""
        return self._courier

    @property
    def delivered(self) -> int:
        """Entries that the tracker has."""
        return self._courier.state.delivered

    @property
    def refused(self) -> tuple[str, ...]:
        """What the tracker will never take, and why."""
        return tuple(self._courier.state.refused)

    @property
    def started_over(self) -> bool:
        """Whether the tracker had lost what it had, and was given everything again."""
        return self._courier.started_over

    @property
    def problem(self) -> str | None:
        """Why nothing can be delivered at the moment, or None."""
        return self._problem

    @property
    def starting(self) -> bool:
        """Whether nothing can be delivered yet because the tracker, which never answered, is still starting."""
        return self._problem is not None and not self._reached and self._on_its_way()

    def never_reached(self, after_s: float) -> bool:
        """Whether the tracker never answered this sender, though it has tried for `after_s` seconds."""
        return not self._reached and self._problem is not None and time.monotonic() - self._begun > after_s

    def run_id(self, uid: str) -> str | None:
        """The tracker's id of a run, once it has one."""
        return self._courier.state.runs.get(uid)

    def experiment_id(self, name: str) -> str | None:
        """The tracker's id of an experiment, once it has one."""
        return self._courier.state.experiments.get(name)

    def flush(self, written: int, timeout_s: float) -> bool:
        """Waits until `written` entries are delivered or refused; False where the time is over first."""
        self._hurry = self._asked_for = True
        self._urgent.set()
        self.wake()
        with self._courier.changed:
            done = self._courier.changed.wait_for(lambda: self._courier.state.processed >= written, timeout_s)
        self._hurry = False
        return done

    def close(self) -> None:
        """Stops. What is not delivered stays in the journal for the next sender."""
        self._closing = True
        self._urgent.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(30)

    def deliver(self) -> bool:
        """Delivers one slice in the calling thread, or a batch of pictures; False when there was neither.

        Raises:
            Unavailable: The tracker cannot be reached; the slice stays undelivered.
        """
        return self._courier.deliver()

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE_S
        while not self._closing:
            begun = time.monotonic()
            try:
                if self._courier.deliver(self._hold_s()):
                    self._reached = True
                    self._problem, pause = None, _SHORTEST_PAUSE_S
                    self._gather(min(max(time.monotonic() - begun, _GATHER_S), _LONGEST_GATHER_S))
                else:
                    self._problem = None
                    self._news.wait(1.0)
                    self._news.clear()
            except Unavailable as problem:
                self._reached = self._reached or problem.there
                self._problem = str(problem)
                self._rest(pause, min(problem.wait_s, _LONGEST_PAUSE_ASKED_FOR_S))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except Exception as problem:  # a full disk under our own progress file: what was sent is sent again
                self._problem = f"{type(problem).__name__}: {problem}"
                self._rest(pause, 0.0)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _rest(self, pause_s: float, asked_for_s: float) -> None:
        """Leaves the server alone, unless somebody waits for it; for as long as it has asked for, in any case."""
        until = time.monotonic() + asked_for_s
        while not self._closing and time.monotonic() < until:
            self._urgent.wait(until - time.monotonic())
            self._urgent.clear()
        if not asked_for_s and not self._closing:
            self._urgent.wait(pause_s)
        self._urgent.clear()

    def _hold_s(self) -> float:
        """How old a checkpoint must be to be sent; nothing is held back once somebody has asked for all of it."""
        return 0.0 if self._asked_for else _HOLD_S

    def _gather(self, for_s: float) -> None:
        """Lets entries gather, unless somebody waits for them, and delivers pictures meanwhile: at least a batch."""
        until = time.monotonic() + for_s
        while self._courier.deliver_beside(self._hold_s()) and not self._closing and time.monotonic() < until:
            if self._hurry:
                return
        while not self._hurry and not self._closing and (left := until - time.monotonic()) > 0:
            self._urgent.wait(left)
            self._urgent.clear()


__all__ = ["Delivery", "Sender", "delivery_file", "read_delivery"]
