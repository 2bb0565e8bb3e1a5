"""What S3 says is wrong reaches whoever asks the tracking server, in MLflow's form and with a status that arrives."""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from fastapi import FastAPI
from flask import Flask
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.artifact import s3_artifact_repo
from starlette.testclient import TestClient

from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.mlflow_client import mlflow_errors
from services.tracking_server.buckets import DESTINATION, tell_of_buckets, told

PLACE = {DESTINATION: "s3://bucket/folder"}
GONE = ClientError({"Error": {"Code": "NoSuchBucket", "Message": "The bucket does not exist"}}, "PutObject")
NO_FILE = ClientError({"Error": {"Code": "404", "Message": "Not Found"}}, "HeadObject")


def upload_failed() -> S3UploadFailedError:
    """As boto3 raises it: with a temporary file's name before the cause."""
    try:
        try:
            raise GONE
        except ClientError as error:
            raise S3UploadFailedError(f"Failed to upload /tmp/x/best.keras to bucket/best.keras: {error}")  # noqa: B904
    except S3UploadFailedError as error:
        return error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (GONE, 507, "The server cannot reach its artifacts in s3://bucket/folder: An error occurred (NoSuchBucket)"),
        (
            upload_failed(),
            507,
            "The server cannot reach its artifacts in s3://bucket/folder: An error occurred (NoSuch",
        ),
        (NoCredentialsError(), 507, "s3://bucket/folder: Unable to locate credentials."),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), 507, "Could not connect to the endpoint URL"),
        (NO_FILE, 404, "There is no such file in s3://bucket/folder."),
    ],
)
def test_what_s3_says_is_told_without_the_name_of_a_temporary_file(error: Any, status: int, words: str) -> None:
    found, content = told("s3://bucket/folder", error)

    assert found == status
    assert words in content["message"]
    assert "/tmp/" not in content["message"]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], tuple[Flask, FastAPI]]:
    """Two applications of which every path raises an error."""
    monkeypatch.setitem(s3_artifact_repo.BOTO_TO_MLFLOW_ERROR, "NoSuchBucket", "what it was before")

    def made(error: Exception) -> tuple[Flask, FastAPI]:
        inner, whole = Flask("inner"), FastAPI()

        def fail() -> str:
            raise error

        inner.add_url_rule("/file", "file", fail, methods=["PUT"])
        whole.add_api_route("/file", fail, methods=["PUT"])
        return inner, whole

    return made


@pytest.mark.parametrize("error", [upload_failed(), NoCredentialsError(), GONE], ids=["boto3", "botocore", "S3"])
def test_both_applications_tell_it_as_mlflow_tells_errors(
    raising: Callable[[Exception], tuple[Flask, FastAPI]], error: Exception
) -> None:
    inner, whole = raising(error)
    assert tell_of_buckets(inner, whole, PLACE)

    in_flask = inner.test_client().put("/file")
    in_starlette = TestClient(whole).put("/file")

    assert in_flask.status_code == in_starlette.status_code == 507
    assert in_flask.get_json() == in_starlette.json()
    assert in_starlette.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"


def test_a_bucket_that_is_gone_is_no_file_that_is_not_there(
    raising: Callable[[Exception], tuple[Flask, FastAPI]],
) -> None:
    """MLflow would say so, and a checkpoint would be given up for good."""
    tell_of_buckets(*raising(GONE), PLACE)

    assert s3_artifact_repo.BOTO_TO_MLFLOW_ERROR["NoSuchBucket"] == TEMPORARILY_UNAVAILABLE


@pytest.mark.parametrize("environ", [{}, {DESTINATION: "/mlflow/artifacts"}])
def test_without_a_bucket_nothing_is_changed(
    raising: Callable[[Exception], tuple[Flask, FastAPI]], environ: dict[str, str]
) -> None:
    inner, whole = raising(GONE)

    assert not tell_of_buckets(inner, whole, environ)
    assert not whole.exception_handlers.keys() & {ClientError}


@pytest.mark.parametrize(("error", "outcome"), [(GONE, Unavailable), (NO_FILE, Refused)])
def test_a_sweep_hears_the_servers_own_words(error: Any, outcome: type[Exception]) -> None:
    """Of an answer with such a status, MLflow's client raises an HTTPError with all of it."""
    status, content = told("s3://bucket/folder", error)
    answer = requests.Response()
    answer.status_code, answer.url = status, "http://me:secret@127.0.0.1:5000/api/2.0/mlflow-artifacts/artifacts/x"
    answer._content = json.dumps(content).encode()

    with pytest.raises(outcome) as caught, mlflow_errors():
        answer.raise_for_status()

    assert str(caught.value) == content["message"]


def test_an_answer_in_another_form_is_told_without_the_password_of_its_address() -> None:
    answer = requests.Response()
    answer.status_code, answer.url = 502, "http://me:secret@127.0.0.1:5000/api"
    answer._content = b"<html>Bad Gateway</html>"

    with pytest.raises(Unavailable) as caught, mlflow_errors():
        answer.raise_for_status()

    assert "http://127.0.0.1:5000/api" in str(caught.value)
    assert "secret" not in str(caught.value)
