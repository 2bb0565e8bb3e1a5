"""A model registry without MLflow, for tests of those who use one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pipelines.tracking.models import CHAMPION, RegisteredModel, Version


class FolderRegistry:
    """A registry in a folder, with the promises of `ModelRegistry`; the contract of registries holds it to them.

    `before_each` is called with the name of each change before it is made: a test that raises there is a process that
    dies at that very moment.
    """

    uri = "folder:"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kept: list[Version] = []
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.descriptions: dict[str, str] = {}
        """By version; that of the model as a whole under an empty one."""
        self.before_each: Callable[[str], None] = lambda change: None

    def model(self, name: str) -> RegisteredModel:
        versions = tuple(self.versions(name))
        return RegisteredModel(name, versions, dict(self.tags) if versions else {})

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
        self.before_each("register")
        number = str(len(self.kept) + 1)
        shutil.copytree(package, self.folder(number))
        self.kept.append(Version(name, number, f"models:/m-{number}", run_id, dict(tags), (), 0))
        return self.kept[-1]

    def describe(self, version: Version, text: str, of_all: str) -> None:
        self.before_each("describe")
        self.descriptions.setdefault(version.version, text)
        self.descriptions.setdefault("", of_all)

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        self.before_each("tag")
        at = int(version.version) - 1
        self.kept[at] = replace(self.kept[at], tags={**self.kept[at].tags, **tags})

    def untag(self, version: Version, key: str) -> None:
        self.before_each("untag")
        at = int(version.version) - 1
        self.kept[at] = replace(self.kept[at], tags={k: v for k, v in self.kept[at].tags.items() if k != key})

    def tag_model(self, name: str, key: str, value: str) -> None:
        self.before_each("tag_model")
        self.tags[key] = value

    def untag_model(self, name: str, key: str) -> None:
        self.before_each("untag_model")
        del self.tags[key]

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.before_each(f"set_alias {alias}")
        self.aliases[alias] = version
