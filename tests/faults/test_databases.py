"""Optuna and MLflow on PostgreSQL by URL alone, and what befalls a database while sweeps run: nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.faults.places import Place, made_place
from tests.faults.postgresql import GUARDED, SECRET, Cluster
from tests.faults.watching import SweepAt
from tests.faults.whole import assert_whole

EPOCHS = 10
FLAGS = ("--no-promote", "--set", f"epochs={EPOCHS}", "--lanes", "off")
STORE, STORAGE = "MLFLOW_BACKEND_STORE_URI", "REGATTA_STORAGE"
LONGER_THAN_ANY_REQUEST_S = 26.0


@pytest.fixture
def databases(cluster: Cluster) -> dict[str, str]:
    """A database for each, of a user with a password."""
    return {STORE: cluster.database(guarded=True), STORAGE: cluster.database(guarded=True)}


@pytest.fixture
def guarded_place(tmp_path: Path, study: str, databases: dict[str, str]) -> Iterator[Place]:
    """A fresh home whose own tracking server is on PostgreSQL, as are its studies."""
    with made_place(tmp_path / "home", study, databases) as made:
        yield made


def names(databases: dict[str, str]) -> list[str]:
    return [address.rpartition("/")[2] for address in databases.values()]


def past(at: SweepAt, trials: int) -> None:
    """Waits until so many trials are over, and another one is in the middle."""
    at.until(lambda: at.trials_over() >= trials)
    epochs = at.epochs()
    at.until(lambda: at.epochs() > epochs + 2)


def files_with(secret: str, home: Path) -> list[str]:
    """The files that hold a text."""
    files = [path for path in home.rglob("*") if path.is_file()]
    return [str(path.relative_to(home)) for path in files if secret.encode() in path.read_bytes()]


def test_killed_cut_paused_and_full_in_the_middle_of_a_sweep_it_loses_nothing(
    guarded_place: Place, cluster: Cluster, databases: dict[str, str]
) -> None:
    at = guarded_place.begin("--trials", "12", *FLAGS)
    past(at, 1)
    cluster.kill()
    at.let_run(3)
    cluster.start()
    past(at, 3)
    for name in names(databases):
        cluster.hang_up(name)
    past(at, 5)
    with cluster.paused():
        at.let_run(3)
    past(at, 7)
    cluster.execute(f"ALTER ROLE {GUARDED} CONNECTION LIMIT 0")
    try:
        for name in names(databases):
            cluster.hang_up(name)
        at.let_run(3)
    finally:
        cluster.execute(f"ALTER ROLE {GUARDED} CONNECTION LIMIT -1")
    summary = at.watched.summary()

    assert_whole(guarded_place.server, summary, 12, EPOCHS)
    assert "Traceback" not in at.watched.said
    for secret in (SECRET, unquote(SECRET)):
        assert secret not in at.watched.said
        assert files_with(secret, guarded_place.site.home) == []


def test_a_pause_that_is_longer_than_any_request_waits_doubles_nothing(guarded_place: Place, cluster: Cluster) -> None:
    at = guarded_place.begin("--trials", "6", *FLAGS)
    past(at, 1)
    with cluster.paused():
        at.let_run(LONGER_THAN_ANY_REQUEST_S)
    summary = at.watched.summary()

    assert_whole(guarded_place.server, summary, 6, EPOCHS)
    assert "The database of the study has not answered for" in at.watched.said
    assert "The database of the study is back" in at.watched.said


def test_two_sweeps_on_one_empty_database_at_once_are_both_whole(
    tmp_path: Path, study: str, cluster: Cluster, guarded_place: Place
) -> None:
    both = cluster.database(guarded=True)  # for MLflow's tables, too
    with made_place(tmp_path / "another", study, {STORE: both, STORAGE: both}) as place:
        first = place.begin("--trials", "3", "--workers", "1", *FLAGS)
        second = place.begin("--trials", "3", "--workers", "1", *FLAGS, "--set", "study=second")
        one, two = first.watched.summary(), second.watched.summary()

        assert_whole(place.server, one, 3, EPOCHS)
        assert_whole(place.server, two, 3, EPOCHS)


@pytest.mark.parametrize("variable", [STORE, STORAGE])
def test_a_wrong_password_is_one_sentence_before_anything_is_trained(
    tmp_path: Path, study: str, databases: dict[str, str], variable: str
) -> None:
    wrong = {**databases, variable: databases[variable].replace(SECRET, "not-the-word")}
    with made_place(tmp_path / "home", study, wrong) as place:
        done = place.run(*place.flags("--trials", "1"))

    assert done.returncode == 2, done.stderr
    assert "password authentication failed" in done.stderr
    assert "Traceback" not in done.stderr
    for secret in ("not-the-word", SECRET):
        assert secret not in done.stdout + done.stderr
        assert files_with(secret, tmp_path / "home") == []
