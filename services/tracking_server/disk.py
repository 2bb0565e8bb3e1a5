"""Says that the server's own disk is full, where MLflow would answer only that something is wrong.

The status is one that MLflow's client passes on with the server's words: of one that it takes for a passing fault of
the network (500, 503), it keeps none, and nobody would learn which disk to look at.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask import Response as FlaskResponse
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE, ErrorCode
from starlette.requests import Request
from starlette.responses import Response

from services.tracking_server.buckets import INSUFFICIENT_STORAGE

_FULL = {errno.ENOSPC, errno.EDQUOT}
_SAID_SO = (b"database or disk is full", f"[Errno {errno.ENOSPC}]".encode())
_WORDS = "The disk of the tracking server is full: make room there."


def tell_of_full_disks(flask_application: Flask, whole_application: Any) -> None:
    """Has both of MLflow's applications tell it; all other errors are answered as before.

    Args:
        flask_application: Answers most calls. What its database or a transaction says is an answer of MLflow's already.
        whole_application: The FastAPI one around it, which takes and gives files.
    """

    def in_flask(error: OSError) -> FlaskResponse:
        if not is_full(error):
            raise error
        return FlaskResponse(_content(), INSUFFICIENT_STORAGE, mimetype="application/json")

    def said_by_mlflow(answer: FlaskResponse) -> FlaskResponse:
        if answer.status_code < 500 or answer.is_streamed:
            return answer
        if any(words in answer.get_data() for words in _SAID_SO):
            return FlaskResponse(_content(), INSUFFICIENT_STORAGE, mimetype="application/json")
        return answer

    async def in_starlette(_: Request, error: Exception) -> Response:
        if not is_full(error):
            raise error
        return Response(_content(), INSUFFICIENT_STORAGE, media_type="application/json")

    flask_application.register_error_handler(OSError, in_flask)
    flask_application.after_request(said_by_mlflow)
    if whole_application is not flask_application:
        for kind in (OSError, ExceptionGroup):  # what fails in a task is raised in a group
            whole_application.add_exception_handler(kind, in_starlette)


def is_full(error: BaseException) -> bool:
    """Whether a full disk is among what an error is made of."""
    return any(isinstance(one, OSError) and one.errno in _FULL for one in _all_in(error))


def _all_in(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _all_in(one)


def _content() -> str:
    return json.dumps({"error_code": ErrorCode.Name(TEMPORARILY_UNAVAILABLE), "message": _WORDS})
