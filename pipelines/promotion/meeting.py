"""The champion that a candidate meets: its package, brought here, and whether the two can be compared at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.datasets.prepared import PreparedData
from pipelines.errors import TrackingError
from pipelines.packaging.package import damage, read_contract
from pipelines.promotion.reigns import Registry, last_champion
from pipelines.tasks import Task
from pipelines.tracking.models import CHAMPION, RegisteredModel, Version


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

    def describe(self, version: Version, text: str, of_all: str) -> None:
        """Gives a version its description, and the model as a whole one; what somebody has written stays as it is."""


@dataclass(frozen=True)
class Rival:
    """Whom a candidate meets.

    Attributes:
        version: The champion; where nobody has its alias any more, the last who had it. None for a first candidate.
        gone: Whether nobody has the alias any more.
        package: Its verified package, where it was brought here.
        obstacle: Why it cannot be compared with, where somebody wants to go on without; empty otherwise.
    """

    version: Version | None = None
    gone: bool = False
    package: Path | None = None
    obstacle: str = ""

    @property
    def called(self) -> str:
        """What a decision calls it."""
        return f"version {self.version.version}" if self.gone and self.version is not None else "the champion"

    def caveats(self, data: PreparedData) -> list[str]:
        """What must be known of a comparison with it, for a candidate that was trained on this data."""
        found = []
        if self.gone and self.version is not None:
            found.append(
                f"note that no version had the alias '{CHAMPION}' any more, so it met the last champion that is left, "
                f"version {self.version.version}"
            )
        if self.package is not None and (caveat := caveat_of(self.package, data)):
            found.append(caveat)
        return found


def rival_of(model: RegisteredModel) -> Rival:
    """Whom a candidate is to meet; its package is not here yet."""
    champion = model.with_alias(CHAMPION)
    return Rival(champion) if champion is not None else Rival(last := last_champion(model), gone=last is not None)


def fetch_rival(
    source: PackageSource, rival: Rival, scratch: Path, task: Task, data: PreparedData, *, force: bool = False
) -> Rival:
    """Brings the champion's package into `scratch`, which is made, and makes sure that it can be compared with.

    Args:
        source: Where packages come from.
        rival: Whose.
        scratch: A folder that is not there yet.
        task: What the candidate has learned.
        data: What it was trained on.
        force: Whether to go on without a comparison where there can be none.

    Raises:
        TrackingError: It is damaged, or was made for something else; the message says what to do.
    """
    version = rival.version
    if version is None:
        return rival
    scratch.mkdir()
    folder = source.download(version, scratch)
    wrong = damage(folder)
    facts = data.facts
    wanted = {"task": str(task), "input": {"shape": [None, *facts.shape]}, "labels": list(facts.labels)}
    wrong = f"is damaged: {wrong}" if wrong is not None else misfit(read_contract(folder), wanted, "this study's data")
    if wrong is None:
        return Rival(version, rival.gone, folder)
    whose = "last champion" if rival.gone else "champion"
    if force:
        return Rival(version, rival.gone, obstacle=f"the {whose}, version {version.version}, {wrong}")
    raise TrackingError(
        f"The {whose}, version {version.version} of '{version.name}', {wrong}. It cannot be compared with. Where it "
        f"should not be the champion, go back to another version: regatta rollback {version.name} --to VERSION; or "
        f"take the candidate without a comparison: regatta promote {version.name} --force. Where the study is about "
        f"something else than that model, give the study another name."
    )


def misfit(contract: Mapping[str, Any], wanted: Mapping[str, Any], whose: str) -> str | None:
    """In what a contract differs from another so much that nobody could take one model for the other; None if it fits.

    Args:
        contract: Of the version that is spoken of.
        wanted: The other one, of which only the task, the shape of the input, and the labels are looked at.
        whose: Whom the other one belongs to.
    """
    for what, found, expected in (
        ("learned the task", contract["task"], wanted["task"]),
        ("takes inputs of shape", contract["input"]["shape"], wanted["input"]["shape"]),
        ("tells the classes", contract["labels"], wanted["labels"]),
    ):
        if found != expected:
            return f"{what} {found}, {whose} asks for {expected}"
    return None


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
