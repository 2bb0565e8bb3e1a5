from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.history import best_value, device_seconds, gather, read_runs, wall_seconds
from pipelines.home import StudyFolder
from pipelines.records import CallbackAct, TrialHistory, TrialPicture, TrialState
from pipelines.tracking.entries import (
    CheckpointDropped,
    CheckpointKept,
    Entry,
    FileKept,
    Logged,
    PictureKept,
    RunBegun,
    RunEnded,
)
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


def test_a_study_knows_what_its_recipe_draws_by_factors(folder: StudyFolder) -> None:
    space = {
        "optimizer": {
            "adam": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
            "sgd": {"momentum": {"type": "float", "low": 0.1, "high": 0.9}},
        },
        "model.units": [[8], [16]],
    }
    history = gather(
        folder, recipe(search_space=space), lambda uid: None, importances={}, champion=None, links={}, seconds=None
    )

    assert history.logarithmic == {"optimizer.adam.learning_rate"}


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


TRIAL = {"regatta.trial": "0", "regatta.attempt": "1", "regatta.state": "COMPLETE"}


def the_trial(folder: Path, *entries: Entry) -> TrialHistory:
    """Trial 0 of a study whose journal holds these entries."""
    journal = Journal(StudyFolder(folder).journal)
    for entry in (RunBegun("u-0", "tiny", "trial-000", 1, "u", TRIAL), *entries):
        journal.append(entry)
    journal.close()
    (trial,) = gather(
        StudyFolder(folder), recipe(), lambda uid: None, importances={}, champion=None, links={}, seconds=None
    ).trials
    return trial


def pictures(*epochs: int, key: str = "decision_surface") -> list[Entry]:
    return [PictureKept("u-0", 5 + epoch, f"trials/{key}-{epoch}.png", key, epoch) for epoch in epochs]


@pytest.mark.parametrize(
    ("epochs", "best", "expected"),
    [
        ([0, 1, 2, 3], 2.0, 2),
        ([0, 5, 10], 7.0, 5),
        ([0, 5, 10], 8.0, 10),
        ([0, 4, 8], 6.0, 4),
        ([0, 1, 2], 40.0, 2),
        ([3, 0, 2], None, 3),
    ],
)
def test_a_trial_shows_the_picture_of_its_best_epoch_or_of_the_nearest_or_the_last(
    tmp_path: Path, epochs: list[int], best: float | None, expected: int
) -> None:
    ended = {"seconds": 1.0} if best is None else {"seconds": 1.0, "best.epoch": best, "best.val_loss": 0.5}

    trial = the_trial(tmp_path, *pictures(*epochs), Logged("u-0", 99, 0, ended))

    path = tmp_path / f"trials/decision_surface-{expected}.png"
    assert trial.pictures == {"decision_surface": TrialPicture(expected, str(path))}


def test_every_series_has_a_picture_and_a_trial_without_any_has_none(tmp_path: Path) -> None:
    assert the_trial(tmp_path / "none").pictures == {}
    trial = the_trial(tmp_path / "two", *pictures(0, 1), *pictures(0, key="weights"))

    assert {key: picture.epoch for key, picture in trial.pictures.items()} == {"decision_surface": 1, "weights": 0}


def test_a_picture_that_was_drawn_again_replaces_the_first(tmp_path: Path) -> None:
    again = PictureKept("u-0", 90, "trials/00000-2/1.png", "decision_surface", 1)

    trial = the_trial(tmp_path, *pictures(0, 1), again, PictureKept("stranger", 1, "x.png", "decision_surface", 7))

    assert trial.pictures["decision_surface"] == TrialPicture(1, str(tmp_path / "trials/00000-2/1.png"))


ACTS: list[dict[str, Any]] = [
    {"epoch": 4, "callback": "plateau", "action": "reduced", "text": "halved the rate", "value": 0.05},
    {"epoch": None, "callback": None, "action": "left_out", "text": "7 more acts are left out here", "value": 7.0},
    {"epoch": 9, "callback": "early_stopping", "action": "stopped", "text": "stopped at epoch 9", "value": None},
]


def test_a_trial_tells_what_callbacks_did_in_its_last_attempt(tmp_path: Path) -> None:
    kept: list[Entry] = []
    for attempt, acts in ((1, ACTS[:1]), (2, ACTS)):
        path = tmp_path / f"trials/00000-{attempt}/callback_events.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(acts), encoding="utf-8")
        kept.append(FileKept("u-0", str(path.relative_to(tmp_path))))

    assert the_trial(tmp_path, *kept, FileKept("u-0", "trials/00000-2/loss_curve.png")).acts == (
        CallbackAct(4, "plateau", "reduced", "halved the rate", 0.05),
        CallbackAct(9, "early_stopping", "stopped", "stopped at epoch 9", None),
    )


