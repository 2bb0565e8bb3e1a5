"""What a sweep shows while it runs, on a terminal and in a log."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from pipelines.controller.failures import Remedy
from pipelines.records import EpochEnded, Failure, TrialResult, TrialSpec, TrialState
from pipelines.study import Counts
from pipelines.terminal.progress import Progress
from pipelines.terminal.seats import brief

SPACE = {"optimizer": "adam", "optimizer.adam.learning_rate": 0.0123456, "callbacks.early_stopping.patience": 4}


class Screen:
    """A display whose every word and picture is kept, and a clock that stands still."""

    def __init__(self, *, terminal: bool, problem: str | None = None) -> None:
        self.now = 0.0
        self.problem = problem
        self.starting = False
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=80, height=24, force_terminal=terminal, color_system=None)
        self.progress = Progress(
            self.console,
            "digits",
            "val_loss",
            "minimize",
            problem=lambda: self.problem,
            starting=lambda: self.starting,
            clock=lambda: self.now,
        )

    def begin(self, workers: int = 1, trials: int = 64) -> Progress:
        self.progress.began(workers, trials, Counts())
        return self.progress

    def seat(self, *numbers: int, worker: int = 0) -> None:
        for number in numbers:
            spec = TrialSpec(number, 1, {"epochs": 20}, "data", "folder", "val_loss", "minimize")
            self.progress.working(worker, spec, SPACE)

    def epochs(self, number: int, *values: float, worker: int = 0) -> None:
        for epoch, value in enumerate(values):
            self.progress.epoch(worker, EpochEnded(number, 1, epoch, {"val_loss": value}, 0))

    def end(self, number: int, value: float | None = 0.5, state: str = "COMPLETE", **more: Any) -> None:
        done = Counts(complete=number + 1)
        self.progress.ended(TrialResult(number, 1, TrialState(state), SPACE, value, 7, **more), done)

    def said(self) -> list[str]:
        return self.output.getvalue().splitlines()

    def drawn(self) -> list[str]:
        picture = io.StringIO()
        Console(file=picture, width=80, height=24, force_terminal=True, color_system=None).print(self.progress.draw())
        return [line.rstrip() for line in picture.getvalue().splitlines()]


@pytest.fixture
def screen() -> Screen:
    return Screen(terminal=True)


def row(screen: Screen, worker: int = 0) -> str:
    (line,) = (line for line in screen.drawn() if line.startswith(f"worker {worker}"))
    return re.sub(" {2,}", "  ", line)


def test_what_was_drawn_has_names_as_short_as_tell_them_apart() -> None:
    drawn = {"callbacks.early_stopping.patience": 5, "callbacks.reduce_lr_on_plateau.patience": 2, "model.units.0": 64}
    assert brief({**drawn, "optimizer.learning_rate": 0.00123456}) == (
        "early_stopping.patience=5  reduce_lr_on_plateau.patience=2  units.0=64  learning_rate=0.00123"
    )


def test_a_worker_gets_ready_then_trains_then_is_idle(screen: Screen) -> None:
    screen.begin()
    assert row(screen) == "worker 0  getting ready"
    screen.seat(0)
    assert row(screen).startswith("worker 0  trial 0  epoch 0/20")
    screen.epochs(0, 0.9, 0.25)
    assert row(screen).startswith("worker 0  trial 0  epoch 2/20  val_loss 0.2500  optimizer=adam")
    screen.end(0)
    assert row(screen) == "worker 0  idle"


def test_a_worker_that_trains_many_at_once_is_one_row_with_how_far_they_are_and_the_best_of_them(
    screen: Screen,
) -> None:
    screen.begin(workers=2)
    screen.seat(*range(64))
    screen.seat(64, worker=1)
    assert row(screen) == "worker 0  64 trials  epoch 0/20"
    screen.epochs(3, 0.9, 0.8, 0.25)
    screen.epochs(5, 0.5)

    assert row(screen).startswith("worker 0  64 trials  epochs 0 to 3/20  val_loss 0.2500  trial 3")
    assert row(screen, 1).startswith("worker 1  trial 64  epoch 0/20")


def test_the_whole_picture_of_64_trials_at_once_fits_a_small_terminal(screen: Screen) -> None:
    screen.begin(trials=256)
    screen.seat(*range(100))
    screen.now = 2.0
    for number in range(36):
        screen.end(number, 0.9 - number / 100)

    drawn = screen.drawn()
    assert len(drawn) < 24
    assert max(map(len, drawn)) <= 80
    assert drawn[0] == "digits  36 of 256 trials  2 s so far, about 12 s left, 18.0 a second"
    assert any(line.startswith("best  trial 35: val_loss 0.5500 at epoch 7") for line in drawn)


def test_a_terminal_keeps_a_line_only_of_what_stands_out_where_trials_end_by_the_dozen(screen: Screen) -> None:
    screen.begin()
    screen.seat(*range(10))
    screen.end(0, 0.5)
    for number in range(1, 8):
        screen.end(number, 0.6, "PRUNED" if number % 2 else "COMPLETE")
    screen.end(8, None, "FAILED", reason="ValueError: no such layer", failure=Failure.ERROR)
    screen.end(9, 0.4)

    kept = [line.split()[1] for line in screen.said() if line.startswith("trial")]
    assert kept == ["0", "8", "9"]
    lately = [line.split()[1] for line in screen.drawn() if line.startswith("trial")]
    assert lately == ["3", "4", "5", "6", "7"]


def test_a_terminal_keeps_a_line_of_every_trial_where_they_end_one_by_one(screen: Screen) -> None:
    screen.begin()
    for number in range(3):
        screen.seat(number)
        screen.end(number, 0.5)

    assert [line.split()[1] for line in screen.said() if line.startswith("trial")] == ["0", "1", "2"]
    assert not any(line.startswith("trial") for line in screen.drawn())


def test_a_log_has_a_line_of_every_trial_however_many_train_at_once() -> None:
    screen = Screen(terminal=False)
    screen.begin()
    screen.seat(*range(12))
    for number in range(12):
        screen.end(number, 0.5 + number)

    assert [line.split()[1] for line in screen.said()] == [str(number) for number in range(12)]
    assert "best so far" in screen.said()[0]
    assert "best so far" not in "".join(screen.said()[1:])


@pytest.mark.parametrize(
    ("remedies", "told"),
    [
        ({}, "worker 0 was lost: killed"),
        ({3: Remedy.AGAIN}, "worker 0 was lost: killed; trial 3 goes on from its last epoch"),
        (
            {3: Remedy.AGAIN, 4: Remedy.AGAIN, 5: Remedy.FAIL},
            "worker 0 was lost: killed; trials 3 and 4 go on from their last epochs; trial 5 is given up",
        ),
        (
            dict.fromkeys(range(64), Remedy.ALONE),
            "worker 0 was lost: killed; trials 0, 1, 2 and 61 others are tried once more, each by itself",
        ),
        (
            dict.fromkeys(range(4), Remedy.AGAIN),
            "worker 0 was lost: killed; trials 0, 1, 2 and 3 go on from their last epochs",
        ),
    ],
)
def test_a_loss_is_one_sentence_however_many_trials_it_befell(remedies: dict[int, Remedy], told: str) -> None:
    screen = Screen(terminal=False)
    screen.begin()
    screen.seat(*remedies)

    screen.progress.trouble(0, "worker 0 was lost: killed", remedies)

    assert screen.said() == [told]
    assert row(screen) == "worker 0  getting ready"


def test_a_record_that_does_not_arrive_is_shown_and_is_told_once_in_a_log() -> None:
    screen = Screen(terminal=False, problem="connection refused")
    screen.begin()
    for number in range(3):
        screen.seat(number)
        screen.end(number)

    assert sum("connection refused" in line for line in screen.said()) == 1
    assert screen.drawn()[-1] == "MLflow takes nothing: connection refused"

    screen.problem = "no such bucket"
    for number in range(3, 6):
        screen.seat(number)
        screen.end(number)
    assert sum("no such bucket" in line for line in screen.said()) == 1


def test_a_server_that_is_only_starting_is_told_as_that_and_not_as_trouble() -> None:
    screen = Screen(terminal=False, problem="connection refused")
    screen.starting = True
    screen.begin()
    screen.seat(0)
    screen.end(0)

    assert screen.drawn()[-1] == "MLflow is still starting; the journal keeps everything until it answers"
    assert not any("MLflow" in line for line in screen.said())

    screen.starting = False  # it should be there by now, and is not
    screen.seat(1)
    screen.end(1)
    assert screen.drawn()[-1] == "MLflow takes nothing: connection refused"
    assert sum("MLflow takes nothing" in line for line in screen.said()) == 1


def test_a_record_that_does_not_arrive_for_ever_new_reasons_does_not_fill_a_log() -> None:
    screen = Screen(terminal=False)
    screen.begin()
    for number in range(40):
        screen.problem = f"reason {number}"
        screen.seat(number)
        screen.end(number)

    assert [line for line in screen.said() if "reason" in line][-1].endswith("(reason 4)")
