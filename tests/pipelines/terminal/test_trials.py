"""The table of trials in a terminal and in a log."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.report.summary import Summary
from pipelines.terminal.trials import show_trials

PRUNED = "val_loss was no better than the pruner asks for at that epoch"


def trial(
    number: int, state: TrialState = TrialState.COMPLETE, value: float | None = None, **more: Any
) -> TrialHistory:
    params = {"optimizer": "adam", "optimizer.adam.learning_rate": 0.0123456, "callbacks.early_stopping.patience": 4}
    curves = {"val_loss": tuple((epoch, 1.0 + epoch) for epoch in range(3))}
    facts: dict[str, Any] = {"seconds": 12.34, **more}
    return TrialHistory(number, facts.pop("attempt", 1), state, params, value, 7, curves, **facts)


def shown(*trials: TrialHistory, width: int = 200, terminal: bool = False, **history: Any) -> list[str]:
    summary = Summary(StudyHistory("tiny", "val_loss", "minimize", trials, **history))
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=terminal, color_system=None)
    show_trials(summary, summary.table, console)
    return screen.getvalue().splitlines()


MIXED = (
    trial(7, value=0.125),
    trial(12, TrialState.PRUNED, 0.5, reason=PRUNED),
    trial(103, TrialState.FAILED, reason="ValueError: no such\n  layer", seconds=None),
)


def test_a_log_has_every_cell_whole_in_columns() -> None:
    drawn = "optimizer=adam  learning_rate=0.0123  patience=4"

    assert shown(*MIXED, width=40) == [
        "trial  state     val_loss  epoch  seconds  drawn                                             note",
        f"    7  complete     0.125      7     12.3  {drawn}",
        f"   12  pruned         0.5      7     12.3  {drawn}  {PRUNED}",
        f"  103  failed           –      –        –  {drawn}  ValueError: no such layer",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 160])
def test_a_terminal_has_a_line_a_trial_however_narrow_it_is(width: int) -> None:
    lines = shown(*MIXED, trial(5, TrialState.FAILED, reason="名前が見つかりません" * 20), width=width, terminal=True)

    assert len(lines) == 5
    assert max(map(cell_len, lines)) <= width


def test_what_was_drawn_and_the_note_are_cut_to_the_width_and_numbers_are_not() -> None:
    head, best, pruned, _ = shown(*MIXED, width=80, terminal=True)

    assert head.split() == ["trial", "state", "val_loss", "epoch", "seconds", "drawn", "note"]
    assert best == "    7  complete     0.125      7     12.3  optimizer=adam  learning_rate=0.0123…"
    assert pruned == "   12  pruned         0.5      7     12.3  optimizer=adam  …  val_loss was no b…"


def test_a_note_that_fits_leaves_its_room_to_what_was_drawn() -> None:
    _, _, failed = shown(MIXED[0], trial(1, TrialState.FAILED, reason="gone"), width=80, terminal=True)

    assert failed.endswith("  optimizer=adam  learning_rate=…  gone")
    assert cell_len(failed) == 80


def test_without_anything_to_note_there_is_no_column_for_it() -> None:
    assert "note" not in shown(trial(0, value=0.5))[0]
    assert "note" in shown(trial(0, TrialState.RUNNING))[0]


def test_no_trial_is_no_table() -> None:
    assert shown() == []


def test_a_trial_that_runs_tells_how_far_it_is_and_one_that_breaks_a_constraint_which() -> None:
    lines = shown(
        trial(0, value=0.1, violations={"val_accuracy": 0.0249, "seconds": -2.0}),
        trial(1, TrialState.RUNNING),
        trial(2, TrialState.RUNNING, reason="the sweep was interrupted"),
    )

    assert lines[1].endswith("  breaks val_accuracy by 0.0249")
    assert lines[2].endswith("  3 epochs so far")
    assert lines[3].endswith("  the sweep was interrupted")


def test_several_objectives_have_a_column_each_and_say_who_is_on_the_front() -> None:
    head, *lines = shown(
        trial(0, value=0.1, values={"val_loss": 0.1, "parameters": 2410.0}),
        trial(1, value=0.2, values={"val_loss": 0.2, "parameters": 1210.0}),
        trial(2, value=0.3, values={"val_loss": 0.3}),
        objectives=(("val_loss", "minimize"), ("parameters", "minimize")),
        front=(0, 1),
        picked=1,
    )

    assert head.split()[:7] == ["trial", "state", "val_loss", "parameters", "front", "epoch", "seconds"]
    assert [line.split()[2:5] for line in lines] == [["0.1", "2410", "on"], ["0.2", "1210", "best"], ["0.3", "–", "7"]]


def test_attempts_are_told_where_there_was_more_than_one() -> None:
    assert "attempt" not in shown(trial(0, value=0.5))[0]
    assert shown(trial(0, value=0.5, attempt=3))[1].split()[5] == "3"


def test_the_best_value_and_the_states_have_colours_on_a_terminal() -> None:
    summary = Summary(StudyHistory("tiny", "val_loss", "minimize", MIXED))
    screen = io.StringIO()

    show_trials(summary, summary.table, Console(file=screen, width=99, force_terminal=True, color_system="standard"))

    best, pruned = screen.getvalue().splitlines()[1:3]
    assert "\x1b[1;32m   0.125\x1b[0m" in best
    assert "\x1b[33mpruned" in pruned
