"""The bulk door: what a sweep has to tell MLflow, in few requests instead of thirteen a trial.

Three routes beside MLflow's own, in the same application, so that whatever guards those guards these. A request is one
transaction: all of it or nothing. What it leaves in the database and among the artifacts is what MLflow's own calls
would have left, and MLflow's own rules say what is taken.

They write MLflow's tables themselves. Where those are not as they were when this was written, there is no such door,
and clients find MLflow's calls, which are slower.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import json
import logging
from typing import Any

from flask import Flask, Response, request
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND
from mlflow.server.handlers import _disable_if_artifacts_only, _get_tracking_store, catch_mlflow_exception
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from services.tracking_server.bulk_files import take_files
from services.tracking_server.bulk_forms import (
    MOST_BYTES,
    MOST_ENTRIES,
    PROTOCOL,
    Checkpoints,
    Files,
    Runs,
    cut,
    read,
    refusal,
)
from services.tracking_server.bulk_models import take_checkpoints
from services.tracking_server.bulk_places import Places, not_served
from services.tracking_server.bulk_runs import take_runs
from services.tracking_server.bulk_tables import DIALECTS, unknown_columns

BELOW = "/api/2.0/mlflow/regatta"


def open_door(application: Flask) -> bool:
    """Adds the routes to MLflow's application; False where its tables are not those that they were written for."""
    unknown = unknown_columns()
    if unknown:
        logging.getLogger(__name__).warning(
            "MLflow's tables have changed (%s): runs are taken by its own calls alone.", ", ".join(unknown)
        )
        return False
    for name, function, method in (
        ("records", _tell, "GET"),
        ("runs", _take_runs, "POST"),
        ("checkpoints", _take_checkpoints, "POST"),
        ("files", _take_files, "POST"),
    ):
        guarded = catch_mlflow_exception(_disable_if_artifacts_only(function))
        application.add_url_rule(f"{BELOW}/{name}", f"regatta_{name}", guarded, methods=[method])
    return True


def _tell() -> Response:
    """What the door takes; without it, a client does not knock."""
    _store()
    limits = {"most_bytes": MOST_BYTES, "most_entries": MOST_ENTRIES}
    return _json({"protocol": PROTOCOL, "files": Places.served() is not None, **limits})


def _take_runs() -> Response:
    form, rest = read(Runs, request.get_data())
    if rest:
        raise refusal(f"Runs have no files, yet {len(rest)} bytes follow them.")
    return _json({"runs": take_runs(_store(), form.runs)})


def _take_checkpoints() -> Response:
    form, rest = read(Checkpoints, request.get_data())
    contents = cut(rest, [checkpoint.bytes for checkpoint in form.checkpoints])
    return _json({"model_ids": take_checkpoints(_store(), _places(), form.checkpoints, contents)})


def _take_files() -> Response:
    form, rest = read(Files, request.get_data())
    take_files(_store(), _places(), form.files, cut(rest, [file.bytes for file in form.files]))
    return _json({"files": len(form.files)})


def _store() -> SqlAlchemyStore:
    """MLflow's store, where it is the one whose tables this knows; not one that keeps teams apart, for example."""
    store = _get_tracking_store()
    if type(store) is not SqlAlchemyStore or store.db_type not in DIALECTS:
        raise MlflowException("This server takes runs by MLflow's own calls alone.", ENDPOINT_NOT_FOUND)
    return store


def _places() -> Places:
    places = Places.served()
    if places is None:
        raise not_served()
    return places


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), mimetype="application/json")
