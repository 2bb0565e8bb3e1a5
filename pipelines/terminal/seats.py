"""What each worker is at, as the terminal shows it: a line a worker, whether it has one trial or dozens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.records import TrialState
from pipelines.report.summary import short_names

COLOURS = {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow", TrialState.FAILED: "red"}
"""Of the states that a trial ends in."""
_NAMED = 3


@dataclass
class Seat:
    """A trial with its worker.

    Attributes:
        worker: The worker's number.
        trial: The trial's.
        epochs: How many it may train.
        params: What was sampled for it.
        epoch: How many epochs are over.
        value: The objective after the last of them.
    """

    worker: int
    trial: int
    epochs: int
    params: Mapping[str, Any]
    epoch: int = 0
    value: float = math.nan

    def move(self, epoch: int, value: float | None) -> None:
        """The epoch of this number, from 0, is over."""
        self.epoch, self.value = epoch + 1, math.nan if value is None else value


def workers_table(workers: int, seats: Sequence[Seat], metric: str, sign: int, *, begun: bool) -> Table:
    """A row for each worker.

    Args:
        workers: How many there are.
        seats: All trials that are with one of them.
        metric: The objective.
        sign: 1 where small values of it are good, -1 where large ones are.
        begun: Whether a trial has ended by now: a worker without a trial is idle then, and no longer getting ready.
    """
    table = Table.grid(padding=(0, 2))
    for worker in range(workers):
        mine = [seat for seat in seats if seat.worker == worker]
        if not mine:
            table.add_row(f"worker {worker}", "idle" if begun else "getting ready", "", "", "")
        elif len(mine) == 1:
            (seat,) = mine
            at, value = f"epoch {seat.epoch}/{seat.epochs}", _value(metric, seat)
            table.add_row(f"worker {worker}", f"trial {seat.trial}", at, value, _dim(brief(seat.params)))
        else:
            table.add_row(f"worker {worker}", f"{len(mine)} trials", *_together(mine, metric, sign))
    return table


def named(numbers: Sequence[int]) -> str:
    """Trials by number, but not all of many: `trials 3, 4, 5 and 61 others`."""
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    if len(numbers) > _NAMED + 1:
        return f"trials {', '.join(map(str, numbers[:_NAMED]))} and {len(numbers) - _NAMED} others"
    return f"trials {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def brief(params: Mapping[str, Any]) -> str:
    """Sampled parameters on one line, each by as much of its name as tells it from the others."""
    short = short_names(params)
    return "  ".join(
        f"{short[name]}={value:.3g}" if isinstance(value, float) else f"{short[name]}={value}"
        for name, value in params.items()
    )


def _together(seats: Sequence[Seat], metric: str, sign: int) -> tuple[str, str, Text]:
    """How far trials are that are trained at once, and the one that does best at the moment."""
    first, last = min(seat.epoch for seat in seats), max(seat.epoch for seat in seats)
    most = max(seat.epochs for seat in seats)
    at = f"epoch {first}/{most}" if first == last else f"epochs {first} to {last}/{most}"
    valued = [seat for seat in seats if not math.isnan(seat.value)]
    if not valued:
        return at, "", Text()
    best = min(valued, key=lambda seat: sign * seat.value)
    return at, _value(metric, best), _dim(f"trial {best.trial}  {brief(best.params)}")


def _value(metric: str, seat: Seat) -> str:
    return "" if math.isnan(seat.value) else f"{metric} {seat.value:.4f}"


def _dim(text: str) -> Text:
    return Text(text, "dim", no_wrap=True, overflow="ellipsis")
