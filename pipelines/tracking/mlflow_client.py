"""The door to MLflow: one client, made with bounds that suit a program with a journal of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pipelines.tracking.base import Refused, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HARMLESS = "/api/2.0/mlflow/experiments/search?max_results=1"
DEFAULT_URI = "http://127.0.0.1:5000"
_FINAL = {
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
}  # fmt: skip
"""The server's words that are about the entry itself. Who is not let in by it may be let in tomorrow."""
_WORTH_ANOTHER_TRY = {401, 403, 407, 408, 425, 429}
# MLflow itself would try 7 times over some minutes and then lose the call; the journal waits for as long as it takes.
# It would also try again to make a run when the connection breaks before the answer, and the run would be there twice.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
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
    from mlflow.exceptions import MlflowException, RestException

    try:
        yield
    except (Refused, Unavailable):
        raise
    except MlflowException as error:
        text = _one_line(error)
        # what a proxy answers in the server's place is no word of MLflow's
        by_another = text.startswith("API request to") and not isinstance(error, RestException)
        if error.error_code in _FINAL and not by_another:
            raise Refused(text) from error
        raise Unavailable(text, _asked_to_wait_s(error)) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        final = 400 <= status < 500 and status not in _WORTH_ANOTHER_TRY
        raise (Refused(_one_line(error)) if final else Unavailable(_one_line(error))) from error
    except Exception as error:  # a socket, a database, a disk: nothing that says the entry itself is wrong
        raise Unavailable(f"{type(error).__name__}: {_one_line(error)}") from error


def _asked_to_wait_s(error: BaseException) -> float:
    """For how long a server that has too many requests wants to be left alone; 0 where it does not say.

    MLflow's client loses the header of such an answer, so this asks once more, with a request that changes nothing.
    """
    import requests

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, requests.exceptions.RetryError):
        cause = cause.__cause__ or cause.__context__
    request = getattr(cause, "request", None)
    if request is None or not request.url or "too many 429" not in str(cause):
        return 0.0
    server = request.url.split("/api/")[0]
    kept = {name: value for name, value in request.headers.items() if name.lower() == "authorization"}
    try:
        answer = requests.get(f"{server}{_HARMLESS}", headers=kept, timeout=5)
    except requests.RequestException:
        return 0.0
    return _seconds(answer.headers.get("Retry-After", "")) if answer.status_code == 429 else 0.0


def _seconds(retry_after: str) -> float:
    """What a Retry-After header says, which is a number of seconds or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def _one_line(error: Any) -> str:
    text = " ".join(str(error).split())
    if "Connection refused" in text:  # said in five lines by three libraries
        return "nothing answers there (connection refused)"
    return text if len(text) <= 300 else text[:297] + "..."
