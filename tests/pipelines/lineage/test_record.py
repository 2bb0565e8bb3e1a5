"""What a sweep's record says of where it came from."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.lineage import lineage
from pipelines.lineage import record as origin
from pipelines.lineage.packages import INSTALLED
from pipelines.lineage.record import source_name
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.reading import read_recipe
from tests.pipelines.lineage.repositories import git, made

COMMAND = "regatta sweep configs/sweeps/digits.yaml --trials 3"


def resolved(repository: Path) -> tuple[SweepConfig, dict[str, Any]]:
    config = read_recipe(repository / "configs" / "sweeps" / "digits.yaml", ["seed=7"])
    return config, config.model_dump(mode="json")


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of the user's own, in which the user stands."""
    folder = made(tmp_path / "code", model="units = 32\n")
    monkeypatch.chdir(folder)
    return folder


def test_the_tags_say_what_ran_where(code: Path, repository: Path) -> None:
    tags = lineage(COMMAND, "d" * 64, "5" * 64, resolved(repository)[1]).tags()

    assert tags["mlflow.source.git.commit"] == git(code, "rev-parse", "HEAD")
    assert tags["mlflow.source.git.branch"] == "main"
    assert tags["mlflow.source.name"] == "regatta sweep"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["regatta.command"] == COMMAND
    assert tags["regatta.git.dirty"] == "false"
    assert (tags["regatta.dataset_sha256"], tags["regatta.split_sha256"]) == ("d" * 64, "5" * 64)
    assert {"regatta.host", "regatta.system", "regatta.cpu", "regatta.memory_mb"} <= set(tags)
    assert {"regatta.versions.keras", "regatta.versions.tensorflow", "regatta.versions.optuna"} <= set(tags)
    assert tags["regatta.python"] == ".".join(map(str, sys.version_info[:3]))
    assert len(tags["regatta.lock_sha256"]) == 64
    assert all(tags.values())


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that stands for Regatta's own."""
    folder = made(tmp_path / "regatta")
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "__init__.py").touch()
    git(folder, "add", "pipelines")
    git(folder, "commit", "--message", "second")
    monkeypatch.setattr(origin, "_ROOT", folder)
    return folder


def test_regattas_own_repository_is_told_beside_the_users(code: Path, own: Path, tmp_path: Path) -> None:
    (own / "pipelines" / "__init__.py").write_text("changed = True\n", encoding="utf-8")
    record = lineage(COMMAND, "", "", {})
    tags = record.tags()
    assert tags["mlflow.source.git.commit"] == git(code, "rev-parse", "HEAD")
    assert (tags["regatta.own.commit"], tags["regatta.own.dirty"]) == (git(own, "rev-parse", "HEAD"), "true")
    assert [path.name for path in record.files(tmp_path / "files")][2:] == ["uncommitted-regatta.diff"]


def test_who_stands_in_regattas_own_repository_is_told_of_it_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own / "pipelines")
    record = lineage(COMMAND, "", "", {})
    assert record.own is None
    assert record.tags()["mlflow.source.git.commit"] == git(own, "rev-parse", "HEAD")


