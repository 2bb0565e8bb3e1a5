"""The way back to an earlier champion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import ConfigError, TrackingError
from pipelines.promotion.going_back import roll_back
from pipelines.promotion.reigns import reigns_of
from pipelines.tracking.models import Version
from tests.pipelines.promotion.bench import seal
from tests.pipelines.promotion.reigning import move, three_versions, told
from tests.pipelines.registry import FolderRegistry


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return three_versions(tmp_path)


def test_where_the_alias_is_gone_rolling_back_names_the_version_that_gets_it_back(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    del registry.aliases["champion"]

    with pytest.raises(
        ConfigError, match=r"Version 2 is the last champion that is left; .* regatta rollback tiny --to 2"
    ):
        roll_back(registry, "tiny", None)

    assert roll_back(registry, "tiny", "2") == "Version 2 of 'tiny' is the champion again."
    assert registry.aliases == {"champion": "2", "previous": "1"}
    assert told(registry)[-1] == ("2", None, "rolled back")


def test_where_there_was_never_a_champion_rolling_back_says_how_to_make_one(registry: FolderRegistry) -> None:
    with pytest.raises(ConfigError, match="'tiny' has no champion yet; make a version the champion with --to VERSION"):
        roll_back(registry, "tiny", None)


def test_rolling_back_swaps_the_champion_with_the_one_before_and_back(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)

    assert roll_back(registry, "tiny", None) == "Version 1 of 'tiny' is the champion again; version 3 was it before."
    assert registry.aliases == {"champion": "1", "previous": "3"}
    roll_back(registry, "tiny", None, why="it was no better after all")

    assert registry.aliases == {"champion": "3", "previous": "1"}
    assert told(registry)[2:] == [("1", "3", "rolled back"), ("3", "1", "rolled back")]
    assert reigns_of(registry.model("tiny"))[-1].why == "it was no better after all"


def test_rolling_back_may_name_a_version(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)

    roll_back(registry, "tiny", "2")

    assert registry.aliases == {"champion": "2", "previous": "3"}


def test_rolling_back_to_the_champion_changes_nothing(registry: FolderRegistry) -> None:
    move(registry, "3", None, 1)

    assert roll_back(registry, "tiny", "3") == "Version 3 of 'tiny' is the champion already."
    assert told(registry) == [("3", None, "promoted")]


def test_where_there_is_no_champion_a_version_that_is_named_becomes_it(registry: FolderRegistry) -> None:
    assert roll_back(registry, "tiny", "2") == "Version 2 of 'tiny' is the champion again."
    assert registry.aliases == {"champion": "2"}


def test_a_damaged_version_is_nothing_to_go_back_to(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)
    (registry.folder("1") / "model.onnx").write_text("other")

    with pytest.raises(TrackingError, match=r"Version 1 of 'tiny' is damaged: model\.onnx is not the file"):
        roll_back(registry, "tiny", None)

    assert registry.aliases == {"champion": "3", "previous": "1"}


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [
        ("tiny", "9", "--to: 'tiny' has no version 9; it has 1, 2, 3, see: regatta history tiny"),
        ("tiny", "v1", "'tiny' has no version v1"),
        ("tiny", None, "'tiny' has no version before the champion"),
        ("other", None, "'other' has no versions: no model is registered under that name"),
        ("other", "1", "'other' has no versions: no model is registered under that name"),
    ],
)
def test_what_cannot_be_rolled_back_says_what_is_missing(
    registry: FolderRegistry, name: str, to: str | None, words: str
) -> None:
    move(registry, "1", None, 1)

    with pytest.raises(ConfigError, match=words):
        roll_back(registry, name, to)


def of_another_kind(registry: FolderRegistry, version: str) -> None:
    """Makes a version the package of another model, as somebody may register one."""
    for number in "123":
        task = "binary" if number == version else "multiclass"
        contract = {"task": task, "input": {"shape": [None, 8, 8]}, "labels": ["a", "b"]}
        (registry.folder(number) / "contract.json").write_text(json.dumps(contract))
        seal(registry.folder(number))


def test_a_version_that_does_something_else_is_refused_unless_that_is_meant(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    of_another_kind(registry, "3")

    with pytest.raises(ConfigError, match="version 3 of 'tiny' learned the task binary, the champion, version 2, asks"):
        roll_back(registry, "tiny", "3")
    assert registry.aliases == {"champion": "2", "previous": "1"}
    roll_back(registry, "tiny", "3", "we changed the product", force=True)

    assert registry.aliases == {"champion": "3", "previous": "2"}
    last = reigns_of(registry.model("tiny"))[-1]
    assert last.action == "forced"
    assert last.why.startswith("rolled back by force, although it learned the task binary")
    assert last.why.endswith("we changed the product")


def test_a_champion_of_another_kind_that_somebody_slipped_in_does_not_bar_the_way_back(
    registry: FolderRegistry,
) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    of_another_kind(registry, "3")
    registry.aliases["champion"] = "3"

    assert roll_back(registry, "tiny", "1") == "Version 1 of 'tiny' is the champion again; version 3 was it before."
    with pytest.raises(ConfigError, match="version 3 of 'tiny' learned the task binary"):
        roll_back(registry, "tiny", None)


def test_of_a_version_without_a_contract_nobody_can_say(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    for name in ("contract.json", "manifest.json"):
        (registry.folder("2") / name).unlink()

    roll_back(registry, "tiny", "2")

    assert told(registry)[-1] == ("2", "1", "rolled back")


def test_a_champion_whose_files_are_lost_does_not_bar_the_way_back(
    registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    download = registry.download

    def lost(version: Version, folder: Path) -> Path:
        if version.version == "2":
            raise TrackingError("there are no such files")
        return download(version, folder)

    monkeypatch.setattr(registry, "download", lost)

    roll_back(registry, "tiny", None)

    assert registry.aliases == {"champion": "1", "previous": "2"}
