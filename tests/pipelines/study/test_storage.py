"""Databases: PostgreSQL, connections that are lost, and addresses that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError

from pipelines.errors import StudyError
from pipelines.home import Home
from pipelines.records import TrialState
from pipelines.search_space import SearchSpace
from pipelines.study import AskedTrial, Counts, Study
from pipelines.study import storage as storage_room
from pipelines.study.storage import SturdyStorage
from tests.faults.postgresql import Cluster
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import BRANCHES, ask, tried

CONFIG = recipe(search_space=BRANCHES, sampler={"name": "tpe", "n_startup_trials": 3}, pruner="median")
UID = "0123456789ab"


def execute(address: str, *statements: str) -> None:
    """Runs SQL beside the study."""
    import psycopg

    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def hang_up(address: str) -> None:
    """Ends every connection to the database but the one that asks for it."""
    execute(
        address,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def lost(*_: Any, **__: Any) -> None:
    """What Optuna raises where the server hangs up."""
    raise StorageInternalError("during the commit") from OperationalError("COMMIT", {}, Exception("server closed"))


@pytest.fixture
def sturdy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Study]:
    """Opens a study on a storage that does again what failed, without waiting in between."""
    pauses: list[float] = []

    def open_study() -> Study:
        def made(_: Any) -> SturdyStorage:
            return SturdyStorage(f"sqlite:///{tmp_path}/optuna.db", patience_s=3, sleep=pauses.append)

        monkeypatch.setattr("pipelines.study.door.open_storage", made)
        return Study(CONFIG, "postgresql://never", UID)

    return open_study


def ask_again(study: Study, number: int) -> AskedTrial:
    again = study.ask_again(number)
    SearchSpace(CONFIG.search_space).sample(again.optuna_trial)
    return again


class Flaky(SturdyStorage):
    """Loses its connection at every first try of whatever changes the storage: before or after it has done it."""

    after = False

    def _sturdily(self, do: Callable[[], Any]) -> Any:
        tries = 0

        def first_fails() -> Any:
            nonlocal tries
            tries += 1
            if tries > 1:
                return do()
            if self.after:
                do()
            return lost()

        return super()._sturdily(first_fails)


@pytest.mark.parametrize("after", [False, True], ids=["before it is done", "after it is done"])
def test_whatever_fails_once_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    def made(_: Any) -> SturdyStorage:
        kept = Flaky(f"sqlite:///{tmp_path}/optuna.db", sleep=lambda _: None)
        kept.after = after
        return kept

    monkeypatch.setattr("pipelines.study.door.open_storage", made)
    config = recipe(search_space=BRANCHES, enqueue=[{"batch_size": 64}], constraints={"seconds": {"most": 1}})
    with closing(Study(config, "postgresql://never", UID)) as study:
        numbers = [tried(study, config, 0.5, violations={"seconds": -1.0}).number for _ in range(4)]
        study.note_attempt(ask(study, config).number, 2)
        counts, records = study.counts(), study.records()
    with closing(Study(config, "postgresql://never", UID)) as study:
        assert study.counts() == counts == Counts(complete=4, running=1)
        assert study.records() == records

    assert numbers == [0, 1, 2, 3]


def test_a_trial_that_somebody_else_made_is_taken_into_account(sturdy: Callable[[], Study]) -> None:
    """Optuna's dashboard, for one, can add trials."""
    with closing(sturdy()) as study:
        tried(study, CONFIG, 0.5)
        assert study._trials.backend is not None
        study._trials.backend.create_new_trial(study._study._study_id)
        assert [ask(study, CONFIG).number for _ in range(2)] == [2, 3]
        assert study.counts() == Counts(complete=1, running=3)
        assert ask_again(study, 1).number == 1


def test_a_database_that_stays_away_is_one_sentence_and_costs_nothing(
    sturdy: Callable[[], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sturdy()) as study:
        asked = ask(study, CONFIG)
        with monkeypatch.context() as patched:
            patched.setattr(RDBStorage, "set_trial_state_values", lost)
            with pytest.raises(StudyError, match=r"is gone: server closed. .* the same command goes on"):
                study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.5})
    with closing(sturdy()) as study:
        assert study.unfinished() == [(0, 1)]


def test_what_is_no_lost_connection_is_not_done_again(
    sturdy: Callable[[], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def wrong(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise StorageInternalError("too long") from ValueError("too long")

    with closing(sturdy()) as study:
        asked = ask(study, CONFIG)
        monkeypatch.setattr(RDBStorage, "set_trial_state_values", wrong)
        with pytest.raises(StorageInternalError):
            study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.5})

    assert calls == [1]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "must be a URL, such as postgresql+psycopg://"),
        ("mongodb://user:secret@host/db", "Studies cannot be kept in mongodb://user:***@host/db"),
        ("postgresql://user:secret@127.0.0.1:1/db", r"postgresql+psycopg://user:***@127.0.0.1:1/db cannot be used"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        Study(CONFIG, url, UID)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_room, "find_spec", lambda name: None)

    with pytest.raises(StudyError, match=r"need the package psycopg.*pip install 'psycopg\[binary\]'"):
        Study(CONFIG, "postgresql://user:secret@127.0.0.1/db", UID)


