from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.history import best_value, gather, read_runs
from pipelines.home import StudyFolder
from pipelines.records import TrialHistory, TrialState
from pipelines.tracking.entries import Entry, FileKept, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from tests.pipelines.scripted import recipe


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study with a complete, a failed and a running trial, the first in two attempts."""
    folder = StudyFolder(tmp_path)
    journal = Journal(folder.journal)
    sampled = '{"optimizer.learning_rate": 0.01}'

    def begun(number: int, attempt: int, time_ms: int) -> RunBegun:
        tags = {
            "regatta.trial": str(number),
            "regatta.attempt": str(attempt),
            "regatta.state": "RUNNING",
            "regatta.sampled": sampled,
            "regatta.config": '{"epochs": 2}',
        }
        return RunBegun(f"u-{number}", "tiny", f"trial-{number}", time_ms, "u", tags)

    for entry in (
        RunBegun("u", "tiny", "sweep", 1),
        begun(1, 1, 5),
        Logged("u-1", 6, 1, {"val_loss": 0.3, "loss": 0.2}),
        Logged("u-1", 5, 0, {"val_loss": 0.5, "loss": 0.4}),
        RunEnded("u-1", 7, "KILLED"),
        begun(1, 2, 8),
        Logged("stranger", 8, 0, {"val_loss": 0.0}),
        Logged("u-1", 9, 0, {"best.val_loss": 0.3, "best.epoch": 1.0, "seconds": 2.5}, {"regatta.state": "COMPLETE"}),
        FileKept("u-1", "trials/00001-2/loss_curve.png"),
        FileKept("u-1", "trials/00001-2/best.keras", "checkpoint"),
        RunEnded("u-1", 10, "FINISHED"),
        begun(0, 1, 5),
        Logged("u-0", 9, 0, {"seconds": 0.5}, {"regatta.state": "FAILED", "regatta.reason": "ValueError: no"}),
        RunEnded("u-0", 10, "FAILED"),
        begun(2, 1, 11),
    ):
        journal.append(entry)
    journal.close()
    return folder


@pytest.fixture
def read(folder: StudyFolder) -> Callable[..., tuple[TrialHistory, ...]]:
    def gathered() -> tuple[TrialHistory, ...]:
        ids = {"u-1": "run-of-1"}.get
        return gather(folder, recipe(), ids, importances={}, champion=None, links={}, seconds=None).trials

    return gathered


def test_trials_come_in_the_order_of_their_numbers_and_the_parent_is_none(
    read: Callable[..., tuple[TrialHistory, ...]],
) -> None:
    assert [(trial.number, trial.state) for trial in read()] == [
        (0, TrialState.FAILED),
        (1, TrialState.COMPLETE),
        (2, TrialState.RUNNING),
    ]


def test_a_trial_is_told_over_all_its_attempts(read: Callable[..., tuple[TrialHistory, ...]]) -> None:
    assert read()[1] == TrialHistory(
        number=1,
        attempt=2,
        state=TrialState.COMPLETE,
        params={"optimizer.learning_rate": 0.01},
        value=0.3,
        best_epoch=1,
        curves={"val_loss": ((0, 0.5), (1, 0.3)), "loss": ((0, 0.4), (1, 0.2))},
        seconds=2.5,
        run_id="run-of-1",
    )


def test_a_failed_trial_keeps_its_reason_and_has_no_value(read: Callable[..., tuple[TrialHistory, ...]]) -> None:
    failed = read()[0]

    assert (failed.reason, failed.value, failed.best_epoch, failed.run_id) == ("ValueError: no", None, None, None)


def test_a_study_is_called_by_its_recipe(folder: StudyFolder) -> None:
    champion = {"version": "1"}
    history = gather(
        folder,
        recipe(objective="val_accuracy"),
        lambda uid: None,
        importances={"a": 1.0},
        champion=champion,
        links={"MLflow": "http://x"},
        seconds=3.0,
    )

    assert (history.study, history.metric, history.direction) == ("tiny", "val_accuracy", "maximize")
    assert (history.importances, history.champion, history.seconds) == ({"a": 1.0}, champion, 3.0)


def test_a_run_knows_its_config_its_checkpoint_and_whether_it_is_open(folder: StudyFolder) -> None:
    from pipelines.tracking.journal import read_all

    runs = read_runs(read_all(folder.journal))

    assert set(runs) == {"u", "u-0", "u-1", "u-2"}
    assert runs["u-1"].config == {"epochs": 2}
    assert runs["u-1"].checkpoint(folder.root) == folder.root / "trials/00001-2/best.keras"
    assert runs["u-2"].checkpoint(folder.root) is None
    assert {uid: run.status for uid, run in runs.items()} == {
        "u": "RUNNING", "u-0": "FAILED", "u-1": "FINISHED", "u-2": "RUNNING"
    }  # fmt: skip
    assert runs["u"].number is None


@pytest.mark.parametrize(("direction", "best"), [("minimize", 0.2), ("maximize", 0.7)])
def test_the_best_value_is_that_of_the_complete_trials(direction: str, best: float) -> None:
    entries: list[Entry] = []
    for number, (state, value) in enumerate(
        [("COMPLETE", 0.2), ("COMPLETE", 0.7), ("PRUNED", 0.1), ("PRUNED", 0.9), ("FAILED", 0.0)]
    ):
        tags = {"regatta.trial": str(number), "regatta.state": state}
        entries.append(RunBegun(f"u-{number}", "tiny", "x", 1, "u", tags))
        entries.append(Logged(f"u-{number}", 1, 0, {"best.val_loss": value}))

    assert best_value(read_runs(entries).values(), "val_loss", direction) == best
    assert best_value([], "val_loss", direction) is None


def test_an_empty_study_has_no_trials(tmp_path: Path) -> None:
    history = gather(
        StudyFolder(tmp_path), recipe(), lambda uid: None, importances={}, champion=None, links={}, seconds=None
    )

    assert history.trials == ()