@pytest.mark.parametrize("content", [None, "", "[", "{}", "[1]", '[{"epoch": 1}]', '[{"epoch": 1, "colour": "red"}]'])
def test_acts_that_cannot_be_read_any_more_are_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "callback_events.json").write_text(content, encoding="utf-8")

    assert the_trial(tmp_path, FileKept("u-0", "callback_events.json")).acts == ()


def test_what_is_counted_when_a_trial_is_over_is_no_curve(tmp_path: Path) -> None:
    trial = the_trial(
        tmp_path,
        Logged("u-0", 5, 0, {"loss": 0.5, "val_loss": 0.6, "learning_rate": 0.1}),
        Logged("u-0", 9, 0, {"seconds": 2.5, "best.val_loss": 0.6, "best.epoch": 0.0, "plateau.reductions": 3.0}),
    )

    assert set(trial.curves) == {"loss", "val_loss", "learning_rate"}
    assert (trial.seconds, trial.value, trial.best_epoch) == (2.5, 0.6, 0)


def test_an_epoch_with_a_metric_called_seconds_keeps_its_curves(tmp_path: Path) -> None:
    trial = the_trial(tmp_path, Logged("u-0", 5, 3, {"loss": 0.5, "seconds": 0.6}))

    assert trial.curves == {"loss": ((3, 0.5),)}


# checkpoints


def test_a_checkpoint_is_the_last_one_that_was_kept(tmp_path: Path) -> None:
    begun = RunBegun("u-0", "tiny", "trial-000", 1, "u", TRIAL)
    kept = [CheckpointKept("u-0", 5, f"trials/{n}/best.keras", "trial-000", n, f"sha{n}") for n in range(2)]
    run = read_runs([begun, FileKept("u-0", "trials/old.keras", "checkpoint"), *kept])["u-0"]

    assert run.checkpoint(tmp_path) == tmp_path / "trials/1/best.keras"
    assert run.dropped is None
    assert [(each.epoch, each.sha256) for each in run.checkpoints] == [(0, "sha0"), (1, "sha1")]


def test_a_dropped_checkpoint_says_why(tmp_path: Path) -> None:
    kept = [CheckpointKept("u-0", 5, f"{n}.keras", "trial-000", n, f"sha{n}") for n in range(2)]

    trial = the_trial(tmp_path / "one", *kept, CheckpointDropped("u-0", 6, "sha1", "not among the 3 best"))
    other = the_trial(tmp_path / "two", *kept, CheckpointDropped("u-0", 6, "sha0", "not among the 3 best"))

    assert (trial.dropped, other.dropped) == ("not among the 3 best", None)


# what is known of a trial when it is over


def test_a_trial_tells_its_failure_its_values_its_violations_and_its_phases(tmp_path: Path) -> None:
    metrics = {
        "seconds": 9.0, "tracking_seconds": 0.25, "system/seconds_fit": 8.0, "system/seconds_build": 0.5,
        "best.val_loss": 0.5, "best.parameters": 1000.0, "best.epoch": 1.0,
    }  # fmt: skip
    tags = {"regatta.failure": "out_of_memory", "regatta.violations": '{"val_accuracy": 0.125, "seconds": -1.0}'}
    begun = RunBegun("u-0", "tiny", "trial-000", 1, "u", TRIAL)
    run = read_runs([begun, Logged("u-0", 9, 0, metrics, tags)])["u-0"]

    trial = run.as_trial("val_loss", None, None, ("val_loss", "parameters"))

    assert (trial.failure, trial.values) == ("out_of_memory", {"val_loss": 0.5, "parameters": 1000.0})
    assert trial.violations == {"val_accuracy": 0.125, "seconds": -1.0}
    assert not trial.feasible
    assert trial.phases == {"fit": 8.0, "build": 0.5, "tracking": 0.25}
    assert (trial.seconds, trial.curves) == (9.0, {})


def test_a_trial_of_an_older_journal_has_none_of_that(tmp_path: Path) -> None:
    trial = the_trial(tmp_path, Logged("u-0", 9, 0, {"seconds": 1.0, "best.val_loss": 0.5}))

    assert (trial.failure, dict(trial.values), dict(trial.violations), dict(trial.phases)) == (None, {}, {}, {})
    assert trial.feasible
    assert trial.code_sha256 is None


