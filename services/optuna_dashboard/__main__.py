"""`python -m services.optuna_dashboard`: shows the studies in the database of `REGATTA_STORAGE`.

A sweep keeps Optuna's tables in a part of the database of their own, and makes them at its start. Whoever looks before
the first sweep must not make them elsewhere, nor at the same moment as it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

SCHEMA = "regatta"
"""As `pipelines.study.server` has it, and the lock, too."""
LOCK = int.from_bytes(b"regatta", "big")
PORT = 8081


def open_storage(url: str) -> Any:
    """Optuna's storage behind a URL of PostgreSQL; its tables are made where there are none yet."""
    from optuna.storages import RDBStorage
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool
    from sqlalchemy.schema import CreateSchema

    read = make_url(url)
    if read.drivername in {"postgres", "postgresql"}:
        read = read.set(drivername="postgresql+psycopg")
    address = read.render_as_string(hide_password=False)
    if "options" in read.query:
        return RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
    engine = create_engine(read, poolclass=NullPool)
    lock = text("SELECT pg_advisory_xact_lock(:lock)")
    with engine.begin() as connection:
        connection.execute(lock, {"lock": LOCK})
        connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
    with engine.begin() as connection:
        connection.execute(lock, {"lock": LOCK})
        where = {"options": f"-csearch_path={SCHEMA}", "application_name": "optuna-dashboard"}
        return RDBStorage(address, engine_kwargs={"pool_pre_ping": True, "connect_args": where})


def main() -> int:
    """Serves until it is stopped."""
    url = os.environ.get("REGATTA_STORAGE")
    if not url:
        print("REGATTA_STORAGE is not set; it must be the URL of the studies' database.", file=sys.stderr)
        return 2
    from optuna_dashboard import run_server
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = open_storage(url)
    except SQLAlchemyError as error:
        told = (str(getattr(error, "orig", None) or error).strip().splitlines() or ["it does not answer"])[0]
        print(f"The studies' database cannot be used: {told}", file=sys.stderr)
        return 1  # the container is started again
    host, port = os.environ.get("DASHBOARD_HOST") or "0.0.0.0", os.environ.get("DASHBOARD_PORT") or PORT
    run_server(storage, host=host, port=int(port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
