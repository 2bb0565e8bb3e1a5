"""Models in MLflow: saving one in its format, registering versions, and moving the alias that serving follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.collecting import nothing_to_collect
from pipelines.errors import TrackingError
from pipelines.tracking import own_parts
from pipelines.tracking.addresses import without_secrets
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.mlflow_client import connect, mlflow_errors, out_of_order
from pipelines.tracking.uploads import again, fetch, upload

if TYPE_CHECKING:
    import keras

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
_CHECK = "warn_dependency_requirement_mismatches"


def warm_up() -> None:
    """Imports what `save_keras_model` needs: TensorFlow and MLflow, some seconds."""
    with nothing_to_collect(for_good=True):
        import mlflow.keras  # noqa: F401


def save_keras_model(
    model: keras.Model,
    folder: Path,
    *,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    requirements: Sequence[str],
    columns: Mapping[str, bool] | None = None,
    own: Mapping[str, str] | None = None,
) -> None:
    """Writes an MLflow model of the Keras flavour, float32 in and out, without asking pip about anything.

    Its signature names no tensor: MLflow would hand a named one to Keras in a dictionary, of which Keras warns. A model
    of a table with words takes just that: `columns` says of each of its inputs whether it takes words.
    `own` says where the parts of it are that are not Keras's own; see `pipelines.tracking.own_parts`.
    """
    import logging

    warm_up()
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
    with _requirements_unchecked():
        wanted = [*requirements, *own_parts.requirements(own)] if own else list(requirements)
        mlflow.keras.save_model(model, str(folder), signature=signature, pip_requirements=wanted)
    if own:
        own_parts.carry(own, folder)


@contextmanager
def _requirements_unchecked() -> Iterator[None]:
    """Keeps MLflow from comparing requirements with what is installed here, which they were read from.

    It would go through the files of all packages, and then warn of nothing. Where an MLflow has no such check, nothing
    is changed.
    """
    from mlflow.utils import environment

    check = getattr(environment, _CHECK, None)
    if check is None:
        yield
        return
    setattr(environment, _CHECK, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, _CHECK, check)


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


@dataclass(frozen=True)
class RegisteredModel:
    """All that the registry has under a name, at one moment.

    Attributes:
        name: The name.
        versions: Oldest first.
        tags: Of the model as a whole.
    """

    name: str
    versions: tuple[Version, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def with_alias(self, alias: str) -> Version | None:
        """The version that an alias names, or None."""
        return next((version for version in self.versions if alias in version.aliases), None)

    def version(self, number: str) -> Version | None:
        """The version of this number, or None."""
        return next((version for version in self.versions if version.version == number), None)


class ModelRegistry:
    """MLflow's registry, for promotion. Everything in it raises TrackingError where the server cannot or will not.

    What may be said twice is said again where a server does not answer: a first word may be lost, or only its answer.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        with _tracking_errors(uri):  # for a database, this is where it is opened
            self._client = connect(uri)

    def model(self, name: str) -> RegisteredModel:
        """All that there is under a name; no versions where it is not known."""
        with _tracking_errors(self.uri):
            return again(lambda: self._model(name))

    def champion(self, name: str, alias: str = CHAMPION) -> Version | None:
        """The version that an alias names, or None."""
        return self.model(name).with_alias(alias)

    def versions(self, name: str) -> list[Version]:
        """All versions, oldest first."""
        return list(self.model(name).versions)

    def download(self, version: Version, folder: Path) -> Path:
        """A copy of the version's files somewhere below `folder`; returns where they are."""
        with _tracking_errors(self.uri):
            location = again(lambda: self._client.get_model_version_download_uri(version.name, version.version))
            if location.startswith("models:/"):
                # resolved here, as MLflow would ask its global registry, which may be another server
                model_id = location.removeprefix("models:/")
                location = again(lambda: self._client.get_logged_model(model_id).artifact_location)
            return again(lambda: fetch(self._client, location, folder))

    def register(
        self, name: str, package: Path, *, experiment_id: str, run_id: str | None, tags: Mapping[str, str]
    ) -> Version:
        """Uploads a whole package, reads it back, and registers it only when every file has arrived as it was sent.

        Nothing that is there already is written to: each attempt has a place of its own.
        """
        with _tracking_errors(self.uri):
            model = upload(self._client, name, package, experiment_id=experiment_id, run_id=run_id, tags=tags)
            return self._version_of(name, model, run_id, tags)

    def describe(self, version: Version, text: str, of_all: str) -> None:
        """Gives a version its description, and the model as a whole one; what somebody has written stays as it is."""
        name, number = version.name, version.version
        with _tracking_errors(self.uri):
            if not again(lambda: self._client.get_model_version(name, number)).description:
                again(lambda: self._client.update_model_version(name, number, text))
            if not again(lambda: self._client.get_registered_model(name)).description:
                again(lambda: self._client.update_registered_model(name, of_all))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Adds tags to a version."""
        with _tracking_errors(self.uri):
            for key, value in tags.items():
                again(partial(self._client.set_model_version_tag, version.name, version.version, key, value))

    def untag(self, version: Version, key: str) -> None:
        """Takes a tag away from a version."""
        with _tracking_errors(self.uri):
            again(lambda: self._client.delete_model_version_tag(version.name, version.version, key))

    def tag_model(self, name: str, key: str, value: str) -> None:
        """Adds a tag to the model as a whole."""
        with _tracking_errors(self.uri):
            again(lambda: self._client.set_registered_model_tag(name, key, value))

    def untag_model(self, name: str, key: str) -> None:
        """Takes a tag away from the model as a whole."""
        with _tracking_errors(self.uri):
            again(lambda: self._client.delete_registered_model_tag(name, key))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Has an alias name a version, whatever it named before."""
        with _tracking_errors(self.uri):
            again(lambda: self._client.set_registered_model_alias(name, alias, version))

    def _model(self, name: str) -> RegisteredModel:
        found = self._client.search_registered_models(f"name = '{name}'")
        if not found:
            return RegisteredModel(name)
        aliases: dict[str, list[str]] = {}
        for alias, number in (found[0].aliases or {}).items():
            aliases.setdefault(str(number), []).append(alias)
        made = self._client.search_model_versions(f"name = '{name}'", max_results=10_000)
        versions = [_version(entry, aliases.get(str(entry.version), ())) for entry in made]
        return RegisteredModel(
            name, tuple(sorted(versions, key=lambda version: int(version.version))), dict(found[0].tags or {})
        )

    def _version_of(self, name: str, model: Any, run_id: str | None, tags: Mapping[str, str]) -> Version:
        """Makes the version of an uploaded model, once: where the answer is lost, it is looked for first."""

        def made() -> Version | None:
            return next((version for version in self._model(name).versions if version.source == model.model_uri), None)

        def make() -> Version:
            if not self._client.search_registered_models(f"name = '{name}'"):
                try:
                    self._client.create_registered_model(name)
                except Exception:  # it is there by now, perhaps: what matters is whether a version can be made
                    if not self._client.search_registered_models(f"name = '{name}'"):
                        raise
            return _version(
                self._client.create_model_version(
                    name, model.model_uri, run_id=run_id, model_id=model.model_id, tags=dict(tags)
                )
            )

        return again(make, unless=made)


@contextmanager
def _tracking_errors(uri: str) -> Iterator[None]:
    try:
        with mlflow_errors():
            yield
    except Unavailable as problem:
        raise out_of_order(uri, problem) from None
    except Refused as problem:
        raise TrackingError(f"The MLflow server at {without_secrets(uri)} refused: {problem}") from None


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
