"""Checkpoints as models of MLflow's, each with the metrics of its epoch, so that MLflow's own ranking finds the best.

A model is PENDING until its file has arrived whole and its metrics are there; only then it is READY. A delivery that
broke off is gone on with where it is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.checkpoints import sha256_of
from pipelines.tracking.base import CHECKPOINT_TAG, UID_TAG, Refused, Unavailable
from pipelines.tracking.entries import CheckpointDropped, CheckpointKept
from pipelines.tracking.holdings import HeldCheckpoint

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_TYPE = "checkpoint"
SHA_TAG = "regatta.checkpoint_sha256"
_REASON_TAG = "regatta.reason"
_READ_BACK_BYTES = 16 << 20
"""Up to this size a file is read back to compare its digest; of a larger one, the server must tell the same size."""


def keep(
    client: MlflowClient, run_id: str, experiment_id: str, path: Path, entry: CheckpointKept, *, suspect: bool
) -> None:
    """Makes the model, or goes on with one that an earlier delivery began."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    found = _find(client, run_id, experiment_id, entry.sha256) if suspect else []
    if any(str(model.status) == "READY" for model in found):
        return
    _check(path, entry)
    for double in found[1:]:
        client.delete_logged_model(double.model_id)
    model = (
        found[0]
        if found
        else client.create_logged_model(
            experiment_id,
            name=entry.name,
            source_run_id=run_id,
            model_type=MODEL_TYPE,
            tags={UID_TAG: entry.uid, SHA_TAG: entry.sha256, "regatta.epoch": str(entry.step)},
        )
    )
    client.log_model_artifact(model.model_id, str(path))
    _verify(client, model, path, entry.sha256)
    outputs = client.get_run(run_id).outputs if suspect else None  # it would not take the same twice
    if outputs is None or model.model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=entry.step)])
    points = [
        Metric(key, value, entry.time_ms, entry.step, model_id=model.model_id) for key, value in entry.metrics.items()
    ]
    client.log_batch(run_id, metrics=points, synchronous=True)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def drop(client: MlflowClient, run_id: str, experiment_id: str, entry: CheckpointDropped) -> None:
    """Removes the file and the model, unless the registry reaches it."""
    said = f"dropped: {entry.reason}"
    for model in _find(client, run_id, experiment_id, entry.sha256):
        version = _version_that_needs(client, run_id, model, entry.sha256)
        if version is not None:
            said = f"kept: {version.name} version {version.version} needs it"
            continue
        _repository(client, model).delete_artifacts()  # first: a model that is gone is not found again
        client.delete_logged_model(model.model_id)
    client.set_tag(run_id, CHECKPOINT_TAG, said)


def held(client: MlflowClient, experiment_id: str) -> list[HeldCheckpoint]:
    """All of an experiment."""
    return [
        HeldCheckpoint(model.model_id, model.tags.get(UID_TAG, ""), model.tags.get(SHA_TAG, ""), _status(model))
        for model in _search(client, experiment_id, f"model_type = '{MODEL_TYPE}'")
    ]


def fetch(client: MlflowClient, model_id: str, folder: Path) -> Path:
    """Downloads the one file of a model."""
    model = client.get_logged_model(model_id)
    files = [file.path for file in client.list_logged_model_artifacts(model_id) if not file.is_dir]
    if len(files) != 1:
        raise Refused(f"the model {model_id} holds {len(files)} files, not one")
    folder.mkdir(parents=True, exist_ok=True)
    return Path(_repository(client, model).download_artifacts(files[0], str(folder)))


def fail(client: MlflowClient, model_id: str, reason: str) -> None:
    """Marks a model that will never be whole."""
    from mlflow.entities import LoggedModelStatus

    client.set_logged_model_tags(model_id, {_REASON_TAG: reason})
    client.finalize_logged_model(model_id, LoggedModelStatus.FAILED)


def _status(model: Any) -> str:
    return str(model.status)


def _find(client: MlflowClient, run_id: str, experiment_id: str, sha256: str) -> list[Any]:
    """The models of a run with that digest, oldest first."""
    found = _search(client, experiment_id, f"source_run_id = '{run_id}' AND tags.`{SHA_TAG}` = '{sha256}'")
    return sorted(found, key=lambda model: (int(model.creation_timestamp), model.model_id))


def _search(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = client.search_logged_models([experiment_id], filter_string=query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _check(path: Path, entry: CheckpointKept) -> None:
    if not path.is_file():
        raise Refused(f"{path} is gone")
    digest = sha256_of(path)
    if digest != entry.sha256:
        raise Refused(f"{path} is not what was written: its digest is {digest}, not {entry.sha256}")


def _verify(client: MlflowClient, model: Any, path: Path, sha256: str) -> None:
    """Makes sure that the file is there as it was sent."""
    size = path.stat().st_size
    listed = {file.path: file.file_size for file in client.list_logged_model_artifacts(model.model_id)}
    if path.name not in listed or (listed[path.name] is not None and listed[path.name] != size):
        arrived = listed.get(path.name)
        raise Unavailable(f"{path.name} has not arrived whole: {size} bytes were sent, {arrived} are there")
    if size <= _READ_BACK_BYTES or listed[path.name] is None:
        with TemporaryDirectory(prefix="regatta-checkpoint-") as folder:
            back = Path(_repository(client, model).download_artifacts(path.name, folder))
            digest = sha256_of(back)
        if digest != sha256:
            raise Unavailable(f"{path.name} has not arrived as it was sent: its digest there is {digest}, not {sha256}")


def _version_that_needs(client: MlflowClient, run_id: str, model: Any, sha256: str) -> Any:
    """A registered version whose files are this model's, or that was made of this very checkpoint; None if none is."""
    location = str(model.artifact_location)
    for query in (f"run_id = '{run_id}'", f"source_path = 'models:/{model.model_id}'", f"source_path = '{location}'"):
        for version in client.search_model_versions(query):
            reaches = model.model_id in {version.model_id, *str(version.source).split("/")}
            if reaches or (version.tags or {}).get(SHA_TAG) == sha256:
                return version
    return None


def _repository(client: MlflowClient, model: Any) -> Any:
    """Where the files of a model are."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(model.artifact_location, tracking_uri=client.tracking_uri)
