"""The bulk door of Regatta's own tracking server, from outside: many records in a request of one transaction.

Any other MLflow server has no such door, and is asked for it once. `services/tracking_server/bulk.py` is its inside.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import Refused, Unavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from requests import Response

_BELOW = "/api/2.0/mlflow/regatta"
_PROTOCOL = 2
_NO_DOOR = {400, 404, 405, 410, 501}
"""Answers of a server that knows no such address; others say nothing about it, and are not believed for long."""
_BYTES = {"Content-Type": "application/octet-stream"}


class BulkDoor:
    """The door of one server, if it has one."""

    def __init__(self, uri: str) -> None:
        """Takes the server's address; it is asked nothing yet."""
        self._uri = uri
        self._limits: Mapping[str, Any] | None = None
        """What the server has told; empty where it has no door, None where it was not asked."""
        self._lock = threading.Lock()

    def limits(self, client: MlflowClient) -> Mapping[str, Any]:
        """What the door takes: `files` (whether it takes any), `most_bytes`; empty where there is none.

        Raises:
            Unavailable: The server cannot be reached; in a block of `mlflow_errors`.
        """
        if not self._uri.startswith(("http://", "https://")):
            return {}
        with self._lock:
            if self._limits is not None:
                return self._limits
            answer = _request(client, "records", "GET", raise_on_status=False)
            told = _told(answer)
            if answer.status_code == 200 and told.get("protocol") == _PROTOCOL:
                self._limits = told
            elif answer.status_code == 200 or answer.status_code in _NO_DOOR:
                self._limits = {}
            return self._limits or {}

    def forget(self) -> None:
        """Has the server asked anew: it may be another one by now."""
        with self._lock:
            self._limits = None

    def send(
        self, client: MlflowClient, name: str, form: Mapping[str, Any], contents: Sequence[bytes] = ()
    ) -> Mapping[str, Any] | None:
        """Sends a form and the contents of files, and returns the answer; None where it would be too large.

        Raises:
            Refused: The server will not take it, or has no such door any more.
            Unavailable: It may or may not have been taken; both in a block of `mlflow_errors`.
        """
        from mlflow.utils.rest_utils import verify_rest_response

        body = b"".join((json.dumps(form, separators=(",", ":")).encode(), b"\n", *contents))
        if len(body) > int(self.limits(client).get("most_bytes", 0)):
            return None
        answer = _request(client, name, "POST", data=body, extra_headers=_BYTES)
        told = _told(answer)
        if answer.status_code in _NO_DOOR and told.get("error_code") in {None, "ENDPOINT_NOT_FOUND"}:
            self.forget()
            raise Refused(f"{without_secrets(self._uri)} takes no more many records at a time")
        verify_rest_response(answer, f"{_BELOW}/{name}")
        return told

    def unanswered(self) -> Unavailable:
        """What an answer is taken for that does not say what became of the request."""
        return Unavailable(f"{without_secrets(self._uri)} gave no answer that says whether the records were taken")


def _request(client: MlflowClient, name: str, method: str, **more: Any) -> Response:
    from mlflow.utils.rest_utils import http_request

    server = client._tracking_client.store.get_host_creds()
    answer: Response = http_request(server, f"{_BELOW}/{name}", method, **more)  # type: ignore[no-untyped-call]
    return answer


def _told(answer: Response) -> Mapping[str, Any]:
    """The JSON object in an answer; an empty one where it holds none."""
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
