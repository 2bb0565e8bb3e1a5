"""`reconcile --check` sees what does not agree, and `reconcile` mends what can be mended, once."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.faults.places import Place, made_place
from tests.faults.whole import assert_whole

EPOCHS = 4
FLAGS = ("--trials", "3", "--set", f"epochs={EPOCHS}", "--executor", "inline")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A whole sweep, on a server of its own, which tests damage and mend again."""
    with made_place(tmp_path_factory.mktemp("reconciled") / "home", "reconciled", {}) as place:
        assert_whole(place.server, place.sweep(*FLAGS), 3, EPOCHS)
        yield place


def check(place: Place) -> tuple[int, str]:
    done = place.run("reconcile", "--check")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def mend(place: Place) -> str:
    done = place.run("reconcile")
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_whole_sweep_is_in_order(whole: Place) -> None:
    code, said = check(whole)

    assert code == 0, said


def test_a_run_that_is_open_without_a_controller_is_seen_and_closed(whole: Place) -> None:
    experiment = whole.server.experiment(whole.study)
    run = next(run for run in whole.server.runs(experiment) if run.trial == 1)
    whole.server.post("runs/update", run_id=run.run_id, status="RUNNING")

    code, said = check(whole)
    assert code == 1, said
    assert next(each.status for each in whole.server.runs(experiment) if each.run_id == run.run_id) == "RUNNING"
    mend(whole)

    assert "RUNNING" not in {each.status for each in whole.server.runs(experiment)}
    assert does_nothing_more(whole)


def test_points_that_the_server_has_lost_are_seen_and_sent_again(whole: Place) -> None:
    lost = next(run for run in whole.server.runs(whole.server.experiment(whole.study)) if run.trial == 2)
    with closing(sqlite3.connect(whole.site.home / "mlflow" / "mlflow.db", timeout=20)) as database, database:
        gone = database.execute("DELETE FROM metrics WHERE run_uuid = ? AND step >= 2", (lost.run_id,))
        assert gone.rowcount > 2
    assert len(whole.server.history(lost.run_id, "val_loss")) == 2

    code, said = check(whole)
    assert code == 1, said
    mend(whole)

    assert [point.step for point in whole.server.history(lost.run_id, "val_loss")] == list(range(EPOCHS))
    assert does_nothing_more(whole)


def test_a_server_that_has_lost_everything_gets_everything_again(whole: Place) -> None:
    assert whole.site.local("down", "tracking_server").returncode == 0
    shutil.rmtree(whole.site.home / "mlflow")

    code, said = check(whole)
    assert code == 1, said
    mend(whole)

    runs = whole.server.runs(whole.server.experiment(whole.study))
    assert {run.status for run in runs} == {"FINISHED"}
    trials = [run for run in runs if run.trial is not None]
    assert sorted(run.trial or 0 for run in trials) == [0, 1, 2]
    for run in trials:
        assert [point.step for point in whole.server.history(run.run_id, "val_loss")] == list(range(EPOCHS))

    code, said = check(whole)  # the registry was lost, too, which only a judge can bring back
    assert (code, f"regatta promote {whole.study}" in said) == (1, True), said
    assert whole.run("promote", whole.study).returncode == 0
    assert does_nothing_more(whole)


def test_a_checkpoint_whose_file_is_gone_is_seen_and_brought_back_from_mlflow(whole: Place) -> None:
    gone = sorted((whole.folder / "trials").rglob("best.keras"))[0]
    content = gone.read_bytes()
    gone.unlink()

    code, said = check(whole)
    assert code == 1, said
    assert gone.parent.name in said
    mend(whole)

    assert gone.read_bytes() == content
    assert does_nothing_more(whole)


def does_nothing_more(place: Place) -> bool:
    """Whether a second `reconcile` after the first has nothing to do: it tells of nothing, and changes no run."""
    before = place.server.runs(place.server.experiment(place.study))
    said = mend(place)
    assert said.splitlines() == [f"{place.study}: 0 journal entries delivered"]
    return place.server.runs(place.server.experiment(place.study)) == before
