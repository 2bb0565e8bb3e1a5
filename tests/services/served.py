"""MLflow's calls and the bulk door over one store, answered over HTTP in the tests' own process."""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from mlflow.server import handlers
from mlflow.server.constants import ARTIFACTS_DESTINATION_ENV_VAR, SERVE_ARTIFACTS_ENV_VAR
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import text
from werkzeug.serving import make_server

from services.tracking_server.bulk import BELOW, open_door


@dataclass(frozen=True)
class Served:
    """A server that can be looked into."""

    address: str
    store: SqlAlchemyStore
    artifacts: Path

    def ask(self, name: str, form: Mapping[str, Any], content: bytes = b"") -> tuple[int, dict[str, Any]]:
        """Knocks at the door; status and answer."""
        body = json.dumps(form).encode() + b"\n" + content
        answer = requests.post(f"{self.address}{BELOW}/{name}", data=body, timeout=30)
        told: dict[str, Any] = answer.json()
        return answer.status_code, told

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All that is in the database, by table."""
        with self.store.engine.connect() as connection:
            return {
                name: [dict(row) for row in connection.execute(text(f'SELECT * FROM "{name}"')).mappings()]
                for name in Base.metadata.tables
            }

    def files(self) -> dict[str, bytes]:
        """All that is kept of artifacts."""
        found = (path for path in self.artifacts.rglob("*") if path.is_file())
        return {str(path.relative_to(self.artifacts)): path.read_bytes() for path in found}


@contextmanager
def served(database: str, folder: Path) -> Iterator[Served]:
    """Serves a database, which is made ready where it is empty."""
    artifacts = folder / "artifacts"
    artifacts.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(SERVE_ARTIFACTS_ENV_VAR, "true")
        patched.setenv(ARTIFACTS_DESTINATION_ENV_VAR, str(artifacts))
        store = SqlAlchemyStore(database, "mlflow-artifacts:/")
        patched.setattr(handlers, "_tracking_store", store)
        patched.setattr(handlers, "_artifact_repo", None)
        application = Flask("mlflow-of-tests")
        for path, handler, methods in handlers.get_endpoints():
            application.add_url_rule(path, handler.__name__, handler, methods=methods)
        assert open_door(application)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which would tell every request
        server = make_server("127.0.0.1", 0, application, threaded=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{server.server_port}", store, artifacts)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            store._dispose_engine()
