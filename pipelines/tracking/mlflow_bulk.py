"""Many runs, files and checkpoints for an MLflow server in one request each, where it has the door for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.tracking.base import UID_TAG, Refused
from pipelines.tracking.entries import RUN_NAME, FileKept
from pipelines.tracking.mlflow_checkpoints import MODEL_TYPE, model_tags
from pipelines.tracking.mlflow_door import BulkDoor
from pipelines.tracking.mlflow_pictures import PICTURES_FOLDER, picture_files
from pipelines.tracking.parcels import CheckpointParcel, FileParcel, RunParcel

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SERVED = "mlflow-artifacts:"


def is_served(place: str) -> bool:
    """Whether artifacts at an address of MLflow's go through the server that is asked: it names no other."""
    return place.startswith(f"{_SERVED}/") and not place.startswith(f"{_SERVED}//")


def send_runs(door: BulkDoor, client: MlflowClient, parcels: Sequence[RunParcel]) -> list[Mapping[str, str] | None]:
    """Sends parts of runs; returns the id and the artifacts' place of each, None for all where they are too much."""
    told = door.send(client, "runs", {"runs": [_run_form(parcel) for parcel in parcels]})
    if told is None:
        return [None] * len(parcels)
    runs = told.get("runs", [])
    if len(runs) != len(parcels) or any({"run_id", "artifact_uri"} - set(run) for run in runs):
        raise door.unanswered()
    return list(runs)


def send_files(door: BulkDoor, client: MlflowClient, parcels: Sequence[FileParcel]) -> list[bool]:
    """Sends files and pictures; says which were good to be sent."""
    forms: list[dict[str, Any]] = []
    contents: list[bytes] = []
    taken = []
    for parcel in parcels:
        try:
            files = _files_of(parcel)
        except (OSError, Refused):  # which is told when it is sent by itself
            taken.append(False)
            continue
        taken.append(True)
        for name, content in files.items():
            forms.append(_file_form(parcel, name, len(content)))
            contents.append(content)
    if forms:
        told = door.send(client, "files", {"files": forms}, contents)
        if told is None:
            return [False] * len(parcels)
        if told.get("files") != len(forms):
            raise door.unanswered()
    return taken


def send_checkpoints(door: BulkDoor, client: MlflowClient, parcels: Sequence[CheckpointParcel]) -> list[bool]:
    """Sends checkpoints; says which were good to be sent."""
    forms: list[dict[str, Any]] = []
    contents: list[bytes] = []
    taken = []
    for parcel in parcels:
        try:
            content = parcel.path.read_bytes()
        except OSError:  # which is told when it is sent by itself
            taken.append(False)
            continue
        taken.append(True)
        forms.append(_checkpoint_form(parcel, len(content)))
        contents.append(content)
    if forms:
        told = door.send(client, "checkpoints", {"checkpoints": forms}, contents)
        if told is None:
            return [False] * len(parcels)
        if len(told.get("model_ids", [])) != len(forms):
            raise door.unanswered()
    return taken


def _run_form(parcel: RunParcel) -> dict[str, Any]:
    tags = parcel.tags
    run: str | dict[str, Any] | None = parcel.run_id
    if parcel.begun is not None:
        tags[UID_TAG] = parcel.uid
        if parcel.parent_run_id is not None:
            tags["mlflow.parentRunId"] = parcel.parent_run_id
        begun = parcel.begun
        name = tags.get(RUN_NAME, begun.name)  # a server takes no run that is called one thing and told another
        run = {"experiment_id": parcel.experiment_id, "name": name, "start_ms": begun.time_ms}
        if begun.dataset:
            run["dataset"] = dict(begun.dataset)
    form: dict[str, Any] = {"run": run, "tags": tags, "params": parcel.params}
    form["metrics"] = [
        (key, float(value), entry.time_ms, entry.step)
        for entry in parcel.logged
        for key, value in entry.metrics.items()
    ]
    if parcel.ended is not None:
        form["end"] = {"status": parcel.ended.status, "time_ms": parcel.ended.time_ms}
    return form


def _files_of(parcel: FileParcel) -> dict[str, bytes]:
    """The files that an entry is on the server, by name."""
    if isinstance(parcel.entry, FileKept):
        return {parcel.path.name: parcel.path.read_bytes()}
    return picture_files(parcel.path, parcel.entry)


def _file_form(parcel: FileParcel, name: str, size: int) -> dict[str, Any]:
    entry = parcel.entry
    kept = {"folder": entry.folder} if isinstance(entry, FileKept) else {"folder": PICTURES_FOLDER, "picture": True}
    return {"run_id": parcel.run_id, "file": name, "bytes": size, **kept}


def _checkpoint_form(parcel: CheckpointParcel, size: int) -> dict[str, Any]:
    entry = parcel.entry
    return {
        "run_id": parcel.run_id,
        "name": entry.name,
        "model_type": MODEL_TYPE,
        "step": entry.step,
        "tags": model_tags(entry),
        "metrics": [(key, float(value), entry.time_ms, entry.step) for key, value in entry.metrics.items()],
        "file": parcel.path.name,
        "bytes": size,
        "sha256": entry.sha256,
    }
