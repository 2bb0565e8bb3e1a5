"""What promotion may expect of a model registry, tried on MLflow's and on the one that other tests use in its place."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import TrackingError
from pipelines.promotion.reigns import Reign, crown, reigns_of
from pipelines.tracking import uploads
from pipelines.tracking.mlflow_tracker import MlflowTracker
from pipelines.tracking.models import ModelRegistry, RegisteredModel, Version
from tests.pipelines.registry import FolderRegistry


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

    def test_an_alias_names_one_version_at_a_time_and_several_may_name_one(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        for content in ("a", "b"):
            self.register(registry, name, experiment_id, tmp_path, content)

        registry.set_alias(name, "champion", "1")
        assert registry.champion(name).version == "1"
        assert registry.champion(name, "previous") is None
        registry.set_alias(name, "champion", "2")
        registry.set_alias(name, "previous", "1")

        model = registry.model(name)
        assert (model.with_alias("champion").version, model.with_alias("previous").version) == ("2", "1")
        assert [sorted(version.aliases) for version in model.versions] == [["previous"], ["champion"]]
        registry.set_alias(name, "previous", "2")
        assert sorted(registry.model(name).version("2").aliases) == ["champion", "previous"]

    def test_the_model_as_a_whole_has_tags_that_come_and_go(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        self.register(registry, name, experiment_id, tmp_path, "a")
        assert registry.model(name).tags == {}

        registry.tag_model(name, "regatta.reign.1", "x" * 3000)
        registry.tag_model(name, "regatta.reign.2", "second")
        registry.untag_model(name, "regatta.reign.1")

        assert registry.model(name).tags == {"regatta.reign.2": "second"}

    def test_a_reign_is_told_by_another_who_looks(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        first, second = (self.register(registry, name, experiment_id, tmp_path, content) for content in ("a", "b"))

        crown(registry, first, Reign("2030-01-01T00:00:00.000Z", "promoted", "1", None, "the first"))
        crown(
            registry,
            second,
            Reign("2030-01-02T00:00:00.000Z", "forced", "2", "1", "it had to be", gain=(0.1, -0.1, 0.3)),
        )

        model = registry.model(name)
        assert [(reign.version, reign.before, reign.action, reign.why) for reign in reigns_of(model)] == [
            ("1", None, "promoted", "the first"),
            ("2", "1", "forced", "it had to be"),
        ]
        assert reigns_of(model)[1].gain == (0.1, -0.1, 0.3)
        assert model.with_alias("champion").version == "2"
        assert model.with_alias("previous").version == "1"

    def test_a_tag_is_added_to_those_that_are_there(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        version = self.register(registry, name, experiment_id, tmp_path, "a")

        registry.tag(version, {"regatta.decision": "why", "regatta.trial": "b", "regatta.gone": "soon"})
        registry.untag(version, "regatta.gone")

        tags = registry.versions(name)[0].tags
        assert (tags["regatta.decision"], tags["regatta.trial"]) == ("why", "b")

    def test_a_description_is_given_once_and_what_somebody_wrote_stays(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        first, second = (self.register(registry, name, experiment_id, tmp_path, content) for content in ("a", "b"))

        registry.describe(first, "the first", "all of them")
        registry.describe(first, "another", "others")
        registry.describe(second, "the second", "others")

        assert self.described(registry, name) == {"": "all of them", "1": "the first", "2": "the second"}

    @abstractmethod
    def described(self, registry: Any, name: str) -> dict[str, str]:
        """The descriptions of a model's versions, and its own under an empty one."""

    def test_models_of_other_names_are_other_models(
        self, registry: Any, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        self.register(registry, name, experiment_id, tmp_path, "a")
        registry.set_alias(name, "champion", "1")

        assert registry.champion(f"{name}-2") is None
        assert registry.champion(name[:-1]) is None
        assert registry.model(name[:-1]) == RegisteredModel(name[:-1])


class TestFolderRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, tmp_path: Path) -> FolderRegistry:
        return FolderRegistry(tmp_path / "registry")

    def described(self, registry: Any, name: str) -> dict[str, str]:
        return dict(registry.descriptions)


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
        monkeypatch.chdir(database.parent)
        return ModelRegistry(f"sqlite:///{database}")

    @pytest.fixture
    def experiment_id(self, registry: ModelRegistry) -> str:
        return MlflowTracker(registry.uri).experiment("registered")

    def described(self, registry: Any, name: str) -> dict[str, str]:
        made = registry._client.search_model_versions(f"name = '{name}'")
        whole = registry._client.get_registered_model(name)
        return {"": whole.description, **{str(version.version): version.description for version in made}}

    def left(self, registry: ModelRegistry, experiment_id: str, name: str) -> dict[str, str]:
        """Status by id of all logged models of a name."""
        found = registry._client.search_logged_models([experiment_id])
        return {model.model_id: str(model.status) for model in found if model.name == name}

    def test_what_is_registered_is_whole_and_in_a_place_of_its_own(
        self, registry: ModelRegistry, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        first, second = (self.register(registry, name, experiment_id, tmp_path, content) for content in ("a", "b"))

        assert first.source != second.source
        assert set(self.left(registry, experiment_id, name).values()) == {"READY"}

    def test_a_file_that_comes_back_other_than_it_was_sent_is_sent_again_to_another_place(
        self,
        registry: ModelRegistry,
        name: str,
        experiment_id: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        places: list[str] = []

        def fetch(client: Any, location: str, folder: Path) -> Path:
            places.append(location)
            found = uploads_fetch(client, location, folder)
            if len(places) == 1:
                (found / "model.onnx").write_text("other")
            if len(places) == 2:
                (found / "data" / "model.keras").unlink()
            return found

        uploads_fetch = uploads.fetch
        monkeypatch.setattr(uploads, "fetch", fetch)

        version = self.register(registry, name, experiment_id, tmp_path, "a")

        assert len(set(places)) == 3
        left = self.left(registry, experiment_id, name)
        assert left.pop(version.source.removeprefix("models:/")) == "READY"
        assert sorted(left.values()) == ["FAILED", "FAILED"]
        assert [each.version for each in registry.versions(name)] == ["1"]

    def test_a_package_that_never_arrives_is_not_registered_and_says_which_file(
        self,
        registry: ModelRegistry,
        name: str,
        experiment_id: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(uploads, "fetch", lambda client, location, folder: folder)

        with pytest.raises(TrackingError, match=r"data/model\.keras did not arrive"):
            self.register(registry, name, experiment_id, tmp_path, "a")

        assert registry.versions(name) == []
        assert set(self.left(registry, experiment_id, name).values()) == {"FAILED"}

    def test_what_a_promotion_left_that_died_over_its_upload_is_marked_when_the_same_checkpoint_comes_again(
        self, registry: ModelRegistry, name: str, experiment_id: str, tmp_path: Path
    ) -> None:
        tags = {"regatta.checkpoint_sha256": "d" * 64}
        dead = registry._client.create_logged_model(
            experiment_id, name=name, model_type="champion-candidate", tags=tags
        )
        other = registry._client.create_logged_model(
            experiment_id, name=name, model_type="champion-candidate", tags={"regatta.checkpoint_sha256": "e" * 64}
        )
        package = tmp_path / "package"
        package.mkdir()
        (package / "model.onnx").write_text("a")

        registry.register(name, package, experiment_id=experiment_id, run_id=None, tags=tags)

        left = self.left(registry, experiment_id, name)
        assert (left[dead.model_id], left[other.model_id]) == ("FAILED", "PENDING")

    def test_a_version_whose_answer_was_lost_is_found_and_not_made_twice(
        self,
        registry: ModelRegistry,
        name: str,
        experiment_id: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create = registry._client.create_model_version
        made: list[Any] = []

        def swallow(*arguments: Any, **named: Any) -> Any:
            made.append(create(*arguments, **named))
            raise ConnectionError("the connection ended without an answer")

        monkeypatch.setattr(registry._client, "create_model_version", swallow)

        version = self.register(registry, name, experiment_id, tmp_path, "a")

        assert (version.version, len(made)) == ("1", 1)
        assert [each.version for each in registry.versions(name)] == ["1"]
        assert version.tags["regatta.trial"] == "a"


def test_a_registry_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(TrackingError, match="cannot be reached"):
        ModelRegistry(f"sqlite:///{tmp_path}/file/mlflow.db")
