"""Delivers to an MLflow server, by explicit run ids and in few large requests."""

from __future__ import annotations

import io
import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines.tracking import mlflow_checkpoints, mlflow_holdings
from pipelines.tracking.base import UID_TAG, Refused, Tracker, Unavailable
from pipelines.tracking.entries import (
    END_REASON,
    TAGS_OF_AN_END,
    CheckpointDropped,
    CheckpointKept,
    Logged,
    PictureKept,
    RunBegun,
)
from pipelines.tracking.holdings import DamagedVersion, HeldCheckpoint, HeldRun
from pipelines.tracking.mlflow_client import connect, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PICTURES_TAG = "mlflow.loggedImages"
_PICTURES_FOLDER = "images"
_SMALL_PX = 256
"""The longer side of a picture's small form, as MLflow makes it; its page shows that one until somebody clicks."""


class MlflowTracker(Tracker):
    """A tracker on an MLflow server (or on a database, where the URI names one)."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._experiment_of: dict[str, str] = {}
        self._pictured: set[str] = set()
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
            found = client.get_experiment_by_name(name)
            if found is None:
                try:
                    experiment_id = client.create_experiment(name)
                except Exception:
                    found = client.get_experiment_by_name(name)  # somebody else was first
                    if found is None:
                        raise
            if found is not None:
                if found.lifecycle_stage == "deleted":
                    raise Refused(
                        f"the experiment '{name}' was deleted on {self.uri}; restore it there, or give the study "
                        f"another name"
                    )
                experiment_id = found.experiment_id
        with self._lock:
            self._experiments[name] = str(experiment_id)
        return str(experiment_id)

    def begin(self, entry: RunBegun, experiment_id: str, parent_run_id: str | None, *, suspect: bool) -> str:
        """Makes the run, or finds it by its uid where it may be there already."""
        client = self.client
        tags = {**entry.tags, UID_TAG: entry.uid}
        if parent_run_id is not None:
            tags["mlflow.parentRunId"] = parent_run_id
        with mlflow_errors():
            found = self._run_of(entry.uid, experiment_id) if suspect else None
            if found is not None:
                run_id = str(found.info.run_id)
                client.update_run(run_id, status="RUNNING")
                for tag in TAGS_OF_AN_END:
                    if tag in found.data.tags:
                        client.delete_tag(run_id, tag)
                _log(client, run_id, params=entry.params, tags=tags)
                self._experiment_of[run_id] = experiment_id
                return run_id
            run = client.create_run(experiment_id, start_time=entry.time_ms, tags=tags, run_name=entry.name)
            run_id = str(run.info.run_id or "")
            if not run_id:  # what MLflow's client makes of an answer without content
                raise Unavailable(f"{self.uri} gave no answer that says whether the run was made")
            _log(client, run_id, params=entry.params)
            self._experiment_of[run_id] = experiment_id
            return run_id

    def log(self, run_id: str, entries: Sequence[Logged]) -> None:
        """Sends all of it in as few requests as MLflow allows. Same key, step and time is the same point there."""
        client = self.client
        from mlflow.entities import Metric

        points = [
            Metric(key, value, entry.time_ms, entry.step) for entry in entries for key, value in entry.metrics.items()
        ]
        params = {key: value for entry in entries for key, value in entry.params.items()}
        tags = {key: value for entry in entries for key, value in entry.tags.items()}
        with mlflow_errors():
            _log(client, run_id, points, params, tags)

    def keep(self, run_id: str, path: Path, folder: str) -> None:
        """Uploads the file."""
        if not path.is_file():
            raise Refused(f"{path} is gone")
        with mlflow_errors():
            self.client.log_artifact(run_id, str(path), folder or None)

    def keep_picture(self, run_id: str, path: Path, entry: PictureKept) -> None:
        """Uploads the picture as MLflow's own `log_image` would, but under a name that follows from the entry."""
        name = _picture_name(entry)
        try:
            content = path.read_bytes()
        except OSError:
            raise Refused(f"{path} is gone") from None
        small = _small_form(content, path)
        client = self.client
        with mlflow_errors(), TemporaryDirectory(prefix="regatta-picture-") as folder:
            with self._picturing:  # MLflow refuses a tag that two requests set for the first time at once
                if run_id not in self._pictured:
                    client.set_tag(run_id, _PICTURES_TAG, "True")  # its page looks for pictures only where this is
                    self._pictured.add(run_id)
            for file, data in ((f"{name}.png", content), (f"{name}+compressed.webp", small)):
                (Path(folder) / file).write_bytes(data)
                client.log_artifact(run_id, str(Path(folder) / file), _PICTURES_FOLDER)

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Closes the run."""
        with mlflow_errors():
            self.client.set_terminated(run_id, status, time_ms)

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
                self._pictured.clear()
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

    def _run_of(self, uid: str, experiment_id: str) -> Any:
        """The run with this uid; None where there is none, which one that somebody deleted is not."""
        from mlflow.entities import ViewType

        found = self.client.search_runs([experiment_id], f"tags.`{UID_TAG}` = '{uid}'", ViewType.ALL, 10)
        there = next((run for run in found if run.info.lifecycle_stage == "active"), None)
        if there is None and found:
            raise Refused(
                f"its run {found[0].info.run_id} was deleted on {self.uri}; restore it there to have it go on"
            )
        return there

    def _known_experiment(self, name: str) -> str | None:
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id) if found is not None else None

    def _experiment_of_run(self, run_id: str) -> str:
        if run_id not in self._experiment_of:
            self._experiment_of[run_id] = str(self.client.get_run(run_id).info.experiment_id)
        return self._experiment_of[run_id]


def _picture_name(entry: PictureKept) -> str:
    """The name by which MLflow's page knows a picture's series, step and time; the same for the same entry."""
    if not re.fullmatch(r"[\w\-./ ]+", entry.key, re.ASCII):
        raise Refused(
            f"'{entry.key}' cannot name a series of pictures in MLflow; letters, digits, spaces and '_-./' can"
        )
    unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{entry.uid} {entry.key} {entry.step}")
    return f"{entry.key.replace('/', '~')}+step+{entry.step}+timestamp+{entry.time_ms}+{unique}"


def _small_form(content: bytes, path: Path) -> bytes:
    """The picture as a WebP of some kilobytes."""
    from PIL import Image, UnidentifiedImageError

    small = io.BytesIO()
    try:
        with Image.open(io.BytesIO(content)) as image:
            picture = image.convert("RGBA" if image.has_transparency_data else "RGB")
            picture.thumbnail((_SMALL_PX, _SMALL_PX))
            picture.save(small, "WEBP", quality=80, method=2)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise Refused(f"{path} is no picture: {problem}") from None
    return small.getvalue()


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
