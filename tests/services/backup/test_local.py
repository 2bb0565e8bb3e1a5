"""A home and its databases, copied and brought back by the command line; what is in the way, and what is missing."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pipelines.study import Counts, Study
from services.backup import __main__ as command
from services.backup.archive import verify
from tests.faults import postgresql
from tests.faults.postgresql import SECRET, Cluster
from tests.pipelines.scripted import recipe
from tests.pipelines.study.common import BRANCHES, tried

CONFIG = recipe(search_space=BRANCHES)
UID = "0123456789ab"
STORE, STORAGE = "MLFLOW_BACKEND_STORE_URI", "REGATTA_STORAGE"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL cluster."""
    reason = postgresql.missing()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.running_cluster() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a study, which the environment names."""
    for name in (STORE, STORAGE, "MLFLOW_ARTIFACTS_DESTINATION"):
        monkeypatch.delenv(name, raising=False)
    return made(tmp_path / "home", monkeypatch)


def made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    study = home / "studies" / "tiny"
    study.mkdir(parents=True)
    (study / "journal.jsonl").write_text('{"kind":"begun"}\n')
    (study / "study.json").write_text("{}")
    monkeypatch.setenv("REGATTA_HOME", str(home))
    return home


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    another = tmp_path / "another"
    monkeypatch.setenv("REGATTA_HOME", str(another))
    return another


def backed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert command.main(["backup", "--to", str(tmp_path / "to"), "--stack", "local"]) == 0
    return Path(capsys.readouterr().out.strip())


def files_in(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_home_comes_back_in_an_empty_place(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Study(CONFIG, home / "studies" / "tiny" / "optuna.db", UID)) as study:
        tried(study, CONFIG, 0.5)
    path = backed_up(tmp_path, capsys)
    another = elsewhere(tmp_path, monkeypatch)

    assert command.main(["restore", str(path)]) == 0

    assert set(files_in(another)) == {f"studies/tiny/{name}" for name in ("journal.jsonl", "study.json", "optuna.db")}
    with closing(Study(CONFIG, another / "studies" / "tiny" / "optuna.db", UID)) as study:
        assert study.counts() == Counts(complete=1)
    assert "files of 2" in capsys.readouterr().err


def test_nothing_is_overwritten_unasked_and_kept_aside_where_it_is_asked(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = backed_up(tmp_path, capsys)
    journal = home / "studies" / "tiny" / "journal.jsonl"
    journal.write_text("later\n")
    before = files_in(home)

    assert command.main(["restore", str(path)]) == 2
    assert f"There is something already: {home}/studies. Nothing was changed." in capsys.readouterr().err
    assert files_in(home) == before

    assert command.main(["restore", str(path), "--force"]) == 0
    assert journal.read_text() == '{"kind":"begun"}\n'
    (aside,) = home.glob("before-restore-*/studies/tiny/journal.jsonl")
    assert aside.read_text() == "later\n"


def test_an_empty_home_is_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGATTA_HOME", str(tmp_path / "nothing"))

    assert command.main(["backup", "--to", str(tmp_path / "to"), "--stack", "local"]) == 2

    assert "There is nothing to keep in" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_sweep_that_runs_there_is_in_the_way(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = backed_up(tmp_path, capsys)
    with (home / "studies" / "tiny" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert command.main(["restore", str(path), "--force"]) == 2

    assert "A sweep of study 'tiny' runs in" in capsys.readouterr().err


def test_a_service_that_runs_there_is_in_the_way(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = backed_up(tmp_path, capsys)
    own = psutil.Process()
    told = {"pid": own.pid, "created": own.create_time(), "address": "http://127.0.0.1:1", "command": own.cmdline()}
    (home / "run").mkdir()
    (home / "run" / "tracking_server.json").write_text(json.dumps(told))

    assert command.main(["restore", str(path), "--force"]) == 2

    assert f"tracking_server run in {home}. Stop them first: make down-local" in capsys.readouterr().err


def test_artifacts_in_a_bucket_are_said_to_be_elsewhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/folder")

    path = backed_up(tmp_path, capsys)

    assert verify(path).notes == ("Artifacts are in s3://bucket/folder, and not in this file; keep that, too.",)


def test_databases_come_back_into_empty_ones_and_not_unasked_into_used_ones(
    home: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both = cluster.database(guarded=True)  # as MLflow and Optuna may share one
    name = both.rpartition("/")[2]
    cluster.execute("SET ROLE guarded; CREATE TABLE runs (run_uuid text); INSERT INTO runs VALUES ('r1')", name)
    with closing(Study(CONFIG, both, UID)) as study:
        tried(study, CONFIG, 0.5)
    monkeypatch.setenv(STORE, both)
    monkeypatch.setenv(STORAGE, both)
    path = backed_up(tmp_path, capsys)
    assert {"databases/mlflow.dump", "databases/optuna.dump"} <= set(verify(path).files)

    assert command.main(["restore", str(path)]) == 2
    assert f"the database of {STORE}, the database of {STORAGE}" in capsys.readouterr().err

    elsewhere(tmp_path, monkeypatch)
    empty = cluster.database(guarded=True)
    monkeypatch.setenv(STORE, empty)
    monkeypatch.setenv(STORAGE, empty)
    assert command.main(["restore", str(path)]) == 0, capsys.readouterr().err
    with closing(Study(CONFIG, empty, UID)) as study:
        assert study.counts() == Counts(complete=1)
        tried(study, CONFIG, 0.25)
    rows = "DO $$ BEGIN ASSERT (SELECT count(*) = 1 FROM runs); END $$"
    cluster.execute(rows, empty.rpartition("/")[2])

    assert command.main(["restore", str(path), "--force"]) == 0, capsys.readouterr().err
    with closing(Study(CONFIG, empty, UID)) as study:
        assert study.counts() == Counts(complete=1)


def test_a_database_where_no_sweep_was_yet_is_no_hindrance(
    home: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORAGE, cluster.database(guarded=True))
    path = backed_up(tmp_path, capsys)
    elsewhere(tmp_path, monkeypatch)

    assert verify(path).below("databases") == []
    assert command.main(["restore", str(path)]) == 0


def test_the_variables_must_fit_what_was_copied(
    home: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Study(CONFIG, home / "studies" / "tiny" / "optuna.db", UID)) as study:
        tried(study, CONFIG, 0.5)
    in_files = backed_up(tmp_path, capsys)
    address = cluster.database(guarded=True)
    Study(CONFIG, address, UID).close()
    monkeypatch.setenv(STORAGE, address)
    on_server = backed_up(tmp_path, capsys)
    elsewhere(tmp_path, monkeypatch)

    assert command.main(["restore", str(in_files)]) == 2
    assert "Bring it back without that variable" in capsys.readouterr().err
    monkeypatch.delenv(STORAGE)
    assert command.main(["restore", str(on_server)]) == 2
    assert f"Set {STORAGE} to the URL of a database" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://me:secret@host/db", "names mysql; only PostgreSQL"),
        ("nothing", "REGATTA_STORAGE is no URL"),
        ("postgresql://me:secret@127.0.0.1:1/db", "The database of REGATTA_STORAGE cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_copied_is_one_sentence_and_leaves_no_file(
    home: Path,
    tmp_path: Path,
    address: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if postgresql.missing():
        pytest.skip("PostgreSQL's programs are not installed")
    monkeypatch.setenv(STORAGE, address)

    assert command.main(["backup", "--to", str(tmp_path / "to"), "--stack", "local"]) == 2

    said = capsys.readouterr().err
    assert words in said
    assert "secret" not in said
    assert not list((tmp_path / "to").glob("*")) if (tmp_path / "to").exists() else True


def test_a_password_is_in_no_command_line(
    home: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, seen = subprocess.run, []

    def watched(arguments: list[str], **more: object) -> object:
        seen.append(" ".join(arguments))
        return run(arguments, **more)  # type: ignore[call-overload]

    address = cluster.database(guarded=True)
    Study(CONFIG, address, UID).close()
    monkeypatch.setenv(STORAGE, address)
    monkeypatch.setattr("services.backup.databases.subprocess.run", watched)
    backed_up(tmp_path, capsys)

    assert any("pg_dump" in line for line in seen)
    for secret in (SECRET, SECRET.replace("%40", "@")):
        assert not any(secret in line for line in seen)


def test_the_command_is_light(home: Path) -> None:
    """It copies; it does not import what it copies for."""
    heavy = "mlflow", "tensorflow", "optuna", "boto3"
    code = f"import sys, services.backup.__main__; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert done.stdout.strip() == "[]"
