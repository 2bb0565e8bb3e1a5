"""The door to MLflow: one client, made with bounds that suit a program with a journal of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.tracking.base import Refused, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_URI = "http://127.0.0.1:5000"
_FINAL = {
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "PERMISSION_DENIED", "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST", "UNAUTHENTICATED",
}  # fmt: skip
# MLflow itself would try 7 times over some minutes and then lose the call; the journal waits for as long as it takes.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri() -> str:
    """The tracking server: `MLFLOW_TRACKING_URI`, or the local one that `make up-local` starts."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def connect(uri: str) -> MlflowClient:
    """A client of the server at `uri`. Imports MLflow (a second or more); asks the server nothing yet."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import logging

    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what goes wrong is said by us, once
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Sorts what MLflow raises into `Refused` (final) and `Unavailable` (worth another try)."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (Refused, Unavailable):
        raise
    except MlflowException as error:
        text = _one_line(error)
        raise (Refused(text) if error.error_code in _FINAL else Unavailable(text)) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        final = 400 <= status < 500 and status not in {408, 425, 429}
        raise (Refused(_one_line(error)) if final else Unavailable(_one_line(error))) from error
    except Exception as error:  # a socket, a database, a disk: nothing that says the entry itself is wrong
        raise Unavailable(f"{type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: Any) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
