"""MLflow's tables in a new file: whole, or not there."""

# mypy: allow-untyped-calls

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from services.tracking_server.tables import file_of, make_tables
from tests.sites import ROOT


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "mlflow" / "mlflow.db"


def test_a_file_has_a_path() -> None:
    assert file_of("sqlite:////home/mlflow.db") == Path("/home/mlflow.db")


@pytest.mark.parametrize(
    "store",
    ["postgresql+psycopg://me@host/mlflow", "sqlite://", "sqlite:///:memory:", "sqlite:////home/mlflow.db?timeout=30"],
)
def test_what_is_no_plain_file_has_none(store: str) -> None:
    assert file_of(store) is None


def test_what_is_made_is_what_mlflow_takes(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make_tables(database)

    assert [path.name for path in database.parent.iterdir()] == [database.name]
    store = SqlAlchemyStore(f"sqlite:///{database}", "mlflow-artifacts:/")  # refuses tables of another version
    assert [one.name for one in store.search_experiments()] == ["Default"]
    store.engine.dispose()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_is_there_is_left_alone(database: Path) -> None:
    database.parent.mkdir()
    database.write_bytes(b"somebody's")

    make_tables(database)

    assert database.read_bytes() == b"somebody's"


BROKEN_OFF = """
import os, sys
import alembic.command
from pathlib import Path
from services.tracking_server.tables import make_tables

def some_steps(config, revision):
    upgrade(config, "+20")
    os._exit(9)

upgrade, alembic.command.upgrade = alembic.command.upgrade, some_steps
make_tables(Path(sys.argv[1]))
"""


def test_what_was_broken_off_is_begun_anew(database: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BROKEN_OFF, str(database)], cwd=ROOT, check=False)
    assert done.returncode == 9
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db.part"]

    make_tables(database)

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (1,)
    assert [path.name for path in database.parent.iterdir()] == ["mlflow.db"]
