"""Parts of many runs in one transaction: what MLflow's calls to make, log to, and update a run would have left."""

# mypy: allow-untyped-calls
from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from mlflow.entities import LifecycleStage, RunStatus, RunTag, SourceType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_RUN_NAME,
    MLFLOW_USER,
    _get_run_name_from_tags,
)
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.uri import append_to_uri_path
from mlflow.utils.validation import _validate_param, _validate_run_id, _validate_tag
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.tracking_server.bulk_forms import DatasetUsed, NewRun, RunPart, refusal
from services.tracking_server.bulk_tables import (
    DATASETS,
    INPUT_TAGS,
    INPUTS,
    PARAMS,
    RUNS,
    TAGS,
    Row,
    active_runs,
    add,
    add_missing,
    experiment_places,
    log_metrics,
    metric_rows,
    put,
)


def take_runs(store: SqlAlchemyStore, parts: Sequence[RunPart]) -> list[dict[str, str]]:
    """Takes all of them or none, and returns the id and the place for artifacts of each, in their order.

    Raises:
        MlflowException: One is not as MLflow would take it.
    """
    places = experiment_places(store, (part.run.experiment_id for part in parts if isinstance(part.run, NewRun)))
    known_ids = [part.run for part in parts if isinstance(part.run, str)]
    for run_id in known_ids:
        _validate_run_id(run_id)
    if len(set(known_ids)) < len(known_ids):
        raise refusal("A request holds at most one part of a run.")
    runs: list[Row] = []
    tags: list[Row] = []
    points: list[Row] = []
    new_params: list[Row] = []
    known_params: dict[str, dict[str, str]] = {}
    used: list[tuple[str, int, DatasetUsed]] = []
    answers: list[dict[str, str]] = []
    with store.ManagedSessionMaker(read_only=False) as session:
        known = active_runs(session, known_ids)
        for part in parts:
            checked = {tag.key: tag.value for tag in (_validate_tag(*pair) for pair in part.tags.items())}
            params = {param.key: param.value for param in (_validate_param(*pair) for pair in part.params.items())}
            if isinstance(part.run, str):
                run_id, place = part.run, known[part.run].artifact_uri
                _change_run(session, part, checked)
                if params:
                    known_params[run_id] = params
            else:
                row = _run_row(part.run, part, checked, places[part.run.experiment_id])
                checked.setdefault(MLFLOW_RUN_NAME, row["name"])
                runs.append(row)
                run_id, place = row["run_uuid"], row["artifact_uri"]
                new_params += _pairs(run_id, params)
                used += [(run_id, row["experiment_id"], part.run.dataset)] if part.run.dataset else []
            tags += _pairs(run_id, checked)
            points += metric_rows(run_id, part.metrics, store.sanitize_metric_value)
            answers.append({"run_id": run_id, "artifact_uri": place})
        add(session, RUNS, runs)
        _add_datasets(session, used)
        put(session, TAGS, tags)
        add(session, PARAMS, [*new_params, *_params_to_add(session, known_params)])
        log_metrics(session, points, known_ids)
    return answers


def _run_row(new: NewRun, part: RunPart, tags: dict[str, str], place: str) -> Row:
    """The row of `runs` as `SqlAlchemyStore.create_run` and then `update_run_info` leave it."""
    told = _get_run_name_from_tags([RunTag(*pair) for pair in tags.items()])
    if new.name and told and new.name != told:
        raise refusal(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{new.name}', mlflow.runName='{told}')."
        )
    run_id = uuid.uuid4().hex
    return {
        "run_uuid": run_id,
        "name": new.name or told or _generate_random_name(),
        "source_type": SourceType.to_string(SourceType.UNKNOWN),
        "source_name": "",
        "entry_point_name": "",
        "user_id": tags.get(MLFLOW_USER, "unknown"),
        "status": part.end.status if part.end else RunStatus.to_string(RunStatus.RUNNING),
        "start_time": new.start_ms,
        "end_time": part.end.time_ms if part.end else None,
        "deleted_time": None,
        "source_version": "",
        "lifecycle_stage": LifecycleStage.ACTIVE,
        "artifact_uri": append_to_uri_path(place, run_id, SqlAlchemyStore.ARTIFACTS_FOLDER_NAME),
        "experiment_id": int(new.experiment_id),
    }


def _change_run(session: Session, part: RunPart, tags: dict[str, str]) -> None:
    """Closes a run that is there, and gives it the name that its tag says."""
    changed: dict[str, Any] = {}
    if part.end is not None:
        changed |= {"status": part.end.status, "end_time": part.end.time_ms}
    if tags.get(MLFLOW_RUN_NAME):
        changed["name"] = tags[MLFLOW_RUN_NAME]
    if changed:
        session.execute(update(RUNS).where(RUNS.c.run_uuid == part.run).values(**changed))


def _params_to_add(session: Session, params: dict[str, dict[str, str]]) -> list[Row]:
    """Params that runs do not have yet; those that they have must be the same."""
    if not params:
        return []
    there: dict[str, dict[str, str]] = {}
    for row in session.execute(select(PARAMS).where(PARAMS.c.run_uuid.in_(params))):
        there.setdefault(row.run_uuid, {})[row.key] = row.value
    rows = []
    for run_id, its in params.items():
        before = there.get(run_id, {})
        for key, value in its.items():
            if before.get(key, value) != value:
                raise refusal(
                    f"Changing param values is not allowed. Param '{key}' of run '{run_id}' is '{before[key]}', "
                    f"got '{value}'."
                )
        rows += _pairs(run_id, {key: value for key, value in its.items() if key not in before})
    return rows


def _add_datasets(session: Session, used: Sequence[tuple[str, int, DatasetUsed]]) -> None:
    """What new runs learn from: a data set once in an experiment, as `SqlAlchemyStore.log_inputs` has it.

    Args:
        session: The transaction.
        used: The id of a run, that of its experiment, and the data set.
    """
    if not used:
        return
    told = {(experiment, dataset.name, dataset.digest): dataset for _, experiment, dataset in reversed(used)}
    rows = [
        {
            "dataset_uuid": uuid.uuid4().hex,
            "experiment_id": experiment,
            "name": name,
            "digest": digest,
            "dataset_source_type": dataset.source_type,
            "dataset_source": dataset.source,
            "dataset_schema": None,
            "dataset_profile": None,
        }
        for (experiment, name, digest), dataset in told.items()
    ]
    add_missing(session, DATASETS, rows)
    mine = select(DATASETS).where(
        DATASETS.c.experiment_id.in_({experiment for experiment, _, _ in told}),
        DATASETS.c.digest.in_({digest for _, _, digest in told}),
    )
    there = {(row.experiment_id, row.name, row.digest): row.dataset_uuid for row in session.execute(mine)}
    inputs: list[Row] = []
    tags: list[Row] = []
    for run_id, experiment, dataset in used:
        inputs.append(
            {
                "input_uuid": uuid.uuid4().hex,
                "source_type": "DATASET",
                "source_id": there[experiment, dataset.name, dataset.digest],
                "destination_type": "RUN",
                "destination_id": run_id,
            }
        )
        tag = {"input_uuid": inputs[-1]["input_uuid"], "name": MLFLOW_DATASET_CONTEXT, "value": dataset.context}
        tags.append(tag)
    add(session, INPUTS, inputs)
    add(session, INPUT_TAGS, tags)


def _pairs(run_id: str, values: dict[str, str]) -> list[Row]:
    return [{"run_uuid": run_id, "key": key, "value": value} for key, value in values.items()]
