"""Experiments and runs of MLflow's, by explicit ids and in few large requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import UID_TAG, Refused, Unavailable
from pipelines.tracking.entries import RUN_NAME, TAGS_OF_AN_END, Logged, RunBegun

if TYPE_CHECKING:
    from mlflow import MlflowClient


_ROW_IS_THERE = "BAD_REQUEST"
"""What MLflow calls it where two requests make the same row at once."""


def experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is made where it is not there; two sweeps that make it at once agree on one."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except Exception:
            found = client.get_experiment_by_name(name)  # somebody else was first
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise Refused(
            f"the experiment '{name}' was deleted on {without_secrets(client.tracking_uri)}; restore it there, or give "
            f"the study another name"
        )
    return str(found.experiment_id)


def begin(
    client: MlflowClient, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool
) -> Any:
    """Makes the run, or takes up the one that has its uid where it may be there already; MLflow's form of it."""
    tags = {**entry.tags, UID_TAG: entry.uid}
    if parent_run_id is not None:
        tags["mlflow.parentRunId"] = parent_run_id
    found = _run_of(client, entry.uid, experiment_id) if suspect else None
    if found is not None:
        run_id = str(found.info.run_id)
        client.update_run(run_id, status="RUNNING")
        for tag in TAGS_OF_AN_END:
            if tag in found.data.tags:
                client.delete_tag(run_id, tag)
        _log(client, run_id, params=entry.params, tags=tags)
        _log_dataset(client, run_id, entry.dataset)
        return found
    name = tags.get(RUN_NAME, entry.name)  # a server takes no run that is called one thing and told another
    run = client.create_run(experiment_id, start_time=entry.time_ms, tags=tags, run_name=name)
    if not run.info.run_id:  # what MLflow's client makes of an answer without content
        raise Unavailable(f"{without_secrets(client.tracking_uri)} gave no answer that says whether the run was made")
    _log(client, str(run.info.run_id), params=entry.params)
    _log_dataset(client, str(run.info.run_id), entry.dataset)
    return run


def log(client: MlflowClient, run_id: str, entries: Sequence[Logged]) -> None:
    """Sends all of it in as few requests as MLflow allows. Same key, step and time is the same point there."""
    from mlflow.entities import Metric

    points = [
        Metric(key, value, entry.time_ms, entry.step) for entry in entries for key, value in entry.metrics.items()
    ]
    params = {key: value for entry in entries for key, value in entry.params.items()}
    tags = {key: value for entry in entries for key, value in entry.tags.items()}
    if len(tags) == 1 and not points and not params:
        client.set_tag(run_id, *next(iter(tags.items())))  # which costs the server half as much
    else:
        _log(client, run_id, points, params, tags)


def _run_of(client: MlflowClient, uid: str, experiment_id: str) -> Any:
    """The run with this uid; None where there is none, which one that somebody deleted is not."""
    from mlflow.entities import ViewType

    found = client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'", ViewType.ALL, 10)
    there = next((run for run in found if run.info.lifecycle_stage == "active"), None)
    if there is None and found:
        raise Refused(
            f"its run {found[0].info.run_id} was deleted on {without_secrets(client.tracking_uri)}; restore it there "
            f"to have it go on"
        )
    return there


def _log_dataset(client: MlflowClient, run_id: str, dataset: Mapping[str, str]) -> None:
    """Says what the run learns from, which a second time changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    if not dataset:
        return
    told = Dataset(**{key: value for key, value in dataset.items() if key != "context"})
    used = DatasetInput(told, [InputTag(MLFLOW_DATASET_CONTEXT, dataset["context"])])
    try:
        client.log_inputs(run_id, [used])
    except MlflowException as error:
        if error.error_code != _ROW_IS_THERE:
            raise
        client.log_inputs(run_id, [used])  # a run beside this one was the first to name the data set, at this moment


def _log(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Any] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """One call; MLflow's client cuts it into requests that keep to the server's limits."""
    from mlflow.entities import Param, RunTag

    client.log_batch(
        run_id,
        metrics=list(points),
        params=[Param(key, value) for key, value in (params or {}).items()],
        tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        synchronous=True,
    )
