"""Opens the storage of studies on a database server, or says in a sentence why that cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError

from pipelines.errors import StudyError
from pipelines.study.patience import Patience, cause
from pipelines.study.sturdy import SturdyStorage

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

SCHEMA = "regatta"
"""The part of a PostgreSQL database that is Optuna's; MLflow, whose tables have names in common with Optuna's, may use
the rest."""
_EXAMPLE = "postgresql+psycopg://user:password@host:5432/database"
_CONNECTION = {
    "application_name": "regatta",
    "connect_timeout": 10,
    # A machine that vanishes says nothing: without these, an answer from it is waited for a quarter of an hour.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_BUSY = re.compile(
    r"too many (clients|connections)|remaining connection slots|starting up|shutting down|not yet accepting|recovery"
)
"""What a server says that will take connections some time soon."""
_LOCK = int.from_bytes(b"regatta", "big")
"""PostgreSQL's advisory lock under which tables are made: two sweeps may come to an empty database at once."""


def open_server(url: str, patience: Patience | None = None) -> SturdyStorage:
    """The storage behind the URL of a database, which gets Optuna's tables at the first time.

    A server that is about to take connections is waited for; one that is not there is not.

    Raises:
        StudyError: The URL is wrong, or the database cannot be reached or used.
    """
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    read = _read(url)
    name = shown(read)
    if read.drivername == "postgresql+psycopg" and find_spec("psycopg") is None:
        raise StudyError(
            f"Studies in {name} need the package psycopg, which is not installed here: pip install 'psycopg[binary]'"
        )
    patience = patience or Patience()
    try:
        return patience.keep(lambda: _open(read, patience), lambda error: bool(_BUSY.search(cause(error))))
    except (NoSuchModuleError, ImportError) as error:
        raise StudyError(f"Studies cannot be kept in {name}: {error}") from None
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        told = cause(error)
        raise StudyError(f"The studies' database {name} cannot be used: {told}. {_advice(told, read)}") from None


def shown(address: URL) -> str:
    """An address without what is secret in it."""
    return address.difference_update_query(["password"]).render_as_string(hide_password=True)


def _read(url: str) -> URL:
    """The parts of an address; nothing that is wrong with it is repeated, as a part of it is secret."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        read = make_url(url)
    except (ArgumentError, ValueError):
        raise StudyError(
            f"The address of the studies' database (REGATTA_STORAGE) must be a URL, such as {_EXAMPLE}"
        ) from None
    if "@" in (read.host or ""):
        raise StudyError(
            "The address of the studies' database (REGATTA_STORAGE) has more than one @. In a password, write %40 for "
            f"@, %3A for : and %2F for /, as in {_EXAMPLE}"
        )
    if read.drivername in {"postgres", "postgresql"}:
        read = read.set(drivername="postgresql+psycopg")
    return read


def _open(read: URL, patience: Patience) -> SturdyStorage:
    address = read.render_as_string(hide_password=False)
    if read.get_backend_name() != "postgresql":
        return SturdyStorage(address, patience=patience, engine_kwargs={"pool_pre_ping": True})
    connect = {name: value for name, value in _CONNECTION.items() if name not in read.query}
    own_schema = "options" not in read.query
    if own_schema:
        with _alone(address, connect) as connection:
            _make_schema(connection)
        connect["options"] = f"-csearch_path={SCHEMA}"
    settings: dict[str, Any] = {"pool_pre_ping": True, "connect_args": connect}
    with _alone(address, connect):
        return SturdyStorage(address, patience=patience, engine_kwargs=settings)


@contextmanager
def _alone(address: str, connect: dict[str, Any]) -> Iterator[Connection]:
    """A transaction beside which nobody else makes tables there."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(address, connect_args=connect, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        yield connection


def _make_schema(connection: Connection) -> None:
    """Makes Optuna's part of a PostgreSQL database where it is not there yet."""
    from sqlalchemy import inspect
    from sqlalchemy.schema import CreateSchema

    if SCHEMA not in inspect(connection).get_schema_names():
        connection.execute(CreateSchema(SCHEMA, if_not_exists=True))


def _advice(told: str, read: URL) -> str:
    """What to do about it."""
    if "authentication failed" in told or "no password supplied" in told:
        return "Correct the user or the password in REGATTA_STORAGE."
    if re.search(r"database .* does not exist", told):
        return f"Make it, with: CREATE DATABASE {read.database}; or correct REGATTA_STORAGE."
    if "permission denied" in told:
        return f"Allow it: GRANT CREATE ON DATABASE {read.database} TO {read.username}."
    if "no longer compatible" in told:
        return "Use the version of Optuna that made it, or a database of its own; docs/stack.md tells how to upgrade."
    return "Start it, or correct the address in REGATTA_STORAGE."
