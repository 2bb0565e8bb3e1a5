"""The champion that a candidate meets: its package, brought here, and whether the two can be compared at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipelines.datasets.prepared import PreparedData
from pipelines.errors import TrackingError
from pipelines.inputs import InputFacts
from pipelines.package import damage, read_contract
from pipelines.promotion.reigns import Registry
from pipelines.tasks import Task
from pipelines.tracking.models import CHAMPION, Version


class PackageSource(Protocol):
    """Where packages of registered versions come from."""

    def download(self, version: Version, folder: Path) -> Path:
        """A copy of a version's files below `folder`."""


class PackageRegistry(Registry, PackageSource, Protocol):
    """What a promotion needs of a registry, beside its history."""

    def register(
        self, name: str, package: Path, *, experiment_id: str, run_id: str | None, tags: Mapping[str, str]
    ) -> Version:
        """Uploads a package, reads it back, and registers it."""


def fetch_champion(source: PackageSource, champion: Version, scratch: Path, task: Task, facts: InputFacts) -> Path:
    """Brings the champion's package into `scratch`, which is made, and makes sure that it can be compared with.

    Raises:
        TrackingError: It is damaged, or was made for something else; the message says what to do.
    """
    scratch.mkdir()
    folder = source.download(champion, scratch)
    wrong = damage(folder)
    if wrong is not None:
        raise TrackingError(
            f"The champion, version {champion.version} of '{champion.name}', is damaged: {wrong}. It cannot be "
            f"compared with; take its alias '{CHAMPION}' away in MLflow to start over."
        )
    contract = read_contract(folder)
    for what, found, expected in (
        ("learned the task", contract["task"], str(task)),
        ("takes inputs of shape", contract["input"]["shape"], [None, *facts.shape]),
        ("tells the classes", contract["labels"], list(facts.labels)),
    ):
        if found != expected:
            raise TrackingError(
                f"The champion of '{champion.name}' {what} {found}, this study's data asks for {expected}: they "
                f"cannot be compared. Give the study another name."
            )
    return folder


def caveat_of(champion: Path, data: PreparedData) -> str:
    """What must be known of a champion that was not trained on the very data of this study; empty otherwise."""
    trained_on = read_contract(champion).get("dataset") or {}
    for what, key, ours in (("version", "sha256", data.sha256), ("split", "split_sha256", data.split_sha256)):
        if trained_on.get(key) not in (None, ours):
            return (
                f"note that the champion was trained on another {what} of the data, so it may have seen some of these "
                f"samples"
            )
    return ""
