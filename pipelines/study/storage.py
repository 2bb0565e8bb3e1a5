"""Where Optuna keeps a study: an SQLite file, a database server, or memory."""

from __future__ import annotations

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from pipelines.study.server import open_server


def open_storage(where: Path | str | None) -> RDBStorage | None:
    """The storage in an SQLite file, or behind the URL of a database; None keeps a study in memory.

    Raises:
        StudyError: The database cannot be reached or used.
    """
    if where is None:
        return None
    if isinstance(where, Path):
        return _sqlite(where)
    if where.startswith("sqlite:///"):
        return _sqlite(Path(where.removeprefix("sqlite:///")))
    return open_server(where)


@contextlib.contextmanager
def no_experimental_warnings() -> Iterator[None]:
    """Without Optuna's warnings of what is new in it; pyproject.toml says which Optuna it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _sqlite(path: Path) -> RDBStorage:
    """A storage with one writer, for which a write-ahead log makes commits cost microseconds, not milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, timeout=20)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last commits, never the file
        return connection

    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})
