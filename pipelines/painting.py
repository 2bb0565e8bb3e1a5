"""Draws the curves of ended trials in the background; the controller never waits for a picture while trials run."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from pipelines.pictures import loss_curve
from pipelines.tracking.run import Run
from pipelines.trial import Curves, keep_picture


class Painter:
    """One thread that draws. Pictures are added to their runs by whoever calls `keep`, in that thread."""

    def __init__(self, study: str) -> None:
        """Takes the study's name, which the pictures bear."""
        self._study = study
        self._pool = ThreadPoolExecutor(1, "pictures")
        self._drawn: deque[tuple[Run, Path, Future[bytes]]] = deque()  # one thread draws: first in, first out

    def draw(self, run: Run, folder: Path, number: int, curves: Curves, best_epoch: int | None) -> None:
        """Has the curves of a trial drawn, if it has any."""
        if curves:
            title = f"{self._study} trial {number}"
            picture = self._pool.submit(loss_curve, curves, title=title, best_epoch=best_epoch)
            self._drawn.append((run, folder, picture))

    def keep(self) -> None:
        """Adds what is drawn by now to the runs."""
        while self._drawn and self._drawn[0][2].done():
            run, folder, picture = self._drawn.popleft()
            if picture.exception() is None:  # a picture that cannot be drawn must not cost its trial
                keep_picture(run, folder, picture.result())

    def __enter__(self) -> Painter:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for what is being drawn, but for no more than that one picture after an error."""
        self._pool.shutdown(cancel_futures=error is not None)
