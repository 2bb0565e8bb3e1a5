"""What waits for one model, in two lines: the requests of one batch or less, and the larger ones, cut into pieces.

Batches come from the two in turns. So a large request holds up the others for one batch at a time, however many rows it
has, and they hold it up for no more; its rows take none of the places that there are for theirs. Large ones take turns
among themselves as well: a piece of one, then a piece of the next.
"""

from __future__ import annotations

from collections import deque

from services.model_server.errors import Overloaded
from services.model_server.queueing.jobs import Job, Piece


class Line:
    """The jobs that wait, and which of them are computed next. Used on the event loop only.

    Attributes:
        small: Those that are no large ones, in the order in which they came.
        large: The large ones; the first is the one whose turn is next.
        rows: How many rows of small ones are in no batch yet.
        large_rows: How many of large ones.
        most_small: A request of more rows is a large one.
        waited_s: Seconds that all jobs have waited until their first row was taken.
    """

    __slots__ = (
        "_large_next",
        "_max_batch",
        "_most_rows",
        "large",
        "large_rows",
        "most_small",
        "rows",
        "small",
        "waited_s",
    )

    def __init__(self, max_batch: int, most_rows: int) -> None:
        """Makes two empty lines.

        Args:
            max_batch: The most rows of one batch.
            most_rows: So many rows may wait in each of them. A request of more waits where no other does.
        """
        self._max_batch, self._most_rows = max_batch, most_rows
        # One that takes more than half of the places alone would lock others out as well as one that is cut.
        self.most_small = min(max_batch, max(1, most_rows // 2))
        self.small: deque[Job] = deque()
        self.large: deque[Job] = deque()
        self.rows = self.large_rows = 0
        self.waited_s = 0.0
        self._large_next = False

    def check_room(self, count: int) -> None:
        """Says whether so many rows may wait.

        Raises:
            Overloaded: too many do already.
        """
        if count <= self.most_small:
            waiting, whose = self.rows, "rows"
        else:
            waiting, whose = self.large_rows, "rows of large requests"
        if waiting and waiting + count > self._most_rows:
            raise Overloaded(f"The queue is full: {waiting} {whose} wait, {self._most_rows} may. Try again later.")

    def add(self, job: Job) -> None:
        """Lets a job wait."""
        if job.count <= self.most_small:
            self.small.append(job)
            self.rows += job.count
        else:
            self.large.append(job)
            self.large_rows += job.count

    def ahead(self, count: int) -> int:
        """Returns how many rows are computed before the last ones of a request that comes now, but for its own."""
        size = self._max_batch
        if not self.large:
            return self.rows
        if count <= self.most_small:  # a batch of large ones goes before each batch of small ones
            return self.rows + min(self.large_rows, (self.rows // size + 1) * size)
        turns = -(-count // size) * size
        return self.rows + sum(min(job.count - job.taken, turns) for job in self.large)

    def take(self, now: float) -> tuple[list[Piece], int]:
        """Takes the pieces of the next batch: up to `max_batch` rows of one sample shape, and how many these are.

        None, if all that it came across were over: nobody waits for them any more, or not for so long.
        """
        lane = self.small
        if self.large:
            if self._large_next or not lane:
                lane = self.large
            self._large_next = lane is self.small
        pieces: list[Piece] = []
        rows = over = 0
        while lane and rows < self._max_batch:
            job = lane[0]
            if job.deadline <= now:
                job.expire()
            if job.future.done():  # expired, or its caller has gone: work that nobody waits for is not done
                over += job.count - job.taken
                lane.popleft()
                continue
            if pieces and job.rows.shape[1:] != pieces[0].job.rows.shape[1:]:
                break
            if job.taken == 0:
                self.waited_s += now - job.since
            stop = min(job.count, job.taken + self._max_batch - rows)
            pieces.append(Piece(job, job.taken, stop))
            rows += stop - job.taken
            job.taken = stop
            if stop == job.count:
                lane.popleft()
            elif lane is self.large:
                lane.rotate(-1)  # the batch is full; the next one is another's
        if lane is self.small:
            self.rows -= rows + over
        else:
            self.large_rows -= rows + over
        return pieces, rows
