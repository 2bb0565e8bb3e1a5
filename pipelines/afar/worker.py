"""A worker on a node: the one that trains, with its files seen to."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipelines.afar.bringing import Bringer
from pipelines.afar.desk import FarDesk
from pipelines.afar.line import Line
from pipelines.afar.places import Workplace
from pipelines.afar.words import NodeSettings
from pipelines.executors.base import Desk, Worker
from pipelines.home import node_home
from pipelines.tracking import Tracker, make_tracker
from pipelines.worker import TrialWorker, WorkerSettings


class FarWorker:
    """See `pipelines.executors.base.Worker`. Its tasks are `FarTask`s."""

    def __init__(
        self,
        settings: NodeSettings,
        make: Callable[[Path], Worker],
        home: Path | None = None,
        tracker: Callable[[str], Tracker] = make_tracker,
    ) -> None:
        """Makes the worker that trains.

        Args:
            settings: What a node must know of the sweep.
            make: Makes a worker for `TrialSpec`s; it gets the folder that all workers of this node share.
            home: That folder; see `node_home` for where it is if left out.
            tracker: Makes a tracker of an address.
        """
        home = home or node_home()
        home.mkdir(parents=True, exist_ok=True)
        self._settings = settings
        self._tracker = tracker
        self._workplace = Workplace(home)
        atexit.register(self._workplace.close)
        self._worker = make(home)
        self._line: Line | None = None
        self._desk: FarDesk | None = None
        self._bringer: Bringer | None = None

    def __call__(self, desk: Desk) -> None:
        """Trains what comes, and returns when all that came of it has gone."""
        if self._line is None or self._line.desk is not desk:
            place, settings = self._workplace.place, self._settings
            self._line = Line(desk)
            self._bringer = Bringer(self._line, place, settings, tracker=self._tracker)
            self._desk = FarDesk(self._line, place, self._bringer, most_state_bytes=settings.most_state_bytes)
        assert self._desk is not None
        assert self._bringer is not None
        self._worker(self._desk)
        self._bringer.wait()

    def close(self) -> None:
        """Removes the worker's folder; to be called where its process goes on."""
        atexit.unregister(self._workplace.close)
        self._workplace.close()


def make_trial_worker(settings: WorkerSettings, home: Path) -> Worker:
    """A worker that trains trials, with what is worth keeping between sweeps in the node's own folder."""
    return TrialWorker(replace(settings, cache=str(home / "lanes") if settings.cache else ""))
