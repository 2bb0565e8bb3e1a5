"""Follows a sweep in the terminal: a bar over the trials, the best so far, what each worker does, the time left.

On a terminal it is drawn live; elsewhere (a log, CI) there is one line a trial.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.budgets import INTERRUPTED, Ending
from pipelines.failures import Remedy
from pipelines.records import EpochEnded, TrialResult, TrialSpec, TrialState
from pipelines.study import Counts

_COLOURS = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAILED: "red"}


@dataclass
class _Seat:
    """What one worker is at."""

    trial: int
    epochs: int
    params: str
    epoch: int = 0
    value: float = math.nan


class Progress:
    """The watcher of a sweep; see `pipelines.watcher.Watcher`."""

    def __init__(
        self,
        console: Console,
        study: str,
        metric: str,
        direction: str,
        *,
        best_before: float | None = None,
        problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Takes the terminal and what the study is about.

        Args:
            console: The terminal, or a log.
            study: The study's name.
            metric: The objective.
            direction: `minimize` or `maximize`.
            best_before: The best value of the trials that a resumed study has already.
            problem: Tells what is wrong with the record's delivery at the moment, or None.
        """
        self._console = console
        self._study = study
        self._metric = metric
        self._sign = 1 if direction == "minimize" else -1
        self._live: Live | None = None
        self._seats: dict[int, _Seat] = {}
        self._workers = 0
        self._wanted = 0
        self._counts = Counts()
        self._best: TrialResult | None = None
        self._best_before = best_before
        self._problem = problem
        self._mentioned = False
        self._begun = time.monotonic()
        self._done_before = 0

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Draws for as long as the block lasts."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(console=self._console, refresh_per_second=8, transient=True, get_renderable=self._draw) as live:
            self._live = live
            yield self
            self._live = None

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        """Starts the clock."""
        self._workers, self._wanted, self._counts = workers, wanted, counts
        self._done_before = counts.complete + counts.pruned
        self._begun = time.monotonic()

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        """Seats a trial at a worker."""
        self._seats[worker] = _Seat(spec.number, int(spec.config["epochs"]), brief(params))

    def epoch(self, worker: int, event: EpochEnded) -> None:
        """Moves a trial on."""
        seat = self._seats.get(worker)
        if seat is not None and seat.trial == event.trial:
            seat.epoch, seat.value = event.epoch + 1, event.metrics.get(self._metric, math.nan)

    def ended(self, result: TrialResult, counts: Counts) -> None:
        """Prints a line for the trial."""
        self._counts = counts
        self._mention_problem()
        self._seats = {worker: seat for worker, seat in self._seats.items() if seat.trial != result.number}
        better = result.state is TrialState.COMPLETE and result.feasible and self._is_best(result)
        if better:
            self._best = result
        value = "" if result.value is None else f"{self._metric} {result.value:.4f} at epoch {result.epoch}"
        line = Text.assemble(
            f"trial {result.number:>3}  ",
            (f"{result.state.value:<8}", _COLOURS[result.state]),
            f"  {value or result.reason or ''}  ",
            ("best so far  " if better else "", "bold green"),
            (brief(result.params), "dim"),
        )
        broken = [name for name, by in result.violations.items() if by > 0]
        if broken:
            line.append(f"  breaks {', '.join(broken)}", "yellow")
        if result.state is TrialState.FAILED and value:
            line.append(f"  {result.reason}", "red")
        self._say(line)

    def trouble(self, worker: int, text: str, trial: int | None, remedy: Remedy | None) -> None:
        """Says that a worker died, or that a trial met with other trouble, and what becomes of the trial."""
        self._seats.pop(worker, None)
        now = {
            Remedy.AGAIN: "goes on from its last epoch",
            Remedy.ALONE: "is tried once more, by itself",
            Remedy.FAIL: "is given up",
        }
        end = "" if trial is None or remedy is None else f"; trial {trial} {now[remedy]}"
        self._say(Text(f"{text}{end}", "yellow"))

    def ending(self, ending: Ending) -> None:
        """Says that running trials stop after their epoch."""
        told = f"{ending.text}: trials stop after the epoch they are at, and can go on from there later."
        hurry = " Ctrl-C again stops at once." if ending.by == INTERRUPTED else ""
        self._say(Text(told[:1].upper() + told[1:] + hurry, "yellow"))

    def _mention_problem(self) -> None:
        """Says once that the record does not arrive; a log has no live display that would show it."""
        problem = self._problem()
        if problem and not self._mentioned:
            self._mentioned = True
            self._say(Text(f"MLflow takes nothing at the moment; the journal keeps everything. ({problem})", "yellow"))

    def _say(self, line: Text) -> None:
        """One line; a log has no edge to wrap it at."""
        self._console.print(line, highlight=False, soft_wrap=not self._console.is_terminal)

    def _is_best(self, result: TrialResult) -> bool:
        if result.value is None:
            return False
        best = self._best.value if self._best else self._best_before
        return best is None or self._sign * result.value < self._sign * best

    def _draw(self) -> RenderableType:
        done = self._counts.complete + self._counts.pruned
        head = Text.assemble(
            (self._study, "bold"),
            f"  {done} of {self._wanted or '?'} trials",
            (f"  {self._counts.pruned} pruned" if self._counts.pruned else "", "yellow"),
            (f"  {self._counts.failed} failed" if self._counts.failed else "", "red"),
            f"  {self._time_left()}",
        )
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=max(1, self._wanted), completed=done, width=60))
        parts: list[RenderableType] = [head, bar]
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
        table = Table.grid(padding=(0, 2))
        for worker in range(self._workers):
            seat = self._seats.get(worker)
            if seat is None:
                table.add_row(f"worker {worker}", "getting ready" if not done else "idle", "", "")
            else:
                value = "" if math.isnan(seat.value) else f"{self._metric} {seat.value:.4f}"
                params = Text(seat.params, "dim", no_wrap=True, overflow="ellipsis")
                table.add_row(
                    f"worker {worker}", f"trial {seat.trial}", f"epoch {seat.epoch}/{seat.epochs}", value, params
                )
        parts.append(table)
        problem = self._problem()
        if problem:
            parts.append(Text(f"MLflow takes nothing: {problem}", "yellow", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _time_left(self) -> str:
        done = self._counts.complete + self._counts.pruned - self._done_before
        elapsed = time.monotonic() - self._begun
        if done < 2 or not self._wanted:
            return f"{_clock(elapsed)} so far"
        left = elapsed / done * (self._wanted - self._counts.complete - self._counts.pruned)
        return f"{_clock(elapsed)} so far, about {_clock(left)} left"


def brief(params: Mapping[str, Any]) -> str:
    """Sampled parameters on one line, each by the last part of its name."""
    return "  ".join(
        f"{name.rpartition('.')[2]}={value:.3g}" if isinstance(value, float) else f"{name.rpartition('.')[2]}={value}"
        for name, value in params.items()
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
