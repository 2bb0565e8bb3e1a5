"""Databases: PostgreSQL, connections that are lost, and addresses that are wrong."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from pipelines.errors import StudyError
from pipelines.home import Home
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialState
from pipelines.study import AskedTrial, Counts, Study
from pipelines.study import server as server_room
from pipelines.study.mirror import Mirror
from pipelines.study.patience import Patience
from pipelines.study.sturdy import SturdyStorage, lost_connection
from tests.faults.postgresql import GUARDED, SECRET, Cluster
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
            return SturdyStorage(f"sqlite:///{tmp_path}/optuna.db", patience=Patience(3, pauses.append))

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
        kept = Flaky(f"sqlite:///{tmp_path}/optuna.db", patience=Patience(sleep=lambda _: None))
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
    with monkeypatch.context() as patched, closing(sturdy()) as study:
        asked = ask(study, CONFIG)
        study.note_attempt(asked.number, 1)
        patched.setattr(Mirror, "_write", lost)
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
        monkeypatch.setattr(Mirror, "_write", wrong)
        with pytest.raises(StorageInternalError):
            study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.5})

    assert calls == [1, 1], "once as the trial ends, once more as the study is closed"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "must be a URL, such as postgresql+psycopg://"),
        ("postgresql://user:se@cret@host/db", "has more than one @. In a password, write %40 for @"),
        ("postgresql://user:secret@host:secret/db", "must be a URL, such as postgresql+psycopg://"),
        ("postgresql://127.0.0.1:1/db?password=secret&user=me", "127.0.0.1:1/db?user=me cannot be used"),
        ("postgresql://user:secret@nowhere.invalid/db", "nowhere.invalid/db cannot be used"),
        ("mongodb://user:secret@host/db", "Studies cannot be kept in mongodb://user:***@host/db"),
        ("postgresql://user:secret@127.0.0.1:1/db", r"postgresql+psycopg://user:***@127.0.0.1:1/db cannot be used"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_sentence_without_its_password(url: str, words: str) -> None:
    with pytest.raises(StudyError) as caught:
        Study(CONFIG, url, UID)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "cret@" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_room, "find_spec", lambda name: None)

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

        backend.patience.sleep = starts_again
        cluster.stop()
        study.report(asked.number, 0, 0.5)
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.5})
        assert pauses == [0.0, 0.5, 1.0]
        assert study.counts() == Counts(complete=1)
    with closing(Study(CONFIG, address, UID)) as study:
        assert study.counts() == Counts(complete=1)


def refused(url: str) -> str:
    """What is said where a database cannot be used."""
    with pytest.raises(StudyError) as caught:
        Study(CONFIG, url, UID)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_password_is_told_with_what_to_do_and_without_the_password(cluster: Cluster) -> None:
    said = refused(cluster.database(guarded=True).replace(SECRET, "not-the-word"))

    assert "password authentication failed" in said
    assert said.endswith("Correct the user or the password in REGATTA_STORAGE.")
    assert f"{GUARDED}:***@" in said
    assert "not-the-word" not in said


def test_a_database_that_was_not_made_yet_is_told_with_the_way_to_make_it(cluster: Cluster) -> None:
    said = refused(cluster.database().rpartition("/")[0] + "/nothing")

    assert 'database "nothing" does not exist' in said
    assert "CREATE DATABASE nothing" in said


def test_a_user_who_may_make_no_tables_is_told_what_to_allow(cluster: Cluster) -> None:
    address = cluster.database().replace("regatta@", f"{GUARDED}:{SECRET}@")

    said = refused(address)

    assert "permission denied for database" in said
    assert f"GRANT CREATE ON DATABASE {address.rpartition('/')[2]} TO {GUARDED}" in said


def test_tables_of_another_version_of_optuna_are_left_alone(cluster: Cluster) -> None:
    address = cluster.database()
    Study(CONFIG, address, UID).close()
    execute(address, "UPDATE regatta.alembic_version SET version_num = 'v0.9.0.a'")

    said = refused(address)

    assert "no longer compatible with the table schema" in said
    assert "docs/stack.md tells how to upgrade" in said


def test_four_sweeps_may_come_to_an_empty_database_at_the_same_moment(cluster: Cluster) -> None:
    address = cluster.database(guarded=True)

    def begin(number: int) -> Counts:
        with closing(Study(CONFIG, address, f"{number}" * 12)) as study:
            tried(study, CONFIG, 0.5)
            return study.counts()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(begin, range(4))) == [Counts(complete=1)] * 4


def test_a_server_without_a_free_connection_is_waited_for_also_at_the_start(cluster: Cluster) -> None:
    import psycopg

    address = cluster.database(guarded=True)
    cluster.execute(f"ALTER ROLE {GUARDED} CONNECTION LIMIT 1")
    pauses: list[float] = []
    with ExitStack() as open_ones:
        held = open_ones.enter_context(psycopg.connect(address.replace("+psycopg", "")))

        def frees(pause: float) -> None:
            pauses.append(pause)
            if len(pauses) == 3:
                held.close()
                cluster.execute(f"ALTER ROLE {GUARDED} CONNECTION LIMIT -1")

        try:
            opened = server_room.open_server(address, Patience(sleep=frees))
        finally:
            cluster.execute(f"ALTER ROLE {GUARDED} CONNECTION LIMIT -1")
    opened.engine.dispose()

    assert pauses[:3] == [0.0, 0.5, 1.0]


def test_a_standby_that_takes_no_writes_yet_is_waited_for(cluster: Cluster) -> None:
    """What a failover looks like to those who are connected again before it is through."""
    address = cluster.database()
    with closing(Study(CONFIG, address, UID)) as study:
        backend = study._trials.backend
        assert isinstance(backend, SturdyStorage)
        asked, pauses = ask(study, CONFIG), []
        name = address.rpartition("/")[2]
        cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        cluster.hang_up(name)

        def is_promoted(pause: float) -> None:
            pauses.append(pause)
            if len(pauses) == 4:
                cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")

        backend.patience.sleep = is_promoted
        study.tell(asked.number, TrialState.COMPLETE, {"val_loss": 0.5})
    with closing(Study(CONFIG, address, UID)) as study:
        assert study.counts() == Counts(complete=1)
    assert len(pauses) == 4


def test_a_long_absence_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    tries, patience = iter(range(6)), Patience(sleep=lambda _: None, clock=lambda: 0.0)

    def works_in_the_end() -> str:
        if next(tries) < 5:
            lost()
        return "done"

    assert patience.keep(works_in_the_end, lost_connection) == "done"

    away, back = (record.getMessage() for record in caplog.records)
    assert away.startswith("The database of the study does not answer: server closed. Training goes on")
    assert "for up to 300 s, and nothing is lost" in away
    assert back == "The database of the study is back, after 0 s."


def test_a_server_that_stands_still_is_told_while_it_does(caplog: pytest.LogCaptureFixture) -> None:
    patience, seen = Patience(clock=count(step=3).__next__), threading.Event()

    def sees(_: logging.LogRecord) -> bool:
        seen.set()
        return True

    caplog.handler.addFilter(sees)

    def hangs() -> bool:
        return seen.wait(60)

    assert patience.keep(hangs, lost_connection), "nothing was told while it took"

    hung, back = (record.getMessage() for record in caplog.records)
    assert hung.startswith("The database of the study has not answered for ")
    assert back.startswith("The database of the study is back, after ")


def test_what_answers_in_time_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience(clock=lambda: 0.0)
    assert patience.keep(lambda: patience.keep(lambda: "done", lost_connection), lost_connection) == "done"
    assert not caplog.records


def test_who_has_waited_in_vain_does_not_wait_again() -> None:
    pauses: list[float] = []
    patience = Patience(3, pauses.append)
    for _ in range(2):
        with pytest.raises(StudyError, match="is gone"):
            patience.keep(lost, lost_connection)

    assert pauses == [0.0, 0.5, 1.0, 2.0], "the second time it is tried once"
