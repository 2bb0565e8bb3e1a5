"""Where the bulk door puts files: into the folder of artifacts that this server serves, where it is one on a disk."""

# mypy: allow-untyped-calls
from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.server.handlers import _get_artifact_repo_mlflow_artifacts, _is_serving_proxied_artifacts
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.uri import validate_path_is_safe
from mlflow.utils.validation import path_not_unique

from services.tracking_server.bulk_forms import refusal


class Places:
    """Files that one request writes, which can be taken back until it is sure of its rows."""

    def __init__(self, repository: LocalArtifactRepository) -> None:
        """Takes the repository behind `mlflow-artifacts:`."""
        self._repository = repository
        self._new: list[Path] = []

    @classmethod
    def served(cls) -> Self | None:
        """The places of this server; None where it serves no artifacts, or keeps them in some cloud."""
        repository = _get_artifact_repo_mlflow_artifacts() if _is_serving_proxied_artifacts() else None
        return cls(repository) if isinstance(repository, LocalArtifactRepository) else None

    def write(self, location: str, folder: str, name: str, content: memoryview) -> str:
        """Writes a file, and returns the digest of what can be read back of it, in hexadecimal.

        Args:
            location: MLflow's address of where the artifacts of the run or of the model are.
            folder: The folder among them, or nothing.
            name: Of the file.
            content: Of the file.

        Raises:
            MlflowException: The place is not this server's, or no file can have that name.
        """
        if not name or "/" in name:
            raise refusal(f"'{name}' is no name of a file.")
        if folder and path_not_unique(folder):
            raise refusal(f"'{folder}' is no folder of artifacts.")
        below = "/".join(part for part in (_below_root(location), folder) if part)
        path = validate_path_is_safe(f"{below}/{name}")
        target = Path(self._repository.artifact_dir, os.path.normpath(path))
        if not target.exists():
            self._new.append(target)
        self._repository.log_artifact_from_stream(io.BytesIO(content), target.name, path.rpartition("/")[0])
        return hashlib.sha256(Path(self._repository.get_local_path(path)).read_bytes()).hexdigest()

    def forget(self) -> None:
        """Takes back the files that were not there before, and the folders that are empty then."""
        root = Path(self._repository.artifact_dir)
        for path in self._new:
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == root or not folder.is_dir() or any(folder.iterdir()):
                    break
                shutil.rmtree(folder, ignore_errors=True)


def not_served() -> MlflowException:
    """What is said to files where `Places.served` is None."""
    return refusal("This server does not keep artifacts on a disk of its own; upload them by MLflow's own calls.")


def _below_root(location: str) -> str:
    """The path of an address of this server's, without the slash before it."""
    parts = urlsplit(location)
    if parts.scheme != "mlflow-artifacts" or parts.netloc:
        raise refusal(f"The artifacts at {location} are not kept by this server.")
    return parts.path.lstrip("/")
