"""A full disk of the tracking server reaches whoever asks it, with a status that arrives."""

# mypy: allow-untyped-calls
from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from flask import Flask
from flask import Response as FlaskResponse
from starlette.testclient import TestClient

from pipelines.tracking.base import Unavailable
from pipelines.tracking.mlflow_client import mlflow_errors
from services.tracking_server.disk import is_full, tell_of_full_disks

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
MISSING = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
TOLD = {
    "error_code": "TEMPORARILY_UNAVAILABLE",
    "message": "The disk of the tracking server is full: make room there.",
}


def applications(fail: Callable[[], Any]) -> tuple[Flask, FastAPI]:
    """Two applications of which every path does what fails, told of full disks."""
    inner, whole = Flask("inner"), FastAPI()
    inner.add_url_rule("/file", "file", fail, methods=["PUT"])
    whole.add_api_route("/file", fail, methods=["PUT"], response_model=None)
    tell_of_full_disks(inner, whole)
    return inner, whole


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> str:
        raise error

    return fail


@pytest.mark.parametrize("error", [FULL, ExceptionGroup("of a task", [FULL])], ids=["plain", "of a task"])
def test_a_file_that_finds_no_room_is_told_by_both_applications(error: Exception) -> None:
    inner, whole = applications(raising(error))

    in_starlette = TestClient(whole).put("/file")

    assert (in_starlette.status_code, in_starlette.json()) == (507, TOLD)
    if error is FULL:
        in_flask = inner.test_client().put("/file")
        assert (in_flask.status_code, in_flask.get_json()) == (507, TOLD)


@pytest.mark.parametrize(
    ("status", "words"),
    [(503, "(sqlite3.OperationalError) database or disk is full"), (500, "[Errno 28] No space left on device")],
)
def test_what_mlflow_says_of_a_full_disk_is_told_with_a_status_that_arrives(status: int, words: str) -> None:
    content = json.dumps({"error_code": "INTERNAL_ERROR", "message": words})
    inner, _ = applications(lambda: FlaskResponse(content, status, mimetype="application/json"))

    answer = inner.test_client().put("/file")

    assert (answer.status_code, answer.get_json()) == (507, TOLD)


@pytest.mark.parametrize("status", [200, 503])
def test_all_other_answers_are_as_before(status: int) -> None:
    inner, _ = applications(lambda: FlaskResponse("database is locked", status))

    answer = inner.test_client().put("/file")

    assert (answer.status_code, answer.get_data()) == (status, b"database is locked")


def test_all_other_errors_are_as_before() -> None:
    inner, whole = applications(raising(MISSING))

    assert not is_full(MISSING)
    assert inner.test_client().put("/file").status_code == 500
    assert TestClient(whole, raise_server_exceptions=False).put("/file").status_code == 500


def test_a_sweep_hears_that_it_is_the_servers_disk() -> None:
    answer = requests.Response()
    answer.status_code, answer.url = 507, "http://127.0.0.1:5000/api/2.0/mlflow-artifacts/artifacts/x"
    answer._content = json.dumps(TOLD).encode()

    with pytest.raises(Unavailable) as caught, mlflow_errors():
        answer.raise_for_status()

    assert str(caught.value) == TOLD["message"]
    assert caught.value.there
