"""Whole small checkpoints in one transaction: MLflow's logged models, with their files, metrics and runs."""

# mypy: allow-untyped-calls
from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from mlflow.entities import LifecycleStage, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.time import get_current_time_millis
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_logged_model_name

from services.tracking_server.bulk_forms import Checkpoint, refusal
from services.tracking_server.bulk_places import Places
from services.tracking_server.bulk_tables import (
    INPUTS,
    MODEL_METRICS,
    MODEL_TAGS,
    MODELS,
    Row,
    active_runs,
    add,
    experiment_places,
    log_metrics,
    metric_rows,
)


def take_checkpoints(
    store: SqlAlchemyStore, places: Places, checkpoints: Sequence[Checkpoint], contents: Sequence[memoryview]
) -> list[str]:
    """Makes models of all of them or of none, and returns their ids, in their order.

    Raises:
        MlflowException: One is not as MLflow would take it, or its file is not the one that its digest says.
    """
    for checkpoint, content in zip(checkpoints, contents, strict=True):
        _validate_logged_model_name(checkpoint.name)
        digest = hashlib.sha256(content).hexdigest()
        if digest != checkpoint.sha256:
            raise refusal(f"{checkpoint.file} is to have the digest {checkpoint.sha256}, what has come has {digest}.")
    try:
        return _take(store, places, checkpoints, contents)
    except BaseException:
        places.forget()
        raise


def _take(
    store: SqlAlchemyStore, places: Places, checkpoints: Sequence[Checkpoint], contents: Sequence[memoryview]
) -> list[str]:
    models: list[Row] = []
    tags: list[Row] = []
    outputs: list[Row] = []
    metrics: list[Row] = []
    points: list[Row] = []
    with store.ManagedSessionMaker(read_only=False) as session:
        runs = active_runs(session, (checkpoint.run_id for checkpoint in checkpoints))
        where = experiment_places(store, (str(run.experiment_id) for run in runs.values()))
        for checkpoint, content in zip(checkpoints, contents, strict=True):
            experiment_id = int(runs[checkpoint.run_id].experiment_id)
            model = _model_row(checkpoint, experiment_id, where[str(experiment_id)])
            arrived = places.write(model["artifact_location"], "", checkpoint.file, content)
            if arrived != checkpoint.sha256:
                raise MlflowException(f"{checkpoint.file} was not written as it came.", INTERNAL_ERROR)
            models.append(model)
            mark = {"model_id": model["model_id"], "experiment_id": experiment_id}
            tags += [{**mark, "tag_key": key, "tag_value": value} for key, value in checkpoint.tags.items()]
            outputs.append(_output_row(checkpoint, model["model_id"]))
            its = metric_rows(checkpoint.run_id, checkpoint.metrics, store.sanitize_metric_value)
            points += its
            metrics += [_metric_row(mark, row) for row in its]
        add(session, MODELS, models)
        add(session, MODEL_TAGS, tags)
        add(session, INPUTS, outputs)
        log_metrics(session, points, list(runs))
        add(session, MODEL_METRICS, metrics)
    return [model["model_id"] for model in models]


def _model_row(checkpoint: Checkpoint, experiment_id: int, place: str) -> Row:
    """The row of `logged_models` as `create_logged_model` and then `finalize_logged_model` leave it."""
    model_id = f"m-{uuid.uuid4().hex}"
    now = get_current_time_millis()
    return {
        "model_id": model_id,
        "experiment_id": experiment_id,
        "name": checkpoint.name,
        "artifact_location": append_to_uri_path(
            place, SqlAlchemyStore.MODELS_FOLDER_NAME, model_id, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME
        ),
        "creation_timestamp_ms": now,
        "last_updated_timestamp_ms": now,
        "model_type": checkpoint.model_type,
        "status": LoggedModelStatus.READY.to_int(),
        "lifecycle_stage": LifecycleStage.ACTIVE,
        "source_run_id": checkpoint.run_id,
        "status_message": None,
    }


def _output_row(checkpoint: Checkpoint, model_id: str) -> Row:
    """The row of `inputs` by which a run has made a model."""
    return {
        "input_uuid": uuid.uuid4().hex,
        "source_type": "RUN_OUTPUT",
        "source_id": checkpoint.run_id,
        "destination_type": "MODEL_OUTPUT",
        "destination_id": model_id,
        "step": checkpoint.step,
    }


def _metric_row(mark: Row, point: Row) -> Row:
    return {
        **mark,
        "run_id": point["run_uuid"],
        "metric_name": point["key"],
        "metric_timestamp_ms": point["timestamp"],
        "metric_step": point["step"],
        "metric_value": point["value"],
        "dataset_uuid": None,
        "dataset_name": None,
        "dataset_digest": None,
    }
