"""The MLflow door: `models:/name@alias` to a verified local folder and its version. No other file imports mlflow.

Everything here blocks on the network or the disk and is called from the rollout's threads.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from services.model_server.errors import PackageRejected, RegistryUnavailable
from services.model_server.following.model_cache import ModelCache, Stored, Target
from services.model_server.following.registry import Registry, tag_of
from services.model_server.settings import Ref, Settings

__all__ = ["ModelStore", "Stored", "Target"]

# The registry is asked again in seconds anyway: a call that hangs or is retried for minutes only hides that it is away.
_MLFLOW_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def open_client(tracking_uri: str) -> Any:
    """Returns a client of an MLflow server, which gives up soon. The first call imports MLflow, which takes a second.

    Raises:
        RegistryUnavailable: there can be nothing at this address.
    """
    # MLflow's SQL stores ask the environment for the address, whatever their client was given.
    for name, value in {**_MLFLOW_DEFAULTS, "MLFLOW_TRACKING_URI": tracking_uri}.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # in a thread, while the server already answers /livez

    try:
        return MlflowClient(tracking_uri=tracking_uri)
    except Exception as error:
        raise RegistryUnavailable(f"{tracking_uri} cannot be opened: {_first_line(error)}") from None


class ModelStore:
    """Asks the registry what refs point to and brings versions to the disk."""

    def __init__(self, settings: Settings) -> None:
        self._tracking_uri = settings.tracking_uri
        self.cache = ModelCache(settings.cache)
        self._lock = threading.Lock()
        self._client: Any = None
        self._registry: Registry | None = None
        self._tag = tag_of(settings)

    def wanted(self, refs: Iterable[Ref]) -> dict[Ref, Target | None]:
        """Asks what each ref points to now; `*` is replaced by the models that have the alias.

        Returns:
            Ref to version; None if the registry has no such model, alias or READY version.

        Raises:
            RegistryUnavailable: the registry does not answer.
        """
        client, refs = self._connect(), tuple(refs)
        try:
            return self._registry_of(client).point_to(refs)
        except Exception as error:  # MLflow lets through whatever its HTTP and database libraries raise
            raise RegistryUnavailable(f"{self._tracking_uri} does not answer: {_first_line(error)}") from None

    def fetch(self, target: Target) -> Stored:
        """Returns a version on disk, downloading it if it is not there whole.

        Raises:
            PackageRejected: what came is incomplete or damaged.
            RegistryUnavailable: it could not be downloaded.
        """
        with self.cache.locked(target):  # of several processes one downloads, and the others find it here
            return self._fetch(target)

    def _fetch(self, target: Target) -> Stored:
        stored = self.cache.find(target)
        if stored is not None:
            return stored
        self._connect()
        try:
            return self._download(target)
        except (PackageRejected, RegistryUnavailable):
            raise
        except Exception as error:
            if not _is_full(error):
                raise RegistryUnavailable(self._why_not(error)) from None
        self.cache.prune(set(), keep=0)  # what is loaded needs its files no more, and what aliases name stays
        try:
            return self._download(target)
        except (PackageRejected, RegistryUnavailable):
            raise
        except Exception as error:
            raise RegistryUnavailable(self._why_not(error)) from None

    def _why_not(self, error: BaseException) -> str:
        """Says why a version could not be brought; of a cache that takes nothing, what MLflow says of it is no help."""
        root = self.cache.root
        if _is_full(error):
            return f"the disk of the cache {root} is full; it is tried again, and goes on when there is room"
        if (why := _not_writable(error, root)) is not None:
            return f"the cache {root} cannot be written: {why}; it is tried again"
        return f"it could not be downloaded: {_first_line(error)}"

    def _download(self, target: Target) -> Stored:
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

    def refused(self, target: Target, reason: str) -> None:
        """Tags a version as refused by this server, so that whoever looks at the registry sees it.

        Raises:
            Exception: whatever MLflow raises; the server does not depend on it.
        """
        self._registry_of(self._connect()).tag(target, f"REJECTED: {reason}")

    def accepted(self, target: Target) -> None:
        """Takes the tag away; costs no call if there is none.

        Raises:
            Exception: as `refused`.
        """
        self._registry_of(self._connect()).untag(target)

    def _connect(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = open_client(self._tracking_uri)
            return self._client

    def _registry_of(self, client: Any) -> Registry:
        if self._registry is None:
            self._registry = Registry(client, self._tag)
        return self._registry


def _is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that a disk is full: MLflow wraps what its threads raise."""
    words = os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)
    return any(
        getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(word in str(one) for word in words)
        for one in _chain(error)
    )


def _not_writable(error: BaseException | None, root: Path) -> str | None:
    """Why a folder takes nothing, if that is what an error comes of: the server's files may be forbidden, too."""
    for number in (errno.EROFS, errno.EACCES, errno.EPERM):
        for one in _chain(error):
            text = str(one)
            if f"[Errno {number}]" in text and str(root) in text:
                return os.strerror(number)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
