"""Says what is wrong with the bucket that artifacts go to, where MLflow would answer only that something is.

Whoever asks is told in the form of MLflow's errors, with a status that MLflow's client passes on: of one that it takes
for a passing fault of the network, it keeps no word.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from flask import Flask
from flask import Response as FlaskResponse
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE, ErrorCode
from starlette.requests import Request
from starlette.responses import Response

DESTINATION = "_MLFLOW_SERVER_ARTIFACT_DESTINATION"
INSUFFICIENT_STORAGE, NOT_FOUND = 507, 404
_NO_SUCH_FILE = {"404", "NoSuchKey"}


def tell_of_buckets(flask_application: Flask, whole_application: Any, environ: Mapping[str, str]) -> bool:
    """Has both of MLflow's applications tell what S3 said; returns whether artifacts go there at all.

    Args:
        flask_application: Answers most calls.
        whole_application: The FastAPI one around it, which takes and gives files.
        environ: The server's own.
    """
    place = environ.get(DESTINATION, "")
    if not place.startswith("s3://") or find_spec("boto3") is None:
        return False
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.store.artifact import s3_artifact_repo

    # a bucket that is gone may come back; as a file that is not there, nobody would try again
    s3_artifact_repo.BOTO_TO_MLFLOW_ERROR["NoSuchBucket"] = TEMPORARILY_UNAVAILABLE

    def in_flask(error: Exception) -> FlaskResponse:
        status, content = told(place, error)
        return FlaskResponse(json.dumps(content), status, mimetype="application/json")

    async def in_starlette(_: Request, error: Exception) -> Response:
        status, content = told(place, error)
        return Response(json.dumps(content), status, media_type="application/json")

    for kind in (Boto3Error, BotoCoreError, ClientError):
        flask_application.register_error_handler(kind, in_flask)
        if whole_application is not flask_application:
            whole_application.add_exception_handler(kind, in_starlette)
    return True


def told(place: str, error: BaseException) -> tuple[int, dict[str, str]]:
    """The status and the content of an answer about an error of S3's client.

    Args:
        place: Where artifacts are kept.
        error: What was raised; of an upload, boto3 raises one that names a temporary file before the cause.
    """
    at_bottom = error
    while at_bottom.__context__ is not None and type(at_bottom.__context__).__module__.startswith("boto"):
        at_bottom = at_bottom.__context__
    response: Any = getattr(at_bottom, "response", None) or {}
    if str(response.get("Error", {}).get("Code", "")) in _NO_SUCH_FILE:
        return NOT_FOUND, _content(RESOURCE_DOES_NOT_EXIST, f"There is no such file in {place}.")
    text = f"The server cannot reach its artifacts in {place}: {str(at_bottom).rstrip('.')}."
    return INSUFFICIENT_STORAGE, _content(TEMPORARILY_UNAVAILABLE, text)


def _content(code: int, text: str) -> dict[str, str]:
    return {"error_code": ErrorCode.Name(code), "message": text}
