"""All trials as lines through their parameters: what the page's script draws, with every place worked out here.

The objectives stand first, the important parameters next to them. A parameter that a trial does not have (it belongs to
another branch of the search space) and an objective that it never reached have a place of their own, below the axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pipelines.records import TrialHistory, TrialState
from pipelines.report.figures import WIDE, WIDE_LOSS, Axis, axis_for, value_axis
from pipelines.report.scales import by_factors, tick_text, ticks
from pipelines.report.summary import Summary, is_number, number_text, sample

MOST_LINES, MOST_AXES, MOST_CHOICES, MOST_TICKS = 3_000, 24, 12, 6
LONGEST_TICK = 18
BEST, PRUNED, FAILED, RUNNING, BROKEN = 2.0, -1.0, -2.0, -3.0, -4.0
"""Shades of lines that are none of complete trials; those are 0 (the worst) to 1."""
_SHADES = {TrialState.PRUNED: PRUNED, TrialState.FAILED: FAILED, TrialState.RUNNING: RUNNING}
Ticks = list[tuple[float, str]]


@dataclass(frozen=True)
class ParallelAxis:
    """One axis.

    Attributes:
        name: Short, to stand above it; `path` is the whole name.
        ticks: Places, 0 at the foot to 1 on top, and what stands there.
        places: Of each line, in the order of the lines; None where it has none on this axis.
        choices: How many there are, where the axis is one of choices and not of numbers; 0 otherwise.
        log: Whether it is logarithmic.
        better: Of an objective, which way is better: `up` or `down`.
    """

    name: str
    path: str
    ticks: Ticks
    places: list[float | None]
    choices: int = 0
    log: bool = False
    better: str = ""


@dataclass(frozen=True)
class Parallel:
    """The whole drawing: its axes, and each line's trial and shade in the order in which they are drawn."""

    axes: list[ParallelAxis]
    trials: list[int]
    shades: list[float]
    of: int
    left_out: int
    constant: list[str]

    def as_data(self) -> dict[str, Any]:
        """What the page's script reads."""
        axes = [
            {
                "name": axis.name,
                "path": axis.path,
                "ticks": axis.ticks,
                "places": axis.places,
                "choices": axis.choices,
                "better": axis.better,
            }
            for axis in self.axes
        ]
        return {"axes": axes, "trials": self.trials, "shades": self.shades}


def parallel_of(summary: Summary) -> Parallel | None:
    """The drawing, or None where fewer than two trials or no parameter that differs are there to draw."""
    lines = sample(sorted(summary.history.trials, key=summary.merit), MOST_LINES)
    varied = [path for path in summary.params if _varies(lines, path)]
    constant = [name for path, name in summary.params.items() if path not in varied]
    if len(lines) < 2 or not varied:
        return None
    ranks = {trial.number: rank for rank, trial in enumerate(summary.ranking)}
    shades = {trial.number: _shade(summary, trial, ranks) for trial in lines}
    lines.sort(key=lambda trial: (*_depth(shades[trial.number]), -trial.number))
    axes = [*_objective_axes(summary, lines, ranks), *(_param_axis(summary, lines, path) for path in varied)]
    return Parallel(
        axes=axes[:MOST_AXES],
        trials=[trial.number for trial in lines],
        shades=[round(shades[trial.number], 3) for trial in lines],
        of=len(summary.history.trials),
        left_out=max(0, len(axes) - MOST_AXES),
        constant=constant,
    )


def _varies(trials: Sequence[TrialHistory], path: str) -> bool:
    """Whether trials differ in it, be it in whether they have it."""
    settings = {str(trial.params[path]) if path in trial.params else None for trial in trials}
    return len(settings) > 1


def _shade(summary: Summary, trial: TrialHistory, ranks: Mapping[int, int]) -> float:
    if trial is summary.best:
        return BEST
    if trial.number in ranks:
        return 1 - ranks[trial.number] / max(1, len(ranks) - 1)
    return _SHADES.get(trial.state, BROKEN if not trial.feasible else FAILED)


def _depth(shade: float) -> tuple[int, float]:
    """A key that sorts what is drawn behind before what is drawn in front of it."""
    behind = (FAILED, RUNNING, PRUNED, BROKEN)
    return (behind.index(shade), 0.0) if shade < 0 else (len(behind), shade)


def _objective_axes(summary: Summary, lines: list[TrialHistory], ranks: Mapping[int, int]) -> list[ParallelAxis]:
    history = summary.history
    first = _value_axis(history.metric, value_axis(summary), [summary.value(t) for t in lines], summary.maximize)
    axes = [first]
    for name, direction in history.objectives[1:]:
        values = [_finite(trial.values.get(name)) for trial in lines]
        core = [value for t, value in zip(lines, values, strict=True) if t.number in ranks and value is not None]
        more = direction == "maximize"
        drawn = [value for value in values if value is not None]
        axis = axis_for(drawn, core, worse=-1 if more else 1, ratio=WIDE if more else WIDE_LOSS)
        axes.append(_value_axis(name, axis, values, more))
    return axes


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and is_number(value) else None


