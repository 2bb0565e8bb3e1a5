"""A worker that trains and, when that is done, judges: what takes seconds to import is warm there already."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pipelines.executors.base import Desk
from pipelines.judging import answer, get_ready
from pipelines.promotion.judge import JudgeRequest
from pipelines.worker import TrialWorker, WorkerSettings


class TrainAndJudge:
    """A worker for trials and for requests to judge. Requests wait until no trial is under way.

    What only a judgement needs is imported beside the last trials, which leave room on the cores.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        """Imports TensorFlow (seconds)."""
        self._trains = TrialWorker(settings)
        self._last_begin = max(1, settings.trials - settings.most_lanes)
        self._trials: _Trials | None = None
        self._preparation = threading.Thread(target=_prepared, name="preparation", daemon=True)

    def __call__(self, desk: Desk) -> None:
        """See `pipelines.executors.base.Worker`."""
        if self._trials is None or self._trials.desk is not desk:
            self._trials = _Trials(desk, self._last_begin, self._prepare)
        trials = self._trials
        self._trains(trials)
        while trials.requests:
            if self._preparation.ident is not None:
                self._preparation.join()
            answer(trials.requests.popleft(), desk.say)
            desk.offer(1)  # the place that the request took

    def _prepare(self) -> None:
        if self._preparation.ident is None:
            self._preparation.start()


class _Trials:
    """The desk as one who trains sees it."""

    def __init__(self, desk: Desk, last_begin: int, on_last: Callable[[], None]) -> None:
        """Takes the desk, and what is to be called when so many trials have come that few are left."""
        self.desk = desk
        self.requests: deque[JudgeRequest] = deque()
        self._last_begin, self._on_last = last_begin, on_last
        self._taken = 0

    def take(self) -> Any | None:
        """The next trial; requests are put aside."""
        while isinstance(task := self.desk.take(), JudgeRequest):
            self.requests.append(task)
        if task is not None:
            self._taken += 1
            if self._taken >= self._last_begin:
                self._on_last()
        return task

    def say(self, message: Any) -> Sequence[Any]:
        return self.desk.say(message)

    def offer(self, places: int) -> None:
        self.desk.offer(places)


def _prepared() -> None:
    with suppress(Exception):  # what is wrong is met again by the judgement itself, which tells of it
        get_ready()
