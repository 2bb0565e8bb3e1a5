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
from pipelines.tracking.base import CHECKPOINT_TAG, UID_TAG, Refused, Unavailable, dropped_text
from pipelines.tracking.entries import CheckpointDropped, CheckpointKept
from pipelines.tracking.holdings import HeldCheckpoint
from pipelines.tracking.mlflow_client import repository

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_TYPE = "checkpoint"
SHA_TAG = "regatta.checkpoint_sha256"
_REASON_TAG = "regatta.reason"
_READ_BACK_BYTES = 16 << 20
"""Up to this size a file is read back to compare its digest; of a larger one, the server must tell the same size."""
_LARGE_BYTES = 4 << 20
_SLOWEST_BYTES_PER_S = 256 << 10
"""What a bucket behind the server takes at least; a large file that takes longer is sent again."""


def model_tags(entry: CheckpointKept) -> dict[str, str]:
    """By what a checkpoint is found again."""
    return {UID_TAG: entry.uid, SHA_TAG: entry.sha256, "regatta.epoch": str(entry.step)}


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
            tags=model_tags(entry),
        )
    )
    _upload(client, model, path)
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
    said = dropped_text(entry.reason)
    for model in _find(client, run_id, experiment_id, entry.sha256):
        version = _version_that_needs(client, run_id, model, entry.sha256)
        if version is not None:
            said = f"kept: {version.name} version {version.version} needs it"
            continue
        repository(client, model.artifact_location).delete_artifacts()  # first: a model that is gone is not found again
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
    return Path(repository(client, model.artifact_location).download_artifacts(files[0], str(folder)))


def fail(client: MlflowClient, model_id: str, reason: str) -> None:
    """Marks a model that will never be whole."""
    from mlflow.entities import LoggedModelStatus

    client.set_logged_model_tags(model_id, {_REASON_TAG: reason})
    client.finalize_logged_model(model_id, LoggedModelStatus.FAILED)


def _status(model: Any) -> str:
    return str(model.status)


def _find(client: MlflowClient, run_id: str, experiment_id: str, sha256: str) -> list[Any]:
    """The checkpoints of a run with that digest, oldest first; a package that was made of one has it, too."""
    query = f"source_run_id = '{run_id}' AND model_type = '{MODEL_TYPE}' AND tags.`{SHA_TAG}` = '{sha256}'"
    found = _search(client, experiment_id, query)
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


def _upload(client: MlflowClient, model: Any, path: Path) -> None:
    """Sends the file. `log_artifact` does the same, but waits for the answer no longer than for that of a small one.

    A server that has its files in a bucket answers when the file is there, which takes a large one its time.
    """
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from mlflow.utils.request_utils import augmented_raise_for_status
    from mlflow.utils.rest_utils import http_request

    files, size = repository(client, model.artifact_location), path.stat().st_size
    if not isinstance(files, HttpArtifactRepository) or size < _LARGE_BYTES:
        files.log_artifact(str(path))
        return
    with path.open("rb") as content:
        patience_s = MLFLOW_HTTP_REQUEST_TIMEOUT.get() + size / _SLOWEST_BYTES_PER_S  # type: ignore[no-untyped-call]
        host, name = files._host_creds, f"/{path.name}"
        answer = http_request(host, name, "PUT", timeout=patience_s, data=content)  # type: ignore[no-untyped-call]
        augmented_raise_for_status(answer)  # type: ignore[no-untyped-call]


def _verify(client: MlflowClient, model: Any, path: Path, sha256: str) -> None:
    """Makes sure that the file is there as it was sent."""
    files, size = repository(client, model.artifact_location), path.stat().st_size
    if size > _READ_BACK_BYTES:
        listed = {file.path: file.file_size for file in files.list_artifacts()}
        arrived = listed.get(path.name)
        if path.name not in listed or (arrived is not None and arrived != size):
            raise _not_whole(path, size, arrived)
        if arrived is not None:
            return
    with TemporaryDirectory(prefix="regatta-checkpoint-") as folder:
        back = Path(folder) / path.name
        arrived = _download(files, path.name, back)
        if arrived != size:
            raise _not_whole(path, size, arrived)
        digest = sha256_of(back)
    if digest != sha256:
        raise Unavailable(f"{path.name} has not arrived as it was sent: its digest there is {digest}, not {sha256}")


def _download(files: Any, name: str, target: Path) -> int | None:
    """Brings one file, and returns its size; None where it is not there.

    `download_artifacts` does the same, but asks twice first whether it is a folder.
    """
    import requests
    from mlflow.exceptions import MlflowException

    try:
        files._download_file(name, str(target))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    except requests.HTTPError as error:
        if error.response is None or error.response.status_code != 404:
            raise
        return None
    return target.stat().st_size


def _not_whole(path: Path, size: int, arrived: int | None) -> Unavailable:
    return Unavailable(f"{path.name} has not arrived whole: {size} bytes were sent, {arrived} are there")


def _version_that_needs(client: MlflowClient, run_id: str, model: Any, sha256: str) -> Any:
    """A registered version whose files are this model's, or that was made of this very checkpoint; None if none is."""
    location = str(model.artifact_location)
    for query in (f"run_id = '{run_id}'", f"source_path = 'models:/{model.model_id}'", f"source_path = '{location}'"):
        for version in client.search_model_versions(query):
            reaches = model.model_id in {version.model_id, *str(version.source).split("/")}
            if reaches or (version.tags or {}).get(SHA_TAG) == sha256:
                return version
    return None
