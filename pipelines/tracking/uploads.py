"""Brings a model's files to MLflow, whole or not at all: every file is read back and compared before it is relied on.

A server may do the work and lose the answer, or take a file and lose its content. So each attempt gets a place of its
own, which nobody has seen yet; what became of an attempt that failed is marked as failed, and never written to again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.checkpoints import sha256_of
from pipelines.tracking.base import Refused, Unavailable
from pipelines.tracking.mlflow_client import mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_TYPE = "champion-candidate"
DIGEST_TAG = "regatta.checkpoint_sha256"
_TRIES = 3

T = TypeVar("T")


def again(call: Callable[[], T], *, unless: Callable[[], T | None] | None = None) -> T:
    """Calls up to three times, as long as the server cannot be reached or gives no answer.

    Args:
        call: What to do.
        unless: Finds what an earlier call may have done although its answer was lost.

    Raises:
        Unavailable: It was in vain.
        Refused: The server will never do it.
    """
    for tried in range(1, _TRIES + 1):
        try:
            with mlflow_errors():
                if tried > 1 and unless is not None and (done := unless()) is not None:
                    return done
                return call()
        except Unavailable as problem:
            if tried == _TRIES or problem.wait_s:  # who asks for a pause is asked again by whoever has the time
                raise
    raise AssertionError("it returns or raises")


def upload(
    client: MlflowClient,
    name: str,
    package: Path,
    *,
    experiment_id: str,
    run_id: str | None,
    tags: Mapping[str, str],
) -> Any:
    """Uploads a package as a logged model of its own, and returns that when all of it can be read back.

    Raises:
        Unavailable: It did not arrive, three times.
        Refused: The server will not take it.
    """
    _abandon_leftovers(client, experiment_id, tags)
    return again(lambda: _attempt(client, name, package, experiment_id, run_id, tags))


def fetch(client: MlflowClient, location: str, folder: Path) -> Path:
    """Brings the files at an address of MLflow's into a folder; returns where they are."""
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(location, dst_path=str(folder), tracking_uri=client.tracking_uri))


def difference(sent: Path, arrived: Path) -> str | None:
    """What of a package is not as it was sent, in words; None where all of it is."""
    for path in sorted(path for path in sent.rglob("*") if path.is_file()):
        name = path.relative_to(sent)
        if not (arrived / name).is_file():
            return f"{name} did not arrive"
        if sha256_of(path) != sha256_of(arrived / name):
            return f"{name} came back other than it was sent"
    return None


def _attempt(
    client: MlflowClient, name: str, package: Path, experiment_id: str, run_id: str | None, tags: Mapping[str, str]
) -> Any:
    from mlflow.entities import LoggedModelStatus

    model = client.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, model_type=MODEL_TYPE, tags=dict(tags)
    )
    try:
        client.log_model_artifacts(model.model_id, str(package))
        with tempfile.TemporaryDirectory(prefix="regatta-read-back-") as scratch:
            wrong = difference(package, fetch(client, str(model.artifact_location), Path(scratch)))
        if wrong is not None:
            raise Unavailable(f"of the package that was sent to {model.artifact_location}, {wrong}")
        return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        with suppress(Exception):  # what matters is what went wrong first
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise


def _abandon_leftovers(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> None:
    """Marks as failed what an attempt at this very checkpoint has left that died over it."""
    from mlflow.entities import LoggedModelStatus

    digest = tags.get(DIGEST_TAG)
    if digest is None:
        return
    with suppress(Unavailable, Refused), mlflow_errors():
        left = client.search_logged_models([experiment_id], filter_string=f"tags.`{DIGEST_TAG}` = '{digest}'")
        for model in left:
            if model.model_type == MODEL_TYPE and model.status == LoggedModelStatus.PENDING:
                client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
