"""One model's queue: requests that wait together are computed together, and every caller gets its own rows back.

Nothing waits in order to fill a batch. While a call runs, requests queue; what is queued when it ends is the next one,
as `line` puts it together.
All state belongs to the event loop; only the computation itself may happen in another thread.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from services.model_server.errors import RequestError
from services.model_server.queueing.admission import Admission
from services.model_server.queueing.crowd import Crowd
from services.model_server.queueing.jobs import Array, Job, Piece, Run, Told, answer, compute, failure
from services.model_server.queueing.line import Line

# Up to this estimate a batch runs on the event loop itself: handing it to a thread and back costs about 50 us and more.
INLINE_S = 0.001
# A call this short costs less than a place in the queue, so an idle model answers it on the spot.
DIRECT_S = 60e-6
# So it does up to this, where nobody is about to come who could share the call: the queue is two more turns of the
# loop, about 20 us, for nothing.
ALONE_S = 100e-6


class Batcher:
    """Queues rows for one model and computes them in batches of at most `max_batch` rows."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        queue_rows: int,
        estimate_s: Callable[[int], float] = lambda _: 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
        inline: bool = True,
        crowd: Crowd | None = None,
        alone: Callable[[], bool] = lambda: True,
    ) -> None:
        """Makes an empty queue.

        Args:
            run: (n, ...) to (n, ...), row by row; never called twice at the same time.
            max_batch: The most rows of one call; a larger request is cut into several.
            queue_rows: The most rows that wait, and the most of large requests that wait beside them. A larger request
                than that is taken where no other of its kind waits.
            estimate_s: Seconds of a call by its rows; decides between the event loop and a thread.
            on_batch: Told the rows of every call.
            clock: The clock of the deadlines, in seconds.
            inline: Whether a short call may run on the event loop; not if it can wait for another process.
            crowd: Says when too many wait; nobody ever does if it is not given.
            alone: Whether a request that finds the model idle is computed by itself, if that costs less than a place
                in the queue; not if others are about to come that can share the call with it.
        """
        self._run = run
        self._line = Line(max_batch, queue_rows)
        self._max_batch = max_batch
        self._estimate_s = estimate_s
        self._on_batch = on_batch
        self._clock = clock
        self._inline = inline
        self._admission = Admission(estimate_s, max_batch, crowd)
        self._alone = alone
        self._direct_rows = bisect_right(range(1, max_batch + 1), DIRECT_S, key=estimate_s) if inline else 0
        self._alone_rows = bisect_right(range(1, max_batch + 1), ALONE_S, key=estimate_s) if inline else 0
        soon_rows = bisect_right(range(1, max_batch + 1), INLINE_S, key=estimate_s) if inline else 0
        self._soon_rows = min(soon_rows, self._line.most_small)
        # More rows than these cost so much themselves that to share a call saves less than to put them together costs.
        self._sharing_rows = bisect_right(range(1, max_batch + 1), 2 * estimate_s(1), key=estimate_s)
        self._when_idle: Callable[[], None] | None = None
        self._busy = False
        self._scheduled = False
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None

    @property
    def waiting_rows(self) -> int:
        """Rows that are queued and not yet in a batch."""
        return self._line.rows + self._line.large_rows

    @property
    def waited_s(self) -> float:
        """Seconds that requests have waited until their first row was taken, all together."""
        return self._line.waited_s

    async def submit(self, rows: Array, deadline: float) -> Array:
        """Computes rows (n, ...), n > 0, together with what else is queued.

        Args:
            rows: The rows of one request.
            deadline: When the answer is of no use any more, on the batcher's clock.

        Returns:
            The outputs of these rows, in their order.

        Raises:
            Overloaded: the queue is full.
            DeadlineExceeded: the deadline passed before the answer was there; rows not yet started are dropped.
            PredictionFailed: the model failed on these rows.
        """
        count, line = len(rows), self._line
        line.check_room(count)
        if self._goes_alone(count):
            return self._at_once(rows, count)
        now = self._clock()
        if self._busy or line.rows > self._direct_rows or line.large or self._admission.tight:
            self._admission.check(count, deadline, now, line.ahead(count))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Array] = loop.create_future()
        job = Job(rows, count, deadline, future, now)
        self._enqueue(job, loop)
        if self._busy:
            job.arm(loop, now)
        try:
            return await future
        finally:
            if job.timer is not None:
                job.timer.cancel()

    def soon(self, rows: Array, deadline: float, tell: Callable[[Array | Exception], None]) -> bool:
        """Computes rows as `submit` does, if that is over within this turn of the loop and the next one.

        Args:
            rows: The rows of one request.
            deadline: As for `submit`.
            tell: Called with the outputs, or with the error; from here already if the model is idle. It must not raise.

        Returns:
            False if it would take longer. Nothing was done then.
        """
        count = len(rows)
        if not self.has_room(count):
            return False
        if self._goes_alone(count):
            try:
                outputs = self._at_once(rows, count)
            except RequestError as error:
                tell(error)
            else:
                tell(outputs)
            return True
        self._enqueue(Job(rows, count, deadline, Told(tell), self._clock()), asyncio.get_running_loop())
        return True

    def has_room(self, count: int) -> bool:
        """Whether `soon` takes so many rows now."""
        return not self._busy and self._line.rows + count <= self._soon_rows and not self._admission.tight

    def _goes_alone(self, count: int) -> bool:
        """Whether a request is computed at once, by itself."""
        idle = count <= self._alone_rows and not self._busy and not self._line.small
        return idle and (self._sharing_rows < count <= self._direct_rows or self._alone())

    def _enqueue(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._line.add(job)
        if not self._busy and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._drain)

    def _at_once(self, rows: Array, count: int) -> Array:
        self._on_batch(count)
        try:
            return self._run(rows)
        except Exception as error:
            raise failure(error) from None

    def close(self, then: Callable[[], None] | None = None) -> None:
        """Lets the queue run empty, then ends the thread, if there is one, and calls `then`, if it is given."""
        self._closed, self._when_idle = True, then
        self._end_thread_when_idle()

    def _drain(self) -> None:
        """Runs the next batch: on the loop if it is short, else in the thread."""
        self._scheduled = False
        if self._busy:
            return
        line = self._line
        self._admission.turn(len(line.small) + len(line.large))
        pieces, rows = line.take(self._clock())
        if pieces:
            self._on_batch(rows)
            if self._inline and self._estimate_s(rows) <= INLINE_S:
                answer(pieces, compute(self._run, pieces))
            else:
                self._hand_over(pieces, rows)
        if (line.small or line.large) and not self._busy:
            # One batch per turn: between two batches the loop reads sockets and answers health checks.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)
        else:
            self._end_thread_when_idle()

    def _hand_over(self, pieces: list[Piece], rows: int) -> None:
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._busy, begun = True, self._clock()
        self._admission.begins(rows, begun)
        for job in (*(piece.job for piece in pieces), *self._line.small, *self._line.large):
            job.arm(loop, begun)

        def done(future: asyncio.Future[list[Array | BaseException]]) -> None:
            self._busy = False
            self._admission.ended(rows, self._clock() - begun)
            answer(pieces, future.result())
            self._drain()

        loop.run_in_executor(self._thread, compute, self._run, pieces).add_done_callback(done)

    def _end_thread_when_idle(self) -> None:
        if not self._closed or self._busy or self._line.small or self._line.large:
            return
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None
        if self._when_idle is not None:
            self._when_idle()
            self._when_idle = None
