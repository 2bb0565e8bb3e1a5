"""Reads back what a run was, from the tracking server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.errors import TrackingError
from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.mlflow_client import connect, mlflow_errors, out_of_order


@dataclass(frozen=True)
class LoggedRun:
    """A run as the server has it; of `metrics` the newest points."""

    run_id: str
    experiment: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_run(uri: str, run_id: str) -> LoggedRun:
    """The run with this id.

    Raises:
        TrackingError: The server cannot be reached or has no such run.
    """
    client = connect(uri)
    with _said_in_words(uri, run_id):
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
    return LoggedRun(run_id, str(experiment.name), dict(run.data.tags), dict(run.data.metrics))


def read_curve(uri: str, run_id: str, metric: str) -> dict[int, float]:
    """A metric of a run by epoch; empty where the run has none of it.

    Raises:
        TrackingError: The server cannot be reached or has no such run.
    """
    client = connect(uri)
    with _said_in_words(uri, run_id):
        return {int(point.step): float(point.value) for point in client.get_metric_history(run_id, metric)}


@contextmanager
def _said_in_words(uri: str, run_id: str) -> Iterator[None]:
    try:
        with mlflow_errors():
            yield
    except Unavailable as problem:
        raise out_of_order(uri, problem) from None
    except Refused:
        raise TrackingError(f"The MLflow server at {without_secrets(uri)} has no run '{run_id}'.") from None
