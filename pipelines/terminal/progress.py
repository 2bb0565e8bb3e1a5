"""Follows a sweep in the terminal: a bar over the trials, the best so far, what each worker does, the time left.

On a terminal it is drawn live; elsewhere (a log, CI) there is one line a trial.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from pipelines.controller.budgets import INTERRUPTED, Ending
from pipelines.controller.failures import Remedy
from pipelines.records import EpochEnded, TrialResult, TrialSpec, TrialState
from pipelines.study import Counts
from pipelines.telling import Reasons, say
from pipelines.terminal.seats import COLOURS, Seat, brief, named, workers_table

_LATELY = 5
"""Trials that are shown as the last ones, where they end too fast for a line each."""
_MOST_REASONS = 5
"""How many that a server gives for taking nothing are told in a log."""


class Progress:
    """The watcher of a sweep; see `pipelines.controller.watcher.Watcher`."""

    def __init__(
        self,
        console: Console,
        study: str,
        metric: str,
        direction: str,
        *,
        best_before: float | None = None,
        problem: Callable[[], str | None] = lambda: None,
        starting: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the terminal and what the study is about.

        Args:
            console: The terminal, or a log.
            study: The study's name.
            metric: The objective.
            direction: `minimize` or `maximize`.
            best_before: The best value of the trials that a resumed study has already.
            problem: Tells what is wrong with the record's delivery at the moment, or None.
            starting: Tells whether that is because the tracking server is only starting, which is no trouble.
            clock: Seconds that only go forward.
        """
        self._console = console
        self._study = study
        self._metric = metric
        self._sign = 1 if direction == "minimize" else -1
        self._live: Live | None = None
        self._seats: dict[int, Seat] = {}
        self._workers = 0
        self._wanted = 0
        self._counts = Counts()
        self._best: TrialResult | None = None
        self._best_before = best_before
        self._problem = problem
        self._starting = starting
        self._clock = clock
        self._reasons = Reasons(_MOST_REASONS)
        self._begun = clock()
        self._done_before = 0
        self._many = False  # a worker has had several trials at once: they end faster than anybody reads
        self._lately: deque[Text] = deque(maxlen=_LATELY)

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Draws for as long as the block lasts."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self.draw) as live:
            self._live = live
            yield self
            self._live = None

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        """Starts the clock."""
        self._workers, self._wanted, self._counts = workers, wanted, counts
        self._done_before = counts.complete + counts.pruned
        self._begun = self._clock()

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        """Seats a trial at a worker, perhaps one that has joined since."""
        self._workers = max(self._workers, worker + 1)
        self._many = self._many or any(seat.worker == worker for seat in self._seats.values())
        self._seats[spec.number] = Seat(worker, spec.number, int(spec.config["epochs"]), params)

    def epoch(self, worker: int, event: EpochEnded) -> None:
        """Moves a trial on."""
        seat = self._seats.get(event.trial)
        if seat is not None:
            seat.move(event.epoch, event.metrics.get(self._metric))

    def ended(self, result: TrialResult, counts: Counts) -> None:
        """Says what came of the trial: in a line that stays, or, where there are too many for that, for a while."""
        self._counts = counts
        self._mention_problem()
        self._seats.pop(result.number, None)
        better = result.state is TrialState.COMPLETE and result.feasible and self._is_best(result)
        if better:
            self._best = result
        line = self._line(result, better=better)
        worth_a_line = better or result.state is TrialState.FAILED
        if self._many and self._console.is_terminal and not worth_a_line:
            line.no_wrap, line.overflow = True, "ellipsis"
            self._lately.append(line)
        else:
            say(self._console, line)

    def trouble(self, worker: int, text: str, remedies: Mapping[int, Remedy]) -> None:
        """Says that a worker died, or that a trial met with other trouble, and what becomes of whom."""
        for number in remedies:
            self._seats.pop(number, None)
        now = {
            Remedy.AGAIN: ("goes on from its last epoch", "go on from their last epochs"),
            Remedy.ALONE: ("is tried once more, by itself", "are tried once more, each by itself"),
            Remedy.FAIL: ("is given up", "are given up"),
        }
        for remedy, (one, several) in now.items():
            numbers = [number for number, found in remedies.items() if found is remedy]
            if numbers:
                text += f"; {named(numbers)} {one if len(numbers) == 1 else several}"
        say(self._console, Text(text, "yellow"))

    def ending(self, ending: Ending) -> None:
        """Says that running trials stop after their epoch."""
        told = f"{ending.text}: trials stop after the epoch they are at, and can go on from there later."
        hurry = " Ctrl-C again stops at once." if ending.by == INTERRUPTED else ""
        say(self._console, Text(told[:1].upper() + told[1:] + hurry, "yellow"))

    def draw(self) -> RenderableType:
        """What a terminal shows now."""
        done = self._counts.complete + self._counts.pruned
        head = Text.assemble(
            (self._study, "bold"),
            f"  {done} of {self._wanted or '?'} trials",
            (f"  {self._counts.pruned} pruned" if self._counts.pruned else "", "yellow"),
            (f"  {self._counts.failed} failed" if self._counts.failed else "", "red"),
            f"  {self._time_left()}",
        )
        bar = ProgressBar(total=max(1, self._wanted), completed=done, width=60)
        parts: list[RenderableType] = [head, bar, Text()]  # a bar by itself does not end its line
        if self._best is not None and self._best.value is not None:
            parts.append(
                Text(
                    f"best  trial {self._best.number}: {self._metric} {self._best.value:.4f} at epoch "
                    f"{self._best.epoch}  {brief(self._best.params)}",
                    "green",
                    no_wrap=True,
                    overflow="ellipsis",
                )
            )
        seats = list(self._seats.values())  # the controller goes on while this is drawn
        parts.append(workers_table(self._workers, seats, self._metric, self._sign, begun=bool(done)))
        parts += list(self._lately)
        problem = self._problem()
        if problem and self._starting():
            parts.append(Text("MLflow is still starting; the journal keeps everything until it answers", "dim"))
        elif problem:
            parts.append(Text(f"MLflow takes nothing: {problem}", "yellow", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _line(self, result: TrialResult, *, better: bool) -> Text:
        value = "" if result.value is None else f"{self._metric} {result.value:.4f} at epoch {result.epoch}"
        line = Text.assemble(
            f"trial {result.number:>3}  ",
            (f"{result.state.value:<8}", COLOURS[result.state]),
            f"  {value or result.reason or ''}  ",
            ("best so far  " if better else "", "bold green"),
            (brief(result.params), "dim"),
        )
        broken = [name for name, by in result.violations.items() if by > 0]
        if broken:
            line.append(f"  breaks {', '.join(broken)}", "yellow")
        if result.state is TrialState.FAILED and value:
            line.append(f"  {result.reason}", "red")
        return line

    def _mention_problem(self) -> None:
        """Says once for each reason that the record does not arrive; a log has no live display that would show it."""
        problem = self._problem()
        if problem and self._starting():
            return
        if self._reasons.is_news(problem):
            say(
                self._console,
                Text(f"MLflow takes nothing at the moment; the journal keeps everything. ({problem})", "yellow"),
            )

    def _is_best(self, result: TrialResult) -> bool:
        if result.value is None:
            return False
        best = self._best.value if self._best else self._best_before
        return best is None or self._sign * result.value < self._sign * best

    def _time_left(self) -> str:
        done = self._counts.complete + self._counts.pruned - self._done_before
        elapsed = self._clock() - self._begun
        if done < 2 or not self._wanted:
            return f"{_duration(elapsed)} so far"
        left = elapsed / done * (self._wanted - self._counts.complete - self._counts.pruned)
        pace = f", {done / elapsed:.1f} a second" if done > elapsed > 0 else ""
        return f"{_duration(elapsed)} so far, about {_duration(left)} left{pace}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
