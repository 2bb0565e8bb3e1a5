"""Who is let in to the application, where the event loop itself is what has too much to do.

A small prediction is nearly all reading, parsing and writing, and none of it can wait in a queue that anybody sees: the
requests lie in the sockets until the loop comes round. What is seen is how many come out of them in one turn.

While a crowd stays, all who came at a turn are looked at together, when its sockets have been read. The kernel gives
them out in the order in which they came, so the last ones have waited least: those are let in, as many as are answered
soon, and the others are told that they are not. What held the server up, a look at the registry or another process on
its core, then makes nobody late who is let in; the first ones would be those who have waited longest.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from services.model_server.connections.exchange import status_line
from services.model_server.queueing.crowd import Asking, Crowd

# While a crowd stays, so many requests are inside at a time, or as many as take so long, or one.
_FEW, _FEW_S = 2, 0.2e-3
# Where many come again as soon as they are refused, to refuse them is nearly all that the loop does. So many more are
# let in then that this part of what it costs to refuse is spent on answers; how many come is an average over some
# turns, so that what piles up in a moment changes little.
_REFUSAL_S = 15e-6
_ANSWERS = 0.25
_WEIGHT = 0.05
# So many wait for the end of a turn. Of more, the first ones are none of the last, and need not wait for that: all who
# piled up in a moment come at one turn, and it is a long one.
_MOST_BEFORE = 64
# One that has been inside for so long waits for something else than the loop, and takes no place on it.
_ELSEWHERE_S = 0.005
# So many, or a quarter, are turned away at one turn while others are inside: those wait for it.
_SLICE = 8
# What a request costs is measured over so many.
_SAMPLE = 64
# A longer body is let in: to read all of it only to throw it away costs as much as an answer.
LONG_BYTES = 2**18


class Caller(Protocol):
    """Who sends requests, one at a time.

    Attributes:
        asked: The moment of `Asking` in which it did so last.
    """

    asked: int

    @property
    def busy(self) -> bool:
        """Whether a request of it is inside."""

    def let_in(self) -> None:
        """Called by the gate when the request that waits before it may go on."""

    def turn_away(self) -> int:
        """Called by the gate when it may not; returns the status that it was told, 0 if nobody is there."""


class TurnedAway(NamedTuple):
    """What a dialect tells those who are not let in."""

    status: int
    media_type: bytes
    body: bytes


class Gate:
    """Counts requests by turns of the loop. Used on the event loop only."""

    def __init__(
        self,
        crowd: Crowd,
        loop: asyncio.AbstractEventLoop,
        answers: Mapping[str, TurnedAway] | None = None,
        on_turn: Callable[[int], None] = lambda came: None,
        asking: Asking | None = None,
        on_refused: Callable[[int, int], None] = lambda status, times: None,
        worked: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Opens it.

        Args:
            crowd: Says when few are let in.
            loop: The event loop of the connections.
            answers: What those hear who are not, by an address or its first four signs; "" for all others.
            on_turn: Told how many came at a turn and may wait for one another, before the application has any of them.
            asking: Counts who asks.
            on_refused: Told of those who were not let in: the status that they heard, and how many they are.
            worked: Seconds that this thread has worked.
            clock: In seconds.
        """
        self._crowd = crowd
        self._loop = loop
        told = answers or {"": TurnedAway(503, b"text/plain", b"Try again later.")}
        # Made beforehand: to turn somebody away must cost next to nothing.
        self._answers = {
            address.encode(): (one.status, _whole(one, True), _whole(one, False)) for address, one in told.items()
        }
        self._on_turn = on_turn
        self._asking = asking or Asking()
        self._on_refused = on_refused
        self._told: dict[int, int] = {}  # what those heard who were sent away since `on_refused` heard of any
        self._worked = worked
        self._clock = clock
        self._came = 0
        self._before: deque[Caller] = deque()  # who waits for the end of this turn, in the order of their coming
        self._early = 0  # who was turned away before its end
        self._inside: dict[Caller, float] = {}  # who was let in of those, and when
        self._leaving: deque[Caller] = deque()  # who is to be turned away
        self._entering = False  # whether some were let in who have not been at work yet
        self._usual = 0.0  # how many come at a turn of a crowd
        self._few = _FEW
        self._cost_s = 0.0  # of a request that is let in
        self._sampled: float | None = None  # since when the sample is being taken, by what was worked
        self._admitted = 0  # in it

    def admits(self, method: bytes, headers: list[tuple[bytes, bytes]], caller: Caller) -> bool:
        """Whether a request is let in at once; else its caller hears at the end of the turn whether it is.

        Only predictions ever wait, or are sent away: probes and pages are short, and few.

        Args:
            method: In capitals.
            headers: Names in lower case.
            caller: Who asks.
        """
        if method != b"POST":
            return True
        if self._crowd.tight and not _long(headers):
            return self.admits_short(caller)
        self._note(caller)
        return True

    def admits_short(self, caller: Caller) -> bool:
        """The same for what is known to be a prediction with a short body."""
        self._note(caller)
        if not self._crowd.tight:
            return True
        before = self._before
        before.append(caller)
        if len(before) > _MOST_BEFORE:
            self._send_away(before.popleft())
            self._early += 1
        return False

    def _note(self, caller: Caller) -> None:
        """Counts who came at this turn."""
        self._came += 1
        if self._came == 1:
            self._loop.call_soon(self._turn)  # runs when every socket that was ready has been read
        if caller.asked != self._asking.moment:
            caller.asked = self._asking.moment
            self._asking.one_more()

    def _send_away(self, caller: Caller) -> None:
        status = caller.turn_away()
        self._told[status] = self._told.get(status, 0) + 1

    def _tell(self) -> None:
        """Says what those heard who were sent away since the last time."""
        told, self._told = self._told, {}
        for status, times in told.items():
            if status:
                self._on_refused(status, times)

    def answer(self, target: bytes, keep_alive: bool) -> tuple[int, bytes]:
        """Returns what somebody hears who is not let in, by the address: the status, and the whole answer."""
        answers = self._answers
        status, kept, closed = answers.get(target[:4].lower()) or answers.get(target) or answers[b""]
        return status, kept if keep_alive else closed

    def _turn(self) -> None:
        if self._entering:  # they were at work in this turn: who came meanwhile has waited less than who is here
            self._entering = False
            self._loop.call_soon(self._turn)
            return
        came, self._came = self._came, 0
        refused, together = 0, came
        if self._before:
            room = self._room(came)
            refused = self._early + self._decide(room)
            self._early = 0
            self._tell()
            together = 1 if room <= _FEW else came - refused  # a few do not wait for one another
        elif self._inside:
            self._prune(self._clock())
        self._on_turn(together)
        self._asking.tick(self._loop.time())
        self._crowd.turn(came, came * self._cost_s)
        if refused:
            self._sampled = None  # to refuse is work as well, and another's
        else:
            self._measure(came)

    def _room(self, came: int) -> int:
        """How many may be inside, when so many have come at a turn."""
        self._usual += (came - self._usual) * _WEIGHT
        more = self._usual * _REFUSAL_S * _ANSWERS / self._cost_s if self._cost_s else 0.0
        return max(self._few, int(more))

    def _decide(self, room: int) -> int:
        """Lets in the last of those who came; returns how many it does not."""
        before = list(self._before)
        self._before.clear()
        now = self._clock()
        self._prune(now)
        first = max(0, len(before) - max(0, room - len(self._inside)))
        for caller in before[first:]:
            self._inside[caller] = now
            caller.let_in()
            self._entering = True
        if first:
            if not self._leaving:
                self._loop.call_soon(self._turn_away)  # behind those who were just let in
            self._leaving.extend(before[:first])
        return first

    def _prune(self, now: float) -> None:
        """Forgets who is not inside any more, or not for the loop's sake."""
        for caller, since in list(self._inside.items()):
            if not caller.busy or now - since > _ELSEWHERE_S:
                del self._inside[caller]

    def _turn_away(self) -> None:
        self._prune(self._clock())
        leaving = self._leaving
        some = max(_SLICE, len(leaving) // 4) if self._inside else len(leaving)
        for _ in range(min(some, len(leaving))):
            self._send_away(leaving.popleft())
        self._tell()
        if leaving:
            self._loop.call_soon(self._turn_away)

    def _measure(self, came: int) -> None:
        """Learns what a request costs that is let in, of all that the loop does."""
        if self._sampled is None:
            self._sampled, self._admitted = self._worked(), 0
        self._admitted += came
        if self._admitted - came >= _SAMPLE:  # those of this turn are not worked on yet
            now = self._worked()
            self._cost_s = (now - self._sampled) / (self._admitted - came)
            self._few = max(1, min(_FEW, round(_FEW_S / self._cost_s))) if self._cost_s else _FEW
            self._sampled, self._admitted = now, came


def _whole(told: TurnedAway, keep_alive: bool) -> bytes:
    head = b"%bcontent-type: %b\r\ncontent-length: %d\r\nretry-after: 1\r\n%b\r\n" % (
        status_line(told.status),
        told.media_type,
        len(told.body),
        b"" if keep_alive else b"connection: close\r\n",
    )
    return head + told.body


def _long(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body is long, or of a length that nobody knows, or waits to be asked for."""
    length = b""
    for name, value in headers:
        if name == b"content-length":
            length = value
        elif name == b"expect":
            return True
    return not length.isdigit() or len(length) > 9 or int(length) > LONG_BYTES