def test_a_metric_of_an_own_callback_that_is_called_as_the_rank_is_stays_a_curve(tmp_path: Path) -> None:
    logged = [Logged("u-0", step, step, {"loss": 1.0, "objective": 5.0}) for step in range(2)]

    assert the_trial(tmp_path, *logged).curves["objective"] == ((0, 5.0), (1, 5.0))
    assert "objective" not in the_trial(tmp_path / "other", Logged("u-0", 9, 0, {"objective": 0.5})).curves


def test_a_trial_says_which_code_of_the_users_it_ran(tmp_path: Path) -> None:
    assert the_trial(tmp_path, Logged("u-0", 9, tags={"regatta.user_code_sha256": "c" * 64})).code_sha256 == "c" * 64


def test_samples_of_the_machine_are_no_curves(tmp_path: Path) -> None:
    sampled = Logged("u-0", 5, 10, {"system/cpu_percent": 99.0, "system/memory_mb": 700.0})

    assert set(the_trial(tmp_path, Logged("u-0", 5, 0, {"loss": 1.0}), sampled).curves) == {"loss"}


# time


def begin(time_ms: int, uid: str = "u-0") -> RunBegun:
    return RunBegun(uid, "tiny", "trial-000", time_ms, "u", TRIAL)


def epoch(time_ms: int, number: int = 0) -> Logged:
    return Logged("u-0", time_ms, number, {"loss": 1.0})


TOLD = {"seconds": 4.0}


@pytest.mark.parametrize(
    ("entries", "seconds"),
    [
        ([begin(1000)], 0.0),
        ([begin(1000), epoch(3000)], 2.0),
        ([begin(1000), epoch(3000), Logged("u-0", 5000, 0, TOLD), RunEnded("u-0", 5000, "FINISHED")], 4.0),
        ([begin(1000), epoch(3000), RunEnded("u-0", 900_000, "KILLED")], 2.0),
        ([begin(1000), epoch(3000), begin(10_000), epoch(11_500, 1)], 3.5),
        ([begin(1000), epoch(3000), begin(10_000), epoch(11_500, 1), begin(20_000)], 3.5),
        # what a trial tells at its end counts the attempts before, too
        ([begin(1000), epoch(3000), begin(10_000), epoch(11_500, 1), Logged("u-0", 12_000, 0, TOLD)], 4.0),
        ([begin(1000), Logged("u-0", 5000, 0, TOLD), begin(10_000), epoch(11_500, 1)], 5.5),
        ([begin(1000), epoch(3000), FileKept("u-0", "x"), CheckpointKept("u-0", 99_000, "x", "x", 0, "x")], 2.0),
    ],
)
def test_device_seconds_count_attempts_whose_controller_was_killed(entries: list[Entry], seconds: float) -> None:
    assert device_seconds(read_runs(entries)["u-0"]) == seconds


@pytest.mark.parametrize(
    ("entries", "seconds"),
    [
        ([], 0.0),
        ([begin(1000, "u")], 0.0),
        ([begin(1000, "u"), begin(2000), epoch(5000)], 4.0),
        ([begin(1000, "u"), epoch(5000), begin(100_000, "u"), epoch(100_500), RunEnded("u", 101_000, "FINISHED")], 5.0),
        ([begin(500), epoch(800)], 0.0),
        # the clock was set back by an hour
        ([begin(3_600_000, "u"), epoch(3_605_000), epoch(2000), epoch(9000)], 5.0),
        ([begin(3_600_000, "u"), epoch(2000), begin(4000, "u"), epoch(5000)], 1.0),
        ([begin(1000, "u"), CheckpointKept("u-0", 99_000, "x", "x", 0, "x"), FileKept("u", "x")], 0.0),
    ],
)
def test_wall_seconds_add_up_over_the_starts_of_a_sweep(entries: list[Entry], seconds: float) -> None:
    assert wall_seconds(entries, "u") == seconds


def test_a_run_knows_when_it_was_begun_and_last_heard_of() -> None:
    run = read_runs([begin(1000), epoch(3000), begin(9000), FileKept("u-0", "x")])["u-0"]

    assert (run.begun_ms, run.last_ms) == (1000, 9000)


def test_a_run_that_goes_on_says_no_more_why_it_was_closed() -> None:
    closed = Logged("u-0", 2000, 0, tags={"regatta.reason": "interrupted", "end.reason": "gone", "other": "stays"})

    run = read_runs([begin(1000), closed, RunEnded("u-0", 3000, "KILLED"), begin(4000)])["u-0"]

    assert run.tags == {**TRIAL, "other": "stays"}
