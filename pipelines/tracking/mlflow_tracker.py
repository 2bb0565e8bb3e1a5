"""Delivers to an MLflow server, by explicit run ids and in few large requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.tracking import mlflow_bulk, mlflow_checkpoints, mlflow_holdings, mlflow_runs
from pipelines.tracking.base import UID_TAG, Refused, Tracker
from pipelines.tracking.entries import (
    END_REASON,
    CheckpointDropped,
    CheckpointKept,
    Logged,
    PictureKept,
    RunBegun,
)
from pipelines.tracking.holdings import DamagedVersion, HeldCheckpoint, HeldRun
from pipelines.tracking.mlflow_client import connect, end_run, mlflow_errors, repository
from pipelines.tracking.mlflow_door import BulkDoor
from pipelines.tracking.mlflow_pictures import PICTURES_FOLDER, PICTURES_TAG, picture_files
from pipelines.tracking.parcels import CheckpointParcel, FileParcel, RunParcel

if TYPE_CHECKING:
    from mlflow import MlflowClient

_Parcel = TypeVar("_Parcel", FileParcel, CheckpointParcel)


class MlflowTracker(Tracker):
    """A tracker on an MLflow server (or on a database, where the URI names one)."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._experiment_of: dict[str, str] = {}
        self._place_of: dict[str, str] = {}
        self._pictured: set[str] = set()
        self._door = BulkDoor(uri)
        self._lock = threading.Lock()
        self._picturing = threading.Lock()

    @property
    def client(self) -> MlflowClient:
        """Made at first use: importing MLflow takes a second, and the journal can be written without it."""
        with self._lock:
            if self._client is None:
                with mlflow_errors():  # for a database, this is where it is opened
                    self._client = connect(self.uri)
            return self._client

    def experiment(self, name: str) -> str:
        """Finds or makes the experiment; two sweeps that make it at once agree on one."""
        with self._lock:
            known = self._experiments.get(name)
        if known is not None:
            return known
        client = self.client
        with mlflow_errors():
            experiment_id = mlflow_runs.experiment(client, name)
        with self._lock:
            self._experiments[name] = experiment_id
        return experiment_id

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        """Makes the run, or finds it by its uid where it may be there already."""
        client = self.client
        with mlflow_errors():
            run = mlflow_runs.begin(client, entry, experiment_id, parent_run_id, suspect=suspect)
        return self._know(str(run.info.run_id), experiment_id, str(run.info.artifact_uri))

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        """Sends all of it in as few requests as MLflow allows."""
        client = self.client
        with mlflow_errors():
            mlflow_runs.log(client, run_id, entries)

    def keep(self, run_id: str, path: Path, folder: str) -> None:
        """Uploads the file."""
        if not path.is_file():
            raise Refused(f"{path} is gone")
        with mlflow_errors():
            self._files_of(run_id).log_artifact(str(path), folder or None)

    def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
        """Uploads the picture as MLflow's own `log_image` would, but under a name that follows from the entry."""
        files = picture_files(path, entry)
        client = self.client
        with mlflow_errors(), TemporaryDirectory(prefix="regatta-picture-") as folder:
            with self._picturing:  # MLflow refuses a tag that two requests set for the first time at once
                if run_id not in self._pictured:
                    client.set_tag(run_id, PICTURES_TAG, "True")
                    self._pictured.add(run_id)
            for file, data in files.items():
                (Path(folder) / file).write_bytes(data)
                self._files_of(run_id).log_artifact(str(Path(folder) / file), PICTURES_FOLDER)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Closes the run."""
        with mlflow_errors():
            end_run(self.client, run_id, status, time_ms)

    def keep_checkpoint(self, run_id: str, path: Path, entry: CheckpointKept, *, suspect: bool) -> None:
        """Makes a model of it; see `mlflow_checkpoints`."""
        client = self.client
        with mlflow_errors():
            mlflow_checkpoints.keep(client, run_id, self._experiment_of_run(run_id), path, entry, suspect=suspect)

    def drop_checkpoint(self, run_id: str, entry: CheckpointDropped) -> None:
        """Deletes its file for good, and its model."""
        client = self.client
        with mlflow_errors():
            mlflow_checkpoints.drop(client, run_id, self._experiment_of_run(run_id), entry)

    def takes_many(self) -> bool:
        """Whether the server has the bulk door: Regatta's own has, others are asked once."""
        client = self.client
        with mlflow_errors():
            return bool(self._door.limits(client))

    def take_runs(self, parcels: Sequence[RunParcel]) -> list[str | None]:
        """Sends them in one request."""
        client = self.client
        with mlflow_errors():
            runs = mlflow_bulk.send_runs(self._door, client, parcels)
        for parcel, run in zip(parcels, runs, strict=True):
            if run is not None and parcel.begun is not None:
                self._know(run["run_id"], parcel.experiment_id, run["artifact_uri"])
        return [run["run_id"] if run is not None else None for run in runs]

    def take_files(self, parcels: Sequence[FileParcel]) -> list[bool]:
        """Sends them in one request, where the server keeps the files of their runs itself."""
        client = self.client
        with mlflow_errors():
            return self._many_files(parcels, lambda some: mlflow_bulk.send_files(self._door, client, some))

    def take_checkpoints(self, parcels: Sequence[CheckpointParcel]) -> list[bool]:
        """Sends them in one request, where the server keeps the files of their runs itself."""
        client = self.client
        with mlflow_errors():
            return self._many_files(parcels, lambda some: mlflow_bulk.send_checkpoints(self._door, client, some))

    def has_run(self, run_id: str, uid: str) -> bool:
        """Whether the run is there; one that somebody deleted still is."""
        client = self.client
        try:
            with mlflow_errors():
                there = client.get_run(run_id).data.tags.get(UID_TAG) == uid
        except Refused:
            there = False
        if not there:  # then nothing else is as it was, either
            with self._lock:
                self._experiments.clear()
                self._experiment_of.clear()
                self._place_of.clear()
                self._pictured.clear()
            self._door.forget()
        return there

    def held_runs(self, experiment: str, tag: str, value: str) -> list[HeldRun]:
        """Searches for the tag."""
        client = self.client
        with mlflow_errors():
            experiment_id = self._known_experiment(experiment)
            return mlflow_holdings.runs(client, experiment_id, tag, value) if experiment_id else []

    def history(self, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
        """Reads it in bulk where the server can."""
        client = self.client
        with mlflow_errors():
            return mlflow_holdings.history(client, run_ids, metric)

    def discard(self, run_id: str, reason: str) -> None:
        """Deletes the run, which MLflow can undo."""
        client = self.client
        with mlflow_errors():
            client.set_tag(run_id, END_REASON, reason)
            client.set_terminated(run_id, "KILLED")
            client.delete_run(run_id)

    def held_checkpoints(self, experiment: str) -> list[HeldCheckpoint]:
        """Searches for their type."""
        client = self.client
        with mlflow_errors():
            experiment_id = self._known_experiment(experiment)
            return mlflow_checkpoints.held(client, experiment_id) if experiment_id else []

    def fetch_checkpoint(self, model_id: str, folder: Path) -> Path:
        """Downloads it."""
        client = self.client
        with mlflow_errors():
            return mlflow_checkpoints.fetch(client, model_id, folder)

    def fail_checkpoint(self, model_id: str, reason: str) -> None:
        """Sets MLflow's own status."""
        client = self.client
        with mlflow_errors():
            mlflow_checkpoints.fail(client, model_id, reason)

    def damaged_versions(self, name: str, expected: str | None = None) -> list[DamagedVersion]:
        """Lists the files of every version."""
        client = self.client
        with mlflow_errors():
            return mlflow_holdings.damaged_versions(client, name, expected)

    def _known_experiment(self, name: str) -> str | None:
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id) if found is not None else None

    def _many_files(
        self, parcels: Sequence[_Parcel], send: Callable[[Sequence[_Parcel]], Sequence[bool]]
    ) -> list[bool]:
        """Sends those that the server keeps itself, and says of each whether it is there."""
        if not self._door.limits(self.client).get("files"):
            return [False] * len(parcels)
        served = [mlflow_bulk.is_served(self._look_up(parcel.run_id)) for parcel in parcels]
        sent = iter(send([parcel for parcel, its in zip(parcels, served, strict=True) if its]))
        return [its and next(sent) for its in served]

    def _know(self, run_id: str, experiment_id: str, place: str) -> str:
        self._experiment_of[run_id] = experiment_id
        self._place_of[run_id] = place
        return run_id

    def _experiment_of_run(self, run_id: str) -> str:
        self._look_up(run_id)
        return self._experiment_of[run_id]

    def _files_of(self, run_id: str) -> Any:
        """Where the files of a run go."""
        return repository(self.client, self._look_up(run_id))

    def _look_up(self, run_id: str) -> str:
        """Where the files of a run are, which somebody else may have begun: an earlier process of ours."""
        if run_id not in self._place_of:
            run = self.client.get_run(run_id)
            self._know(run_id, str(run.info.experiment_id), str(run.info.artifact_uri))
        return self._place_of[run_id]
