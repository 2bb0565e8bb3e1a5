"""The MLflow door: `models:/name@alias` to a verified local folder and its version. No other file imports mlflow.

Everything here blocks on the network or the disk and is called from the rollout's threads.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from services.model_server.errors import PackageRejected, RegistryUnavailable
from services.model_server.model_cache import ModelCache, Stored, Target
from services.model_server.settings import ANY_MODEL, Ref, Settings

__all__ = ["ModelStore", "Stored", "Target"]

# The registry is asked again in seconds anyway: a call that hangs or is retried for minutes only hides that it is away.
_MLFLOW_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"}  # the last two: alias, and proxies


class ModelStore:
    """Asks the registry what refs point to and brings versions to the disk."""

    def __init__(self, settings: Settings) -> None:
        self._tracking_uri = settings.tracking_uri
        self.cache = ModelCache(settings.cache)
        self._lock = threading.Lock()
        self._client: Any = None
        self._known: dict[tuple[Any, ...], Target] = {}

    def wanted(self, refs: Iterable[Ref]) -> dict[Ref, Target | None]:
        """Asks what each ref points to now; `*` is replaced by the models that have the alias.

        Returns:
            Ref to version; None if the registry has no such model, alias or READY version.

        Raises:
            RegistryUnavailable: the registry does not answer.
        """
        client = self._connect()
        found: dict[Ref, Target | None] = {}
        try:
            for ref in refs:
                if ref.name == ANY_MODEL:
                    for name, target in self._discover(client, ref.alias or ""):
                        found.setdefault(Ref(name, ref.alias), target)
                else:
                    found[ref] = self._look_up(client, ref)
        except Exception as error:  # MLflow lets through whatever its HTTP and database libraries raise
            raise RegistryUnavailable(f"{self._tracking_uri} does not answer: {_first_line(error)}") from None
        return found

    def fetch(self, target: Target) -> Stored:
        """Returns a version on disk, downloading it if it is not there whole.

        Raises:
            PackageRejected: what came is incomplete or damaged.
            RegistryUnavailable: it could not be downloaded.
        """
        stored = self.cache.find(target)
        if stored is not None:
            return stored
        self._connect()
        from mlflow.artifacts import download_artifacts

        download = self.cache.incoming()
        try:
            # A destination of its own: without one, a local artifact store hands out its own files instead of a copy.
            download_artifacts(
                artifact_uri=f"models:/{target.name}/{target.version}",
                dst_path=str(download),
                tracking_uri=self._tracking_uri,
            )
            return self.cache.adopt(target, download)
        except (PackageRejected, RegistryUnavailable):
            raise
        except Exception as error:
            raise RegistryUnavailable(f"it could not be downloaded: {_first_line(error)}") from None
        finally:
            shutil.rmtree(download, ignore_errors=True)

    def confirm(self, ref: Ref, target: Target, when: float) -> None:
        """Remembers on disk what a ref named, for a start without the registry."""
        self.cache.confirm(ref, target, when)

    def forget(self, ref: Ref) -> None:
        """Forgets a ref whose alias was taken away."""
        self.cache.forget(ref)

    def last_known(self, refs: Iterable[Ref]) -> Mapping[Ref, tuple[Stored, float]]:
        """Returns what the cache can serve without the registry, and the Unix time when the registry last said so."""
        known = {}
        for ref in refs:
            for one in self.cache.known_refs(ref):
                last = self.cache.last_known(one)
                if last is not None:
                    known[one] = last
        return known

    def prune(self, in_use: set[str]) -> None:
        """Removes old packages from the cache, except those whose digests are `in_use`."""
        self.cache.prune(in_use)

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                # MLflow's SQL stores ask the environment for the address, whatever their client was given.
                for name, value in {**_MLFLOW_DEFAULTS, "MLFLOW_TRACKING_URI": self._tracking_uri}.items():
                    os.environ.setdefault(name, value)
                from mlflow import MlflowClient  # seconds; in a thread, while the server already answers /livez

                try:
                    self._client = MlflowClient(tracking_uri=self._tracking_uri)
                except Exception as error:
                    raise RegistryUnavailable(f"{self._tracking_uri} cannot be opened: {_first_line(error)}") from None
            return self._client

    def _look_up(self, client: Any, ref: Ref) -> Target | None:
        try:
            if ref.alias:
                return _target(client.get_model_version_by_alias(ref.name, ref.alias))
            return _target(client.get_model_version(ref.name, str(ref.version)))
        except Exception as error:
            if getattr(error, "error_code", None) in _ABSENT:
                return None
            raise

    def _discover(self, client: Any, alias: str) -> Iterator[tuple[str, Target | None]]:
        token = None
        while True:
            page = client.search_registered_models(max_results=100, page_token=token)
            for model in page:
                version = dict(model.aliases).get(alias)
                if version is not None:
                    # One search answers for all models; only a version not seen before costs another call.
                    key = (model.name, model.creation_timestamp, model.last_updated_timestamp, str(version))
                    target = self._known.get(key) or self._look_up(client, Ref(model.name, version=str(version)))
                    if target is not None:
                        self._known = {k: t for k, t in self._known.items() if k[0] != model.name} | {key: target}
                    yield model.name, target
            token = page.token
            if not token:
                return


def _target(version: Any) -> Target | None:
    if version.status != "READY":
        return None
    return Target(
        version.name,
        str(version.version),
        version.run_id or "",
        version.source or "",
        int(version.creation_timestamp or 0),
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
