"""Reads back what a run was, from the tracking server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.errors import TrackingError
from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.mlflow_client import connect, mlflow_errors


@dataclass(frozen=True)
class LoggedRun:
    """A run as the server has it."""

    run_id: str
    experiment: str
    tags: Mapping[str, str]


def read_run(uri: str, run_id: str) -> LoggedRun:
    """The run with this id.

    Raises:
        TrackingError: The server cannot be reached or has no such run.
    """
    client = connect(uri)
    try:
        with mlflow_errors():
            run = client.get_run(run_id)
            experiment = client.get_experiment(run.info.experiment_id)
    except Unavailable as problem:
        raise TrackingError(f"The MLflow server at {without_secrets(uri)} cannot be reached: {problem}") from None
    except Refused:
        raise TrackingError(f"The MLflow server at {without_secrets(uri)} has no run '{run_id}'.") from None
    return LoggedRun(run_id, str(experiment.name), dict(run.data.tags))
