"""What an MLflow server holds, read in as few requests as it allows: for whoever compares it with the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.tracking.base import UID_TAG
from pipelines.tracking.holdings import DamagedVersion, HeldRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_BULK_RUNS = 50
_BULK_POINTS = 25_000
"""What the server gives at most; an answer with so many is taken for one that was cut."""
_MANIFEST = "manifest.json"


def runs(client: MlflowClient, experiment_id: str, tag: str, value: str) -> list[HeldRun]:
    """All runs with a tag, with the newest value of each metric."""
    found: list[HeldRun] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1000, page_token=token)
        found += [
            HeldRun(run.info.run_id, run.data.tags.get(UID_TAG, ""), run.info.status, run.data.tags, run.data.metrics)
            for run in page
        ]
        token = page.token
        if not token:
            return found


def history(client: MlflowClient, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
    """All points of a metric by run; over HTTP, fifty runs a request."""
    points: dict[str, list[tuple[int, float]]] = {}
    for at in range(0, len(run_ids), _BULK_RUNS):
        some = run_ids[at : at + _BULK_RUNS]
        found = _bulk(client, some, metric) if client.tracking_uri.startswith(("http://", "https://")) else None
        if found is None:
            found = {
                run_id: [(point.step, point.value) for point in client.get_metric_history(run_id, metric)]
                for run_id in some
            }
        points |= found
    return points


def damaged_versions(client: MlflowClient, name: str, expected: str | None = None) -> list[DamagedVersion]:
    """Versions under a name that lack files: all of them, or some that their manifest names; see `Tracker`."""
    models = client.search_registered_models(f"name = '{name}'")
    if not models:
        gone = f"the registry knows no model of that name any more; judge it again with: regatta promote {name}"
        return [DamagedVersion(name, expected, (), gone)] if expected else []
    aliases: dict[str, list[str]] = {}
    for alias, version in (models[0].aliases or {}).items():
        aliases.setdefault(str(version), []).append(alias)
    damaged = []
    for version in client.search_model_versions(f"name = '{name}'", max_results=10_000):
        problem = _damage(client, version)
        if problem is not None:
            number = str(version.version)
            damaged.append(DamagedVersion(name, number, tuple(sorted(aliases.get(number, ()))), problem))
    return sorted(damaged, key=lambda version: int(version.version))


def _bulk(client: MlflowClient, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]] | None:
    """The answer to one request of the kind that MLflow's own page makes; None where the server gives none, or cuts."""
    from mlflow.utils import credentials, rest_utils

    query = [*(("run_id", run_id) for run_id in run_ids), ("metric_key", metric), ("max_results", str(_BULK_POINTS))]
    ask: Any = rest_utils.http_request
    server: Any = credentials.get_default_host_creds
    answer = ask(server(client.tracking_uri), _BULK, "GET", params=query)
    if answer.status_code != 200:
        return None
    listed = answer.json().get("metrics", [])
    if len(listed) >= _BULK_POINTS:
        return None
    points: dict[str, list[tuple[int, float]]] = {run_id: [] for run_id in run_ids}
    for point in listed:
        points[point["run_id"]].append((int(point["step"]), float(point["value"])))
    return points


def _damage(client: MlflowClient, version: Any) -> str | None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact import artifact_repository_registry

    location = str(client.get_model_version_download_uri(version.name, version.version))
    if location.startswith("models:/"):
        try:
            location = str(client.get_logged_model(location.removeprefix("models:/")).artifact_location)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return f"its model {location} is deleted"
            raise
    repository: Any = artifact_repository_registry.get_artifact_repository(location, tracking_uri=client.tracking_uri)
    there = set(_files(repository))
    if not there:
        return f"there are no files at {location}"
    if _MANIFEST not in there:
        return None  # somebody else registered it
    with TemporaryDirectory(prefix="regatta-manifest-") as folder:
        path = Path(repository.download_artifacts(_MANIFEST, folder))
        named = set(json.loads(path.read_text(encoding="utf-8"))["files"])
    missing = sorted(named - there)
    return f"{', '.join(missing)} missing" if missing else None


def _files(repository: Any, folder: str | None = None) -> Iterator[str]:
    for file in repository.list_artifacts(folder):
        if file.is_dir:
            yield from _files(repository, file.path)
        else:
            yield file.path
