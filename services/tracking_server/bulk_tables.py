"""MLflow's tables, as far as the bulk door writes to them, and what it needs to write many rows at once.

The ORM's objects are what costs in MLflow's own calls; plain rows in one statement cost a tenth of them.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.validation import _validate_metric
from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.tracking_server.bulk_forms import Point, refusal

Row = dict[str, Any]

RUNS: Table = models.SqlRun.__table__
TAGS: Table = models.SqlTag.__table__
PARAMS: Table = models.SqlParam.__table__
METRICS: Table = models.SqlMetric.__table__
LATEST: Table = models.SqlLatestMetric.__table__
DATASETS: Table = models.SqlDataset.__table__
INPUTS: Table = models.SqlInput.__table__
INPUT_TAGS: Table = models.SqlInputTag.__table__
MODELS: Table = models.SqlLoggedModel.__table__
MODEL_TAGS: Table = models.SqlLoggedModelTag.__table__
MODEL_METRICS: Table = models.SqlLoggedModelMetric.__table__

_METRIC_COLUMNS = "key value timestamp step is_nan run_uuid"
_KNOWN = {
    RUNS: "run_uuid name source_type source_name entry_point_name user_id status start_time end_time deleted_time "
    "source_version lifecycle_stage artifact_uri experiment_id",
    TAGS: "key value run_uuid",
    PARAMS: "key value run_uuid",
    METRICS: _METRIC_COLUMNS,
    LATEST: _METRIC_COLUMNS,
    DATASETS: "dataset_uuid experiment_id name digest dataset_source_type dataset_source dataset_schema "
    "dataset_profile",
    INPUT_TAGS: "input_uuid name value",
    INPUTS: "input_uuid source_type source_id destination_type destination_id step",
    MODELS: "model_id experiment_id name artifact_location creation_timestamp_ms last_updated_timestamp_ms status "
    "lifecycle_stage model_type source_run_id status_message",
    MODEL_TAGS: "model_id experiment_id tag_key tag_value",
    MODEL_METRICS: "model_id metric_name metric_timestamp_ms metric_step metric_value experiment_id run_id "
    "dataset_uuid dataset_name dataset_digest",
}
_INSERTS: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
DIALECTS = frozenset(_INSERTS)
_LARGEST = 1.7976931348623157e308


def unknown_columns() -> list[str]:
    """In what MLflow's tables differ from those that this was written for; nothing where they do not."""
    return [
        f"{table.name}.{name}"
        for table, names in _KNOWN.items()
        for name in sorted(set(names.split()) ^ {column.name for column in table.columns})
    ]


def add(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """New rows, none of which is there."""
    if rows:
        session.execute(table.insert(), list(rows))


def add_missing(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """Rows of which some may be there already, just as they are."""
    if rows:
        session.execute(_insert(session, table).on_conflict_do_nothing(), list(rows))


def put(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """Rows that take the place of those with the same keys."""
    if rows:
        keys = [column.name for column in table.primary_key]
        statement = _insert(session, table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        session.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), list(rows))


def active_runs(session: Session, run_ids: Iterable[str]) -> dict[str, Any]:
    """The rows of these runs, which must be there and not be deleted."""
    wanted = list(dict.fromkeys(run_ids))
    if not wanted:
        return {}
    columns = (RUNS.c.run_uuid, RUNS.c.lifecycle_stage, RUNS.c.experiment_id, RUNS.c.artifact_uri)
    found = {row.run_uuid: row for row in session.execute(select(*columns).where(RUNS.c.run_uuid.in_(wanted)))}
    for run_id in wanted:
        if run_id not in found:
            raise MlflowException(f"Run with id={run_id} not found", RESOURCE_DOES_NOT_EXIST)
        if found[run_id].lifecycle_stage != LifecycleStage.ACTIVE:
            raise refusal(
                f"The run {run_id} must be in the 'active' state. Current state is {found[run_id].lifecycle_stage}."
            )
    return found


def experiment_places(store: SqlAlchemyStore, experiment_ids: Iterable[str]) -> dict[str, str]:
    """Where these experiments keep their artifacts; they must be there and not be deleted."""
    places = {}
    for experiment_id in dict.fromkeys(experiment_ids):
        experiment = store.get_experiment(experiment_id)
        store._check_experiment_is_active(experiment)
        places[experiment_id] = str(experiment.artifact_location)
    return places


def metric_rows(run_id: str, points: Iterable[Point], stored: Callable[[float], tuple[bool, float]]) -> list[Row]:
    """Points as MLflow has them in its tables. `stored` is the store's rule for what no database takes for a number."""
    rows = []
    for key, value, time_ms, step in points:
        _check_metric_name(key)
        is_nan, kept = (False, value) if -_LARGEST <= value <= _LARGEST else stored(value)
        row = {"run_uuid": run_id, "key": key, "value": kept, "timestamp": time_ms, "step": step, "is_nan": is_nan}
        rows.append(row)
    return rows


def log_metrics(session: Session, rows: Sequence[Row], known_runs: Sequence[str]) -> None:
    """Adds points, and lets those that are newer than a run's latest ones take their place.

    Args:
        session: The transaction.
        rows: The points.
        known_runs: Those of their runs that may have points already.
    """
    add_missing(session, METRICS, rows)
    latest: dict[tuple[str, str], Row] = {}
    if known_runs:
        there = select(LATEST).where(LATEST.c.run_uuid.in_(known_runs)).order_by(LATEST.c.run_uuid, LATEST.c.key)
        found = map(dict, session.execute(there.with_for_update()).mappings())
        latest = {(row["run_uuid"], row["key"]): row for row in found}
    changed: dict[tuple[str, str], Row] = {}
    for row in rows:
        place = (row["run_uuid"], row["key"])
        before = latest.get(place)
        if before is None or _age(row) > _age(before):
            latest[place] = changed[place] = row
    put(session, LATEST, list(changed.values()))


def _age(row: Row) -> tuple[int, int, float]:
    return row["step"], row["timestamp"], row["value"]


def _insert(session: Session, table: Table) -> Any:
    return _INSERTS[session.get_bind().dialect.name](table)


@lru_cache(4096)
def _check_metric_name(name: str) -> None:
    """MLflow's own check; the rest of it is a matter of types, which the form has seen to."""
    _validate_metric(name, 0.0, 0, 0)
