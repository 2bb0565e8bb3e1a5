"""A request that waits for its model: the pieces batches take of it, and how what they compute gets back to its caller.

Only `compute` may run in a thread; everything else belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.model_server.errors import DeadlineExceeded, PredictionFailed, RequestError

Array = NDArray[Any]
Run = Callable[[Array], Array]


class Told:
    """Stands for the future of a request whose caller is a function: it hears the outcome at once."""

    __slots__ = ("_over", "_tell")

    def __init__(self, tell: Callable[[Array | Exception], None]) -> None:
        """Waits for the outcome; `tell` is called with it, and must not raise."""
        self._tell = tell
        self._over = False

    def done(self) -> bool:
        """Whether the caller has heard the outcome."""
        return self._over

    def set_result(self, outputs: Array) -> None:
        """Tells the outputs."""
        self._over = True
        self._tell(outputs)

    def set_exception(self, error: Exception) -> None:
        """Tells the error."""
        self._over = True
        self._tell(error)


@dataclass(slots=True, eq=False)
class Job:
    """One request: rows (n, ...), who waits for them, and how far they are.

    Attributes:
        deadline: When the answer is of no use any more, on the clock of the queue.
        since: When it came, on the same clock.
        taken: How many of its rows have been taken into batches.
        answered: How many of them have their outputs in `output`, which only a request that was cut needs.
        timer: Ends the wait at the deadline; there is none where the answer comes within a turn or two of the loop.
    """

    rows: Array
    count: int
    deadline: float
    future: asyncio.Future[Array] | Told
    since: float
    taken: int = 0
    answered: int = 0
    output: Array | None = None
    timer: asyncio.TimerHandle | None = None

    def arm(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Makes sure that the wait ends at the deadline."""
        if self.timer is None:
            self.timer = loop.call_later(max(0.0, self.deadline - now), self.expire)

    def expire(self) -> None:
        """Ends the wait without an answer, unless it is over already."""
        if not self.future.done():
            self.future.set_exception(DeadlineExceeded("The answer did not come within the deadline of the server."))


class Piece(NamedTuple):
    """The rows of one job that are in one batch."""

    job: Job
    start: int
    stop: int


def compute(run: Run, pieces: Sequence[Piece]) -> list[Array | BaseException]:
    """Returns the outputs of each piece, or what went wrong with it. May run in a thread."""
    parts = [piece.job.rows[piece.start : piece.stop] for piece in pieces]
    try:
        if len(parts) == 1:
            return [run(parts[0])]
        output = run(np.concatenate(parts))
    except Exception as error:
        if len(parts) == 1:
            return [error]
        # One request must not fail the others it was batched with: each is tried alone.
        return [compute(run, [piece])[0] for piece in pieces]
    ends = accumulate(map(len, parts))
    return [output[end - len(part) : end] for part, end in zip(parts, ends, strict=True)]


def answer(pieces: Sequence[Piece], outputs: Sequence[Array | BaseException]) -> None:
    """Gives the callers what `compute` returned: a request that was cut is answered once it is whole, or has failed."""
    for piece, output in zip(pieces, outputs, strict=True):
        job = piece.job
        if job.future.done():
            continue
        if isinstance(output, BaseException):
            job.future.set_exception(failure(output))
        elif piece.stop - piece.start == job.count:
            job.future.set_result(output)
        else:
            if job.output is None:
                job.output = np.empty((job.count, *output.shape[1:]), output.dtype)
            job.output[piece.start : piece.stop] = output
            job.answered += piece.stop - piece.start
            if job.answered == job.count:
                job.future.set_result(job.output)
        if job.timer is not None and job.future.done():  # a function cannot do this itself, as a coroutine does
            job.timer.cancel()


def failure(error: BaseException) -> RequestError:
    """Returns what a caller is told of an error of the model."""
    return error if isinstance(error, RequestError) else PredictionFailed(f"The model failed: {str(error)[:300]}")
