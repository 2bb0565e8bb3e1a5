"""Where the tracking server keeps its records and its files, as the environment says, without containers.

`MLFLOW_BACKEND_STORE_URI` is the URL of a database, `MLFLOW_ARTIFACTS_DESTINATION` a folder or an address such as
`s3://bucket/folder`; both are names of MLflow's own. Without them, all of it is in a folder of `REGATTA_HOME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from services.processes import LocalError

if TYPE_CHECKING:
    from sqlalchemy import URL

RECORDS, FILES = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION"
_TIMEOUT_S = 10
_CONNECTION = {
    "connect_timeout": str(_TIMEOUT_S),
    # A machine that vanishes says nothing: without these, an answer from it is waited for a quarter of an hour.
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


class StoreError(LocalError):
    """A database or a bucket cannot be used as it is given."""


def records_of(environ: Mapping[str, str], home: Path) -> str:
    """The URL of the database with MLflow's tables: with the driver that Regatta brings, and bounds to its waiting.

    Raises:
        StoreError: It is no URL.
    """
    named = environ.get(RECORDS)
    if not named:
        return f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    read = _read(named)
    if read.drivername in {"postgres", "postgresql", "postgresql+psycopg2"}:
        read = read.set(drivername="postgresql+psycopg")
    if read.drivername == "postgresql+psycopg":
        read = read.update_query_dict({name: text for name, text in _CONNECTION.items() if name not in read.query})
    return read.render_as_string(hide_password=False)


def files_of(environ: Mapping[str, str], home: Path) -> str:
    """Where artifacts are kept: a folder, or the address of a bucket."""
    return environ.get(FILES) or str(home / "mlflow" / "artifacts")


def get_ready(environ: Mapping[str, str], home: Path) -> str | None:
    """Asks a database on a server, and a bucket, whether they are there; a file needs nobody to ask.

    Returns:
        Why files cannot be kept at the moment, where that is so: the server can do its work without, and a sweep keeps
        what it cannot deliver.

    Raises:
        StoreError: The database cannot be used.
    """
    if environ.get(RECORDS):
        _try_database(_read(records_of(environ, home)))
    place = files_of(environ, home)
    return _why_no_bucket(place, environ) if place.startswith("s3://") else None


def _read(address: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        read = make_url(address)
    except (ArgumentError, ValueError):
        read = None
    if read is None or "@" in (read.host or ""):
        raise StoreError(
            f"{RECORDS} must be a URL, such as postgresql+psycopg://user:password@host:5432/mlflow, where a password "
            f"has %40 for @, %3A for : and %2F for /."
        )
    return read


def _try_database(address: URL) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    name = address.difference_update_query(["password", *_CONNECTION]).render_as_string(hide_password=True)
    try:
        create_engine(address, poolclass=NullPool).connect().close()
    except (NoSuchModuleError, ImportError) as error:
        raise StoreError(f"MLflow's records cannot be kept in {name}: {error}") from None
    except SQLAlchemyError as error:
        told = (str(getattr(error, "orig", None) or error).strip().splitlines() or ["it does not answer"])[0]
        raise StoreError(
            f"MLflow's database {name} cannot be used: {told.rstrip('.')}. Start it, make it, or correct {RECORDS}."
        ) from None


def _why_no_bucket(place: str, environ: Mapping[str, str]) -> str | None:
    if find_spec("boto3") is None:
        return f"Artifacts cannot go to {place}: the package boto3 is not installed here (pip install boto3)."
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    settings = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1})
    bucket = place.removeprefix("s3://").partition("/")[0]
    try:
        client = boto3.client("s3", endpoint_url=environ.get("MLFLOW_S3_ENDPOINT_URL"), config=settings)
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except (BotoCoreError, ClientError, ValueError) as error:
        return (
            f"Artifacts cannot go to {place} at the moment: {str(error).rstrip('.')}. Sweeps keep them and deliver "
            f"them when it is there; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and MLFLOW_S3_ENDPOINT_URL let it in."
        )
    return None