def _value_axis(name: str, axis: Axis, values: list[float | None], more: bool) -> ParallelAxis:
    shown = [axis.inside(value)[0] for value in values if value is not None]
    span: tuple[float, float] | None = axis.span
    if span and axis.log:
        span = (10.0 ** span[0], 10.0 ** span[1])
    low, high = span or (min(shown, default=0.0), max(shown, default=1.0))
    inside = [None if value is None else axis.inside(value)[0] for value in values]
    found, places = _numbers(inside, low, high, log=axis.log)
    return ParallelAxis(name, name, found, places, log=axis.log, better="up" if more else "down")


def _param_axis(summary: Summary, lines: list[TrialHistory], path: str) -> ParallelAxis:
    short = summary.params[path]
    settings = [trial.params.get(path) for trial in lines]
    having = [trial.params[path] for trial in lines if path in trial.params]
    if all(is_number(setting) for setting in having):
        values = [_finite(setting) for setting in settings]
        log = path in summary.history.logarithmic or by_factors(having)
        found, places = _numbers(values, min(having), max(having), log=log, few=sorted(set(having)))
        return ParallelAxis(short, path, found, places, log=log)
    chosen = [str(trial.params[path]) if path in trial.params else None for trial in lines]
    found, places = _choices(chosen, [trial.number for trial in lines])
    return ParallelAxis(short, path, found, places, choices=len(found))


def _numbers(
    values: Sequence[float | None], low: float, high: float, *, log: bool, few: Sequence[float] = ()
) -> tuple[Ticks, list[float | None]]:
    """The ticks and the places of numbers; `few` settings, if they are few, are the ticks themselves."""

    def place(value: float) -> float:
        if high <= low:
            return 0.5
        across = math.log(value / low) / math.log(high / low) if log else value / (high - low) - low / (high - low)
        return round(min(1.0, max(0.0, across)), 4)

    marks = few if 0 < len(few) <= MOST_TICKS else ticks(low, high, log=log, most=MOST_TICKS)
    found = [(place(tick), tick_text(tick)) for tick in marks]
    apart = [tick for rank, tick in enumerate(found) if rank == 0 or tick[0] - found[rank - 1][0] > 0.04]
    return apart, [None if value is None else place(value) for value in values]


def _choices(chosen: Sequence[str | None], numbers: Sequence[int]) -> tuple[Ticks, list[float | None]]:
    """The ticks and the places of choices; lines of one choice are spread a little, always the same for a trial."""
    counts: dict[str, int] = {}
    for choice in chosen:
        if choice is not None:
            counts[choice] = counts.get(choice, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))
    kept = sorted(names if len(names) <= MOST_CHOICES else names[: MOST_CHOICES - 1], reverse=True)
    others = len(names) - len(kept)
    slots = {name: rank for rank, name in enumerate([*([f"{others} others"] if others else []), *kept])}
    step = 1 / len(slots)
    places = [
        None if choice is None else round((slots.get(choice, 0) + 0.5 + 0.5 * (number * 0.618034 % 1 - 0.5)) * step, 4)
        for choice, number in zip(chosen, numbers, strict=True)
    ]
    return [(round((rank + 0.5) * step, 4), _shortened(name)) for name, rank in slots.items()], places


def _shortened(text: str) -> str:
    text = number_text(text).replace('"', "").replace("'", "")
    return text if len(text) <= LONGEST_TICK else text[: LONGEST_TICK - 1] + "…"


def parallel_told(parallel: Parallel) -> str:
    """What stands above the drawing, as HTML."""
    told = "Every trial is a line through its result and its parameters, the important ones first: the better, the "
    told += "darker; pruned ones are pale, failed ones red."
    if any(None in axis.places for axis in parallel.axes):
        told += " Below an axis are the trials that have no such parameter, or no such result."
    log = [axis.name for axis in parallel.axes if axis.log]
    if log:
        told += f" Logarithmic: {escape(', '.join(log))}."
    if len(parallel.trials) < parallel.of:
        told += (
            f" {len(parallel.trials):,} of {parallel.of:,} trials are drawn: the best, and an even choice of others."
        )
    if parallel.constant:
        told += f" The same in all trials: {escape(', '.join(parallel.constant[:12]))}."
    if parallel.left_out:
        told += f" {parallel.left_out} more parameters are in the table below."
    return told
