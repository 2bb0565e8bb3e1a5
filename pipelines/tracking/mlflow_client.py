"""The door to MLflow: one client, made with bounds that suit a program with a journal of its own."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pipelines.errors import TrackingError
from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import Refused, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HARMLESS = "/api/2.0/mlflow/experiments/search?max_results=1"
DEFAULT_URI = "http://127.0.0.1:5000"
_FINAL = {
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
}  # fmt: skip
"""The server's words that are about the entry itself. Who is not let in by it may be let in tomorrow."""
_ANSWERS = "it answers with status"
_TROUBLED = re.compile(r"too many (5\d\d) error responses")
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
    _look_for_databricks_once()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@cache
def _look_for_databricks_once() -> None:
    """Has MLflow find out once whether this process runs there; it tries eleven imports for that before a request."""
    from mlflow.tracking.request_header import registry
    from mlflow.tracking.request_header.databricks_request_header_provider import DatabricksRequestHeaderProvider

    for provider in registry._request_header_provider_registry:
        if isinstance(provider, DatabricksRequestHeaderProvider):
            ask: Callable[[], bool] = provider.in_context
            vars(provider)["in_context"] = partial(bool, ask())


def repository(client: MlflowClient, location: str) -> Any:
    """Where files are, by the address that MLflow has for the place."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(location, tracking_uri=client.tracking_uri)


def end_run(client: MlflowClient, run_id: str, status: str, time_ms: int) -> None:
    """Closes a run. `set_terminated` of MLflow's client does the same, but asks for the whole run first, to name it."""
    from mlflow.entities import RunStatus

    client._tracking_client.store.update_run_info(run_id, RunStatus.from_string(status), time_ms, None)


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
        by_another = str(error).startswith("API request to") and not isinstance(error, RestException)
        if error.error_code in _FINAL and not by_another:
            raise Refused(text) from error
        there = isinstance(error, RestException)
        raise Unavailable(text, _asked_to_wait_s(error), late=_came_late(error), there=there) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        final = 400 <= status < 500 and status not in _WORTH_ANOTHER_TRY
        said = _message_of(error.response)
        text = said or _one_line(error)
        raise (Refused(text) if final else Unavailable(text, there=said is not None)) from error
    except Exception as error:  # a socket, a database, a disk: nothing that says the entry itself is wrong
        raise Unavailable(f"{type(error).__name__}: {_one_line(error)}", late=_came_late(error)) from error


def out_of_order(uri: str, problem: Unavailable) -> TrackingError:
    """What a verb that needs the server at once says where it does not answer, or answers that it cannot do it now."""
    answers = problem.there or str(problem).startswith(_ANSWERS)
    what = "cannot do it now" if answers else "cannot be reached"
    return TrackingError(f"The MLflow server at {without_secrets(uri)} {what}: {problem}")


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


def _came_late(error: BaseException | None) -> bool:
    """Whether the time for an answer was over; said by one of three libraries, somewhere at the bottom."""
    import requests

    while error is not None:
        if isinstance(error, requests.exceptions.ReadTimeout) or "Read timed out" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


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


def _message_of(response: Any) -> str | None:
    """What the server itself says is wrong, where its answer is in the form of MLflow's errors."""
    try:
        return _one_line(response.json()["message"])
    except (AttributeError, KeyError, TypeError, ValueError):  # no answer, or somebody else's
        return None


def _one_line(error: Any) -> str:
    text = without_secrets(" ".join(str(error).split()))
    if "Connection refused" in text:  # said in five lines by three libraries
        return "nothing answers there (connection refused)"
    if (found := _TROUBLED.search(text)) is not None:  # MLflow's client keeps nothing but the status
        return f"{_ANSWERS} {found[1]}; its own log says why (a database that is away, a full disk)"
    return text if len(text) <= 300 else text[:297] + "..."
