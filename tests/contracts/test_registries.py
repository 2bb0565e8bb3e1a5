"""What promotion may expect of a model registry, tried on MLflow's and on the one that other tests use in its place."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking.mlflow_tracker import MlflowTracker
from pipelines.tracking.models import ModelRegistry, Version
from tests.pipelines.registry import FolderRegistry

SINCE = "2030-01-02T03:04:05Z"


class RegistryContract(ABC):
    """The suite. Every test has a model name of its own."""

    @pytest.fixture
    @abstractmethod
    def registry(self, request: pytest.FixtureRequest) -> Any:
        """The registry to try."""

    @pytest.fixture
    def experiment_id(self) -> str:
        return "0"

    @pytest.fixture
    def name(self) -> str:
        return f"model-{secrets.token_hex(4)}"

    def register(self, registry: Any, name: str, experiment_id: str, folder: Path, content: str) -> Version:
        package = folder / f"package-{content}"
        (package / "data").mkdir(parents=True)
        (package / "model.onnx").write_text(content)
        (package / "data" / "model.keras").write_text(content)
        version: Version = registry.register(
            name, package, experiment_id=experiment_id, run_id=None, tags={"regatta.trial": content}
        )
        return version

    def test_a_name_that_nobody_registered_has_no_versions_and_no_champion(self, registry: Any, name: str) -> None:
        assert registry.versions(name) == []
        assert registry.champion(name) is None

    def test_versions_are_numbered_and_told_oldest_first_with_their_tags(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        made = [self.register(registry, name, experiment_id, tmp_path, content) for content in ("a", "b", "c")]

        assert [version.version for version in made] == ["1", "2", "3"]
        assert [(found.version, found.tags["regatta.trial"]) for found in registry.versions(name)] == [
            ("1", "a"), ("2", "b"), ("3", "c")
        ]  # fmt: skip
        assert registry.champion(name) is None

    def test_a_download_is_the_package_that_was_registered(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        version = self.register(registry, name, experiment_id, tmp_path, "a")
        (tmp_path / "here").mkdir()

        folder = registry.download(version, tmp_path / "here")

        assert folder.is_relative_to(tmp_path / "here")
        assert (folder / "model.onnx").read_text() == "a"
        assert (folder / "data" / "model.keras").read_text() == "a"

    def test_a_crowned_version_is_the_champion_and_the_one_before_it_the_previous(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        first, second = (self.register(registry, name, experiment_id, tmp_path, content) for content in ("a", "b"))

        registry.crown(first, None, SINCE)
        assert registry.champion(name).version == "1"
        assert registry.champion(name, "previous") is None
        registry.crown(second, registry.champion(name), SINCE)

        assert registry.champion(name).version == "2"
        assert registry.champion(name, "previous").version == "1"
        assert registry.champion(name).tags["regatta.champion_since"] == SINCE
        assert [sorted(version.aliases) for version in registry.versions(name)] == [["previous"], ["champion"]]

    def test_crowning_the_champion_again_makes_it_no_previous(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        version = self.register(registry, name, experiment_id, tmp_path, "a")
        registry.crown(version, None, SINCE)

        registry.crown(version, registry.champion(name), SINCE)

        assert registry.champion(name).aliases == ("champion",)

    def test_a_tag_is_added_to_those_that_are_there(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        version = self.register(registry, name, experiment_id, tmp_path, "a")

        registry.tag(version, {"regatta.decision": "why", "regatta.trial": "b"})

        tags = registry.versions(name)[0].tags
        assert (tags["regatta.decision"], tags["regatta.trial"]) == ("why", "b")

    def test_models_of_other_names_are_other_models(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        registry.crown(self.register(registry, name, experiment_id, tmp_path, "a"), None, SINCE)

        assert registry.champion(f"{name}-2") is None
        assert registry.champion(name[:-1]) is None


class TestFolderRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> FolderRegistry:
        return FolderRegistry(tmp_path / "registry")


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
        monkeypatch.chdir(database.parent)
        return ModelRegistry(f"sqlite:///{database}")

    @pytest.fixture
    def experiment_id(self, registry: ModelRegistry) -> str:
        return MlflowTracker(registry.uri).experiment("registered")
