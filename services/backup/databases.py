"""Copies of PostgreSQL databases that are given by URL, by PostgreSQL's programs; no command line has a password."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.backup.archive import BackupError

if TYPE_CHECKING:
    from sqlalchemy import URL

OPTUNAS_SCHEMA = "regatta"
"""Where a sweep keeps Optuna's tables, unless its URL says otherwise."""
_INSTALLED = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Database:
    """A database that one variable of the environment names.

    Attributes:
        name: `mlflow` or `optuna`: of its file in an archive.
        variable: The variable.
        rows: A table of which there is a row once somebody has used it.
    """

    name: str
    variable: str
    rows: str

    @property
    def file(self) -> str:
        """Its name in an archive."""
        return f"databases/{self.name}.dump"


MLFLOW = Database("mlflow", "MLFLOW_BACKEND_STORE_URI", "runs")
OPTUNA = Database("optuna", "REGATTA_STORAGE", "studies")
BOTH = (MLFLOW, OPTUNA)


def url_of(database: Database, environ: Mapping[str, str]) -> URL | None:
    """Its URL where it is on a PostgreSQL server; None where it is a file of the home.

    Raises:
        BackupError: It is in a database of another kind.
    """
    named = environ.get(database.variable)
    if not named:
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(named)
    except (ArgumentError, ValueError):
        raise BackupError(f"{database.variable} is no URL of a database.") from None
    if url.drivername.partition("+")[0] not in {"postgres", "postgresql"}:
        raise BackupError(
            f"{database.variable} names {url.drivername}; only PostgreSQL, and the files of a home, can be copied."
        )
    return url.set(drivername="postgresql")


def dump(database: Database, url: URL, target: Path) -> bool:
    """Writes a copy of a database, as it is at one moment, to a file; False where there is nothing in it yet.

    Raises:
        BackupError: It cannot be reached, or PostgreSQL's programs are missing or older than it.
    """
    which = [f"--exclude-schema={OPTUNAS_SCHEMA}"]
    if database is OPTUNA:
        which = [] if "options" in url.query else [f"--schema={OPTUNAS_SCHEMA}"]
        find = f"SELECT 1 FROM pg_namespace WHERE nspname = '{OPTUNAS_SCHEMA}'"
        if which and not _ask(database, url, find):  # no sweep was here
            return False
    _run("pg_dump", ["--format=custom", *which, f"--file={target}"], url)
    return True


def used(database: Database, url: URL) -> bool:
    """Whether there is something in it that bringing a copy back would take the place of.

    Raises:
        BackupError: It cannot be reached.
    """
    is_its = f"schemaname <> '{OPTUNAS_SCHEMA}'"
    if database is OPTUNA:
        is_its = "true" if "options" in url.query else f"schemaname = '{OPTUNAS_SCHEMA}'"
    found = _ask(database, url, f"SELECT schemaname FROM pg_tables WHERE tablename = '{database.rows}' AND {is_its}")
    return any(_ask(database, url, f'SELECT 1 FROM "{schema}"."{database.rows}" LIMIT 1') for (schema,) in found)


def bring_back(url: URL, source: Path) -> None:
    """Has a database be what it was when it was copied; all of it or nothing.

    Raises:
        BackupError: It cannot be reached, or holds what is in the way.
    """
    options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", [*options, str(source)], url)


def _ask(database: Database, url: URL, query: str) -> list[tuple[Any, ...]]:
    import psycopg

    try:
        with psycopg.connect(_address(url), password=_password(url), connect_timeout=10) as connection:
            return connection.execute(query.encode()).fetchall()
    except psycopg.Error as error:
        told = (str(error).strip().splitlines() or ["it does not answer"])[0]
        raise BackupError(f"The database of {database.variable} cannot be reached: {told}") from None


def _run(program: str, options: list[str], url: URL) -> None:
    command = [_program(program), *options, "--no-password", f"--dbname={_address(url)}"]
    password = _password(url)
    told = {"PGPASSWORD": password} if password else {}
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupError(f"{program} failed: {' '.join(done.stderr.split())[:600]}")


def _password(url: URL) -> str | None:
    named = url.password or url.query.get("password")
    return named if isinstance(named, str) else None


def _address(url: URL) -> str:
    """As PostgreSQL's programs take it, without the password."""
    from sqlalchemy import URL

    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return bare.difference_update_query(["password"]).render_as_string(hide_password=False)


def _program(name: str) -> str:
    """The newest that is installed: an older one does not read a newer server."""
    found = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        raise BackupError(f"{name} is not installed here; it comes with PostgreSQL's client (postgresql-client).")
    return program
