"""A model registry without MLflow, for tests of those who use one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.tracking.models import CHAMPION, PREVIOUS, Version


class FolderRegistry:
    """A registry in a folder, with the promises of `ModelRegistry`; the contract of registries holds it to them."""

    uri = "folder:"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kept: list[Version] = []
        self.aliases: dict[str, str] = {}

    def champion(self, name: str, alias: str = CHAMPION) -> Version | None:
        return next((version for version in self.versions(name) if alias in version.aliases), None)

    def versions(self, name: str) -> list[Version]:
        return [
            replace(
                version, aliases=tuple(alias for alias, number in self.aliases.items() if number == version.version)
            )
            for version in self.kept
            if version.name == name
        ]

    def folder(self, version: str) -> Path:
        return self.root / version

    def download(self, version: Version, folder: Path) -> Path:
        return Path(shutil.copytree(self.folder(version.version), folder / "files"))

    def register(
        self, name: str, package: Path, *, experiment_id: str, run_id: str | None, tags: Mapping[str, str]
    ) -> Version:
        number = str(len(self.kept) + 1)
        shutil.copytree(package, self.folder(number))
        self.kept.append(Version(name, number, f"models:/m-{number}", run_id, dict(tags), (), 0))
        return self.kept[-1]

    def crown(self, version: Version, before: Version | None, since: str) -> None:
        if before is not None and before.version != version.version:
            self.aliases[PREVIOUS] = before.version
        self.aliases[CHAMPION] = version.version
        self.tag(version, {"regatta.champion_since": since})

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        at = int(version.version) - 1
        self.kept[at] = replace(self.kept[at], tags={**self.kept[at].tags, **tags})
