"""The trials of a study as a table, one line a trial, that keeps to the terminal's width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pipelines.records import TrialHistory, TrialState
from pipelines.report.parts import plural
from pipelines.report.summary import Summary, broken, epochs_of, is_number, number_text
from pipelines.report.tables import NOTHING
from pipelines.telling import say
from pipelines.terminal.seats import COLOURS, brief

_GAP = "  "


@dataclass
class _Column:
    """One column: `width` is what its longest cell takes, in characters."""

    head: str
    cells: list[Text]
    align: Literal["left", "right"] = "right"

    def __post_init__(self) -> None:
        self.width = max(cell_len(self.head), *(cell.cell_len for cell in self.cells))

    def cell(self, place: int) -> Text:
        """One cell as wide as the column; the head comes first."""
        cell = self.cells[place - 1].copy() if place else Text(self.head, "bold")
        cell.truncate(self.width, overflow="ellipsis")
        cell.align(self.align, self.width)
        return cell


def show_trials(summary: Summary, trials: Sequence[TrialHistory], console: Console) -> None:
    """Shows some trials of a study, as they are given; nothing where there are none.

    On a terminal each keeps to one line, in which what was drawn, and the note on why the trial cannot win, are cut. In
    a log they are whole.
    """
    if not trials:
        return
    *columns, drawn, note = _columns(summary, trials)
    if console.is_terminal:
        room = console.width - sum(column.width + len(_GAP) for column in columns) - len(_GAP)
        drawn.width = max(1, min(drawn.width, max(room // 2, room - note.width)))
    for place in range(len(trials) + 1):
        line = Text(_GAP).join(column.cell(place) for column in columns)
        if note.cells[place - 1] if place else any(note.cells):
            line = Text(_GAP).join([line, drawn.cell(place), note.cell(place)])
        else:  # what was drawn has the room of both
            line = Text(_GAP).join([line, drawn.cells[place - 1] if place else drawn.cell(place)])
        line.rstrip()
        if console.is_terminal:
            line.truncate(console.width, overflow="ellipsis")
        say(console, line)


def _columns(summary: Summary, trials: Sequence[TrialHistory]) -> list[_Column]:
    history = summary.history
    valued = [trial if summary.value(trial) is not None else None for trial in trials]  # a failed one has no best epoch
    columns = [
        _Column("trial", _texts(str(trial.number) for trial in trials)),
        _Column("state", [Text(t.state.value.lower(), COLOURS.get(t.state, "")) for t in trials], "left"),
        _Column(history.metric, [_value(summary, trial) for trial in trials]),
    ]
    columns += [
        _Column(name, _texts(_number(trial.values.get(name) if trial else None) for trial in valued))
        for name, _ in history.objectives[1:]
    ]
    if history.objectives:
        columns.append(_Column("front", _texts(_place(summary, trial) for trial in trials), "left"))
    columns.append(_Column("epoch", _texts(_number(trial.best_epoch if trial else None) for trial in valued)))
    columns.append(_Column("seconds", _texts(NOTHING if t.seconds is None else f"{t.seconds:.1f}" for t in trials)))
    if any(trial.attempt > 1 for trial in trials):
        columns.append(_Column("attempt", _texts(str(trial.attempt) for trial in trials)))
    columns.append(_Column("drawn", [Text(brief(trial.params), "dim") for trial in trials], "left"))
    columns.append(_Column("note", _texts(map(_note, trials)), "left"))
    return columns


def _texts(cells: Iterable[str]) -> list[Text]:
    return [Text(cell) for cell in cells]


def _number(value: float | None) -> str:
    return number_text(value, 6) if value is not None and is_number(value) else NOTHING


def _value(summary: Summary, trial: TrialHistory) -> Text:
    return Text(_number(summary.value(trial)), "bold green" if trial is summary.best else "")


def _place(summary: Summary, trial: TrialHistory) -> str:
    """Where the trial stands among several objectives."""
    if trial is summary.best:
        return "best"
    return "on it" if trial.number in summary.history.front else ""


def _note(trial: TrialHistory) -> str:
    """Why the trial cannot win, or how far it is."""
    told = [f"breaks {', '.join(bounds)}"] if (bounds := broken(trial)) else []
    if trial.reason:
        told.append(" ".join(trial.reason.split()))
    elif trial.state is TrialState.RUNNING:
        told.append(f"{plural(epochs_of(trial), 'epoch')} so far")
    return "; ".join(told)
