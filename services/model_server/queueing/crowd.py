"""When more comes than can be answered: whether it is a crowd that will be gone in a moment, or one that stays.

A short crowd is served whole, however long its last one waits. While a crowd stays, everybody in it would wait for
longer than the answer is worth; then only so many are let in as are answered soon, and the others hear it at once.
It is gone when what comes could all be answered again, or when so few ask that their queue can never be long: of
those who are sent away each may come again at once, and so be counted many times.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A crowd that is there for this long is one that stays.
STAYS_S = 0.05
# Not every turn sees all of it: of many who wait, some come out at one turn and the rest at the next. It is gone when
# no turn has seen it for so long.
UNSEEN_S = 0.025
# For so long it is looked at what comes before it is said to be gone.
LOOK_S = 0.5
# Of what can be answered: with less than this to do, queues are short.
EASE = 0.7
# One that is back so soon was not gone: next time it is looked at for twice as long, up to so many looks.
BACK_S = 10.0
MOST_LOOKS = 16


class Asking:
    """How many clients ask: connections that had a request in the last moments, each counted once however often it did.

    Attributes:
        moment: The number of the present moment, for who notes when somebody was counted last.
    """

    def __init__(self) -> None:
        """Starts with nobody."""
        self.moment = 1
        self._now = self._before = 0
        self._until = 0.0

    def one_more(self) -> None:
        """Counts one who has not been counted in this moment."""
        self._now += 1

    def tick(self, now: float) -> None:
        """Begins the next moment when it is time; `now` in seconds."""
        if now >= self._until:
            self._until = now + LOOK_S
            self._before, self._now = self._now, 0
            self.moment += 1

    def __call__(self) -> int:
        """Returns how many asked in the present moment or in the one before, whichever were more."""
        return max(self._now, self._before)


class Crowd:
    """Looks at how many are there, turn by turn, and decides between the two.

    Attributes:
        tight: Whether only a few may be let in.
        most: So many at once are no crowd yet; 0: none ever is.
    """

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.perf_counter,
        on_change: Callable[[bool], None] = lambda stays: None,
        asking: Callable[[], int] | None = None,
    ) -> None:
        """Starts without a crowd.

        Args:
            most: So many at once are none yet; 0: none ever is.
            clock: In seconds.
            on_change: Told when a crowd has come to stay, and when it is gone.
            asking: Says how many ask, with at most one request each at a time; it may be any number if not given.
        """
        self.tight = False
        self.most = most
        self._clock = clock
        self._on_change = on_change
        self._asking = asking
        self._since: float | None = None  # when a crowd came that is not yet one that stays
        self._seen = 0.0  # when a turn saw it last
        self._looked = 0.0
        self._demand_s = 0.0  # of work, that came since then
        self._looks, self._good = 1, 0  # how many must be good, one after the other, and how many were
        self._gone = -BACK_S

    def turn(self, came: int, demand_s: float) -> None:
        """Notes one turn of work.

        Args:
            came: How many were there at its start, those who were sent away included.
            demand_s: Seconds of work that all who came since the last turn are, if they were all let in.
        """
        if self.tight:
            self._look(demand_s)
            return
        if not came > self.most > 0:
            if self._since is not None and self._clock() - self._seen >= UNSEEN_S:
                self._since = None
            return
        now = self._clock()
        self._seen = now
        if self._since is None:
            self._since = now
        elif now - self._since >= STAYS_S:
            self.tight, self._looked, self._demand_s, self._good = True, now, 0.0, 0
            self._looks = min(2 * self._looks, MOST_LOOKS) if now - self._gone < BACK_S else 1
            self._on_change(True)

    def _look(self, demand_s: float) -> None:
        self._demand_s += demand_s
        looked_s = self._clock() - self._looked
        if looked_s < LOOK_S:
            return
        few = self._asking is not None and self._asking() <= self.most
        good = few or self._demand_s < EASE * looked_s
        self._good = self._good + 1 if good else 0
        self._looked += looked_s
        self._demand_s = 0.0
        if self._good >= self._looks or looked_s >= BACK_S:
            self.tight, self._since, self._gone = False, None, self._looked
            self._on_change(False)