def test_outside_of_any_repository_regattas_own_commit_is_the_one_that_counts(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lineage(COMMAND, "", "", {}).tags()["mlflow.source.git.commit"] == git(own, "rev-parse", "HEAD")


def test_an_environment_within_the_users_repository_is_not_of_it(
    code: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = made(tmp_path / "elsewhere", model="1\n")
    packages = other / ".venv" / "site-packages"
    (packages / "pipelines").mkdir(parents=True)
    (packages / "pipelines" / "__init__.py").touch()
    monkeypatch.setattr(origin, "_ROOT", packages)
    assert lineage(COMMAND, "", "", {}).own is None


def test_without_git_the_record_says_so_and_is_there_all_the_same(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    record = lineage(COMMAND, "", "", {"seed": 1})
    tags = record.tags()
    assert tags["regatta.git.problem"] == "git is not installed"
    assert not {"mlflow.source.git.commit", "regatta.git.dirty"} & set(tags)
    assert [path.name for path in record.files(tmp_path / "files")] == ["recipe.yaml", "lineage.json"]


def test_the_recipe_is_a_recipe_again(code: Path, repository: Path, tmp_path: Path) -> None:
    config, recipe = resolved(repository)
    path = lineage(COMMAND, "", "", recipe).files(tmp_path / "files")[0]
    assert path.name == "recipe.yaml"
    assert read_recipe(path) == config
    assert list(read_recipe(path).callbacks) == list(config.callbacks), "Keras calls them in this order"


def test_every_recipe_that_comes_with_regatta_is_one_again(code: Path, repository: Path, tmp_path: Path) -> None:
    found = sorted((repository / "configs" / "sweeps").glob("*.yaml"))
    assert found
    for each in found:
        config = read_recipe(each)
        path = lineage(COMMAND, "", "", config.model_dump(mode="json")).files(tmp_path / "files")[0]
        assert read_recipe(path) == config, each.name


def test_a_trial_is_tagged_with_what_people_search_by_and_no_more(code: Path) -> None:
    record = lineage(COMMAND, "d" * 64, "5" * 64, {})
    assert record.trial_tags().items() < record.tags().items()
    assert {"mlflow.source.git.commit", "regatta.dataset_sha256", "regatta.git.dirty"} <= set(record.trial_tags())
    assert len(record.trial_tags()) < 10


def test_a_command_of_several_lines_leaves_the_recipe_readable(code: Path, repository: Path, tmp_path: Path) -> None:
    config, recipe = resolved(repository)
    path = lineage("regatta sweep 'a\nstudy: no'", "", "", recipe).files(tmp_path / "files")[0]
    assert read_recipe(path) == config


def test_the_record_holds_what_the_tags_have_no_room_for(code: Path, repository: Path, tmp_path: Path) -> None:
    (code / "model.py").write_text("units = 64\n", encoding="utf-8")
    (code / ".env").write_text("PASSWORD=hunter2\n", encoding="utf-8")
    files = lineage(COMMAND, "d" * 64, "5" * 64, resolved(repository)[1]).files(tmp_path / "files")
    record = json.loads((tmp_path / "files" / "lineage.json").read_text(encoding="utf-8"))

    assert record["seed"] == 7
    assert record["repository"]["changed"] == ["model.py"]
    assert record["repository"]["untracked"] == [".env"]
    assert record["packages"]["keras"] == record["versions"]["keras"]
    assert record["machine"]["cores"] >= 1
    assert not any("hunter2" in path.read_text(encoding="utf-8") for path in files)


def test_the_diff_is_kept_only_while_there_is_one(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "files"
    (code / "model.py").write_text("units = 64\n", encoding="utf-8")
    written = lineage(COMMAND, "", "", {}).files(folder)
    assert folder / "uncommitted.diff" in written
    assert "+units = 64" in (folder / "uncommitted.diff").read_text(encoding="utf-8")

    git(code, "commit", "--all", "--message", "second")
    written = lineage(COMMAND, "", "", {}).files(folder)
    assert folder / "uncommitted.diff" not in written
    assert not (folder / "uncommitted.diff").exists()


def test_what_a_sweep_itself_writes_does_not_make_the_code_dirty(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_HOME", str(code / ".regatta"))
    (code / ".regatta").mkdir()
    (code / ".regatta" / "study.json").write_text("{}", encoding="utf-8")
    assert lineage(COMMAND, "", "", {}).tags()["regatta.git.dirty"] == "false"


def test_a_password_in_an_address_is_not_kept(code: Path) -> None:
    record = lineage("regatta sweep x.yaml --set dataset.url=https://me:hunter2@example.org/x", "", "", {})
    assert record.command == "regatta sweep x.yaml --set dataset.url=https://example.org/x"


def test_whose_home_it_is_is_not_kept(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    record = lineage("/home/me/bin/regatta sweep /home/me/x.yaml --set dataset.path=/home/me/x.csv", "", "", {})
    assert record.command == "~/bin/regatta sweep ~/x.yaml --set dataset.path=~/x.csv"


def test_of_the_environment_only_what_changes_numbers_is_kept(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    record = lineage(COMMAND, "", "", {})
    assert record.environment["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert "AWS_SECRET_ACCESS_KEY" not in record.environment


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (COMMAND, "regatta sweep"),
        ("regatta train --run abc", "regatta train"),
        (".venv/bin/regatta sweep x.yaml", "regatta sweep"),
        ("python -m pipelines sweep x.yaml", "regatta sweep"),
        ("regatta", "regatta"),
        ("", "regatta"),
        ("regatta configs/x.yaml", "regatta"),
    ],
)
def test_the_source_is_the_program_and_its_verb(command: str, expected: str) -> None:
    assert source_name(command) == expected


def test_the_lock_of_this_environment_is_found(code: Path, repository: Path) -> None:
    packages = lineage(COMMAND, "", "", {}).packages
    if packages.lock != INSTALLED:
        assert packages.lock_sha256 == hashlib.sha256((repository / packages.lock).read_bytes()).hexdigest()
