"""Models in MLflow: saving one in its format, registering versions, and moving the alias that serving follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import TrackingError
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.mlflow_client import connect, mlflow_errors

if TYPE_CHECKING:
    import keras

CHAMPION, PREVIOUS = "champion", "previous"
_SINCE_TAG = "regatta.champion_since"


def warm_up() -> None:
    """Imports what `save_keras_model` needs: TensorFlow and MLflow, some seconds."""
    import mlflow.keras  # noqa: F401


def save_keras_model(
    model: keras.Model,
    folder: Path,
    *,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    requirements: Sequence[str],
    columns: Mapping[str, bool] | None = None,
) -> None:
    """Writes an MLflow model of the Keras flavour, float32 in and out, without asking pip about anything.

    Its signature names no tensor: MLflow would hand a named one to Keras in a dictionary, of which Keras warns. A model
    of a table with words takes just that: `columns` says of each of its inputs whether it takes words.
    """
    import logging

    import mlflow.keras
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    float32, words = np.dtype("float32"), np.dtype("O")
    inputs: list[Any] = [TensorSpec(float32, input_shape)]
    if columns is not None:
        inputs = [
            TensorSpec(words, (-1,), name=name) if takes_words else TensorSpec(float32, (-1, 1), name=name)
            for name, takes_words in columns.items()
        ]
    signature = ModelSignature(Schema(inputs), Schema([TensorSpec(float32, output_shape)]))
    mlflow.keras.save_model(model, str(folder), signature=signature, pip_requirements=list(requirements))


@dataclass(frozen=True)
class Version:
    """One registered version of a model."""

    name: str
    version: str
    source: str
    run_id: str | None
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    created_ms: int


class ModelRegistry:
    """MLflow's registry, for promotion. Everything in it raises TrackingError where the server cannot or will not."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with _tracking_errors(uri):  # for a database, this is where it is opened
            self._client = connect(uri)

    def champion(self, name: str, alias: str = CHAMPION) -> Version | None:
        """The version that an alias names, or None."""
        with _tracking_errors(self.uri):
            return next((version for version in self._versions(name) if alias in version.aliases), None)

    def versions(self, name: str) -> list[Version]:
        """All versions, oldest first."""
        with _tracking_errors(self.uri):
            return sorted(self._versions(name), key=lambda version: int(version.version))

    def download(self, version: Version, folder: Path) -> Path:
        """A copy of the version's files somewhere below `folder`; returns where they are."""
        from mlflow.artifacts import download_artifacts

        with _tracking_errors(self.uri):
            location = self._client.get_model_version_download_uri(version.name, version.version)
            if location.startswith("models:/"):
                # resolved here, as MLflow would ask its global registry, which may be another server
                location = self._client.get_logged_model(location.removeprefix("models:/")).artifact_location
            return Path(download_artifacts(location, dst_path=str(folder), tracking_uri=self.uri))

    def register(
        self, name: str, package: Path, *, experiment_id: str, run_id: str | None, tags: Mapping[str, str]
    ) -> Version:
        """Uploads a whole package, and registers it only when every file has arrived."""
        from mlflow.entities import LoggedModelStatus

        client = self._client
        with _tracking_errors(self.uri):
            model = client.create_logged_model(
                experiment_id, name=name, source_run_id=run_id, model_type="champion-candidate", tags=dict(tags)
            )
            try:
                client.log_model_artifacts(model.model_id, str(package))
            except BaseException:
                client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
                raise
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            if not any(found.name == name for found in client.search_registered_models(f"name = '{name}'")):
                client.create_registered_model(name)
            made = client.create_model_version(
                name, model.model_uri, run_id=run_id, model_id=model.model_id, tags=dict(tags)
            )
            return _version(made)

    def crown(self, version: Version, before: Version | None, since: str) -> None:
        """Moves `champion` to the version, and `previous` to the one that had it; `since` is noted on the version."""
        client = self._client
        with _tracking_errors(self.uri):
            if before is not None and before.version != version.version:
                client.set_registered_model_alias(version.name, PREVIOUS, before.version)
            client.set_model_version_tag(version.name, version.version, _SINCE_TAG, since)
            client.set_registered_model_alias(version.name, CHAMPION, version.version)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Adds tags to a version."""
        with _tracking_errors(self.uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, version.version, key, value)

    def _versions(self, name: str) -> list[Version]:
        aliases: dict[str, list[str]] = {}
        found = self._client.search_registered_models(f"name = '{name}'")
        for model in found:
            for alias, version in (model.aliases or {}).items():
                aliases.setdefault(str(version), []).append(alias)
        if not found:
            return []
        made = self._client.search_model_versions(f"name = '{name}'", max_results=10_000)
        return [_version(entry, aliases.get(str(entry.version), ())) for entry in made]


@contextmanager
def _tracking_errors(uri: str) -> Iterator[None]:
    try:
        with mlflow_errors():
            yield
    except Unavailable as problem:
        raise TrackingError(f"The MLflow server at {uri} cannot be reached: {problem}") from None
    except Refused as problem:
        raise TrackingError(f"The MLflow server at {uri} refused: {problem}") from None


def _version(made: Any, aliases: Sequence[str] = ()) -> Version:
    return Version(
        made.name,
        str(made.version),
        made.source,
        made.run_id or None,
        dict(made.tags or {}),
        tuple(aliases),
        int(made.creation_timestamp or 0),
    )
