"""MLflow's tables in a new SQLite file: they are all there, or the file is not.

MLflow makes them in dozens of steps, each for good, and refuses for ever a file in which they were broken off: where
the plug was pulled, or in a copy (`make backup`) of just that second. So they are made in a file of another name.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from services.tracking_server.settings import ARTIFACT_ROOT


def file_of(store: str) -> Path | None:
    """The file of the database with this URL; None where it is on a server, in memory, or has settings of its own."""
    from sqlalchemy.engine import make_url

    read = make_url(store)
    is_file = read.get_backend_name() == "sqlite" and read.database not in {None, "", ":memory:"} and not read.query
    return Path(str(read.database)) if is_file else None


def make_tables(database: Path) -> None:
    """Makes the tables, as they are for this version of MLflow, where there is no such file yet.

    Args:
        database: The file; its folder is made, too.
    """
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    part = database.with_name(f"{database.name}.part")
    for left in (part, part.with_name(f"{part.name}-journal")):
        left.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{part}", ARTIFACT_ROOT).engine.dispose()
    with closing(sqlite3.connect(part)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # stays with the file: readers and the writer do not wait
    part.rename(database)
