"""Waits for a database server that is gone, or hangs, and tells people so where that takes long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pipelines.errors import StudyError

PATIENCE_S = 300.0
"""How long a database that is gone is waited for. One that restarts is back in seconds, a failover takes a minute or
two; workers train on meanwhile."""
_PAUSES_S = (0.0, 0.5, 1.0, 2.0)
_TOLD_AFTER_S = 2.0
"""A shorter absence is nobody's business."""
_HANGS_AFTER_S = 5.0
_LOOKS_EVERY_S = 1.0
_Done = TypeVar("_Done")
_logger = logging.getLogger(__name__)


class Patience:
    """Does something until the server lets it be done.

    A server that stands still raises nothing: a second thread tells of that, as the first one waits for its answer.
    """

    def __init__(
        self,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes how long to wait at most, and how to."""
        self.patience_s = patience_s
        self.sleep = sleep
        self._clock = clock
        self._spent = False
        self._watch = _Watch(clock)

    def keep(
        self, do: Callable[[], _Done], passing: Callable[[Exception], bool], lost: Callable[[], None] = lambda: None
    ) -> _Done:
        """Does something, again and again while what it raises is `passing`.

        After it was in vain once, nothing is waited for any more, until something works: whoever tidies up then shall
        not wait as long again.

        Args:
            do: What to do.
            passing: Whether an error is one that will be over some time.
            lost: Called after each of those.

        Raises:
            StudyError: It took too long.
        """
        with self._watch as watch:
            begun, slept, pauses = self._clock(), 0.0, iter(_PAUSES_S)
            while True:
                try:
                    done = do()
                except Exception as error:
                    if not passing(error):
                        raise
                    lost()
                    waited = max(slept, self._clock() - begun)
                    if self._spent or waited >= self.patience_s:
                        self._spent = True
                        raise StudyError(
                            f"The database of the study is gone: {cause(error)}. Everything up to now is kept; the "
                            f"same command goes on when the database is back."
                        ) from error
                    if waited >= _TOLD_AFTER_S:
                        watch.tell(
                            "The database of the study does not answer: %s. Training goes on; it is waited for, for up "
                            "to %g s, and nothing is lost.",
                            *(cause(error), self.patience_s),
                        )
                    pause = next(pauses, _PAUSES_S[-1])
                    self.sleep(pause)
                    slept += pause or 0.01
                else:
                    self._spent = False
                    watch.tell_end()
                    return done


class _Watch:
    """Looks at how long something takes, from a thread that lives while something does; a context for what may."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._begun: float | None = None
        self._depth = 0
        self._told = self._looked_at = False

    def __enter__(self) -> _Watch:
        with self._lock:
            self._depth += 1  # what is done may do something else that is kept
            if self._depth == 1:
                self._begun, self._told = self._clock(), False
                if not self._looked_at:
                    self._looked_at = True
                    threading.Thread(target=self._look_on, name="patience", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._begun = None

    def tell(self, text: str, *words: object) -> None:
        """Tells of an absence, once until it is over."""
        if not self._told:
            self._told = True
            _logger.warning(text, *words)

    def tell_end(self) -> None:
        """Tells that an absence is over, where it was told."""
        with self._lock:
            if self._told and self._begun is not None:
                self._told = False
                _logger.warning("The database of the study is back, after %.0f s.", self._clock() - self._begun)

    def look(self) -> bool:
        """Tells of what hangs; returns whether there is anything to look at."""
        with self._lock:
            if self._begun is None:
                self._looked_at = False
                return False
            if self._clock() - self._begun >= _HANGS_AFTER_S:
                self.tell(
                    "The database of the study has not answered for %.0f s. It is waited for, and nothing is lost.",
                    self._clock() - self._begun,
                )
        return True

    def _look_on(self) -> None:
        while self.look():
            time.sleep(_LOOKS_EVERY_S)


def cause(error: BaseException) -> str:
    """The first line of what is at the bottom of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    told = getattr(error, "orig", None) or error
    return (str(told).strip().splitlines() or [type(told).__name__])[0].rstrip(".")