def test_a_url_of_a_file_is_that_file(tmp_path: Path) -> None:
    with closing(Study(CONFIG, f"sqlite:///{tmp_path}/a/optuna.db")) as study:
        tried(study, CONFIG, 0.5)
    with closing(Study(CONFIG, tmp_path / "a" / "optuna.db")) as study:
        assert study.counts() == Counts(complete=1)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg", "postgres"])
def test_a_study_lives_in_postgresql_as_in_a_file(cluster: Cluster, driver: str) -> None:
    address = cluster.database()
    with closing(Study(CONFIG, address.replace("postgresql+psycopg", driver), UID)) as study:
        for number in range(6):
            tried(study, CONFIG, number / 10)
        tried(study, CONFIG, 9.0, TrialState.FAILED, infeasible=True)
        study.note_attempt(ask(study, CONFIG).number, 3)
        records = study.records()
    with closing(Study(CONFIG, address, UID)) as study:
        assert study.records() == records
        assert study.counts() == Counts(complete=6, failed=1, running=1)
        assert study.unfinished() == [(7, 3)]
        assert study.front() == (0,)
        study.restore(9, {"batch_size": 32}, TrialState.COMPLETE, {"val_loss": 0.5}, {0: 0.5})
        assert ask(study, CONFIG).number == 8


def test_studies_of_one_name_stand_side_by_side_in_a_shared_database(cluster: Cluster) -> None:
    address = cluster.database()
    for uid in ("a" * 12, "b" * 12):
        with closing(Study(CONFIG, address, uid)) as study:
            tried(study, CONFIG, 0.5)
            assert study.counts() == Counts(complete=1)


def test_mlflow_may_use_the_same_database(cluster: Cluster) -> None:
    """Both keep their schema's version in a table of the same name."""
    address = cluster.database()
    execute(address, "CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('mlflow')")

    with closing(Study(CONFIG, address, UID)) as study:
        tried(study, CONFIG, 0.5)
        assert study.counts() == Counts(complete=1)


def test_a_study_begins_with_an_older_one_in_the_same_database(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.database()
    home, uids = Home(tmp_path), iter(("a" * 12, "b" * 12, "c" * 12))
    warm = recipe(search_space=BRANCHES, warm_start="tiny")
    for trials, config in ((2, CONFIG), (4, CONFIG), (1, warm)):
        uid = next(uids)
        with closing(Study(config, address, uid)) as study:
            said = study.begin(home)
            for _ in range(trials):
                tried(study, config, 0.5)
        folder = home.study("tiny")
        folder.root.mkdir(parents=True, exist_ok=True)
        folder.facts.write_text(json.dumps({"uid": uid, "config": config.model_dump(mode="json")}))
        folder.set_aside()

    assert said[0].startswith("4 of the 4 trials of study 'tiny, set aside")


@pytest.mark.parametrize("moment", range(6))
def test_a_connection_that_is_lost_at_any_moment_costs_nothing(cluster: Cluster, moment: int) -> None:
    address = cluster.database()
    hang_ups = [lambda: None] * 6
    hang_ups[moment] = lambda: hang_up(address)
    with closing(Study(CONFIG, address, UID)) as study:
        tried(study, CONFIG, 0.5)
        hang_ups[0]()
        asked = ask(study, CONFIG)
        hang_ups[1]()
        study.note_attempt(asked.number, 2)
        hang_ups[2]()
        study.report(asked.number, 0, 0.9)
        hang_ups[3]()
        study.should_stop(asked.number, 1, 0.8)
        hang_ups[4]()
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.8}, violations={"seconds": -1.0})
        hang_ups[5]()
        tried(study, CONFIG, 0.5)
        assert study.counts() == Counts(complete=3)
        assert study._study.get_trials(deepcopy=False)[1].intermediate_values == {0: 0.9, 1: 0.8}


def test_a_server_that_restarts_in_the_middle_is_waited_for(cluster: Cluster) -> None:
    address = cluster.database()
    with closing(Study(CONFIG, address, UID)) as study:
        backend = study._trials.backend
        assert isinstance(backend, SturdyStorage)
        asked = ask(study, CONFIG)
        pauses: list[float] = []

        def starts_again(pause: float) -> None:
            pauses.append(pause)
            if len(pauses) == 3:
                cluster.start()

        backend._sleep = starts_again
        cluster.stop()
        study.report(asked.number, 0, 0.5)
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.5})
        assert pauses == [0.0, 0.5, 1.0]
        assert study.counts() == Counts(complete=1)
    with closing(Study(CONFIG, address, UID)) as study:
        assert study.counts() == Counts(complete=1)
