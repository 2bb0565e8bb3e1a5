"""Who was champion when: the history in the registry, what an interrupted move leaves, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.promotion import reigns
from pipelines.promotion.reigns import FOUND, GONE, Reign, crown, last_champion, mend, reigns_of
from tests.pipelines.promotion.reigning import at, move, three_versions, told
from tests.pipelines.registry import FolderRegistry


class Died(BaseException):
    """The process was killed at this moment."""


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return three_versions(tmp_path)


def test_each_move_is_told_in_order_and_previous_is_the_one_before(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)
    move(registry, "1", "3", 3, "rolled back")

    assert told(registry) == [("1", None, "promoted"), ("3", "1", "promoted"), ("1", "3", "rolled back")]
    assert registry.aliases == {"champion": "1", "previous": "3"}
    assert registry.kept[0].tags["regatta.champion_since"] == at(3)


def test_a_version_says_from_when_to_when_it_was_the_champion_last(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)
    between = dict(registry.kept[0].tags)
    move(registry, "1", "3", 3, "rolled back")

    assert (between["regatta.champion_since"], between["regatta.champion_until"]) == (at(1), at(2))
    assert registry.kept[0].tags["regatta.champion_since"] == at(3)
    assert "regatta.champion_until" not in registry.kept[0].tags
    assert registry.kept[2].tags["regatta.champion_until"] == at(3)


def test_a_version_whose_time_nobody_ended_gets_its_end_from_the_history(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    registry.untag(registry.kept[0], "regatta.champion_until")  # as older versions of Regatta left it
    registry.aliases["champion"] = "3"

    mend(registry, registry.model("tiny"))

    assert registry.kept[0].tags["regatta.champion_until"] == at(2)
    assert registry.kept[1].tags["regatta.champion_until"] == reigns_of(registry.model("tiny"))[-1].at


def test_a_history_that_is_whole_is_left_alone(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    changes: list[str] = []
    registry.before_each = changes.append

    model = mend(registry, registry.model("tiny"))

    assert changes == []
    assert model == registry.model("tiny")


@pytest.mark.parametrize("moment", range(5))
def test_a_move_that_dies_half_way_is_completed_or_was_none(registry: FolderRegistry, moment: int) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    changes: list[str] = []

    def dies(change: str) -> None:
        changes.append(change)
        if len(changes) == moment + 1:
            raise Died

    registry.before_each = dies
    with pytest.raises(Died):
        move(registry, "3", "2", 3)
    registry.before_each = lambda change: None
    before_mending = told(registry)

    mend(registry, registry.model("tiny"))

    moved = moment >= 2
    assert registry.aliases == ({"champion": "3", "previous": "2"} if moved else {"champion": "2", "previous": "1"})
    assert told(registry) == before_mending
    assert told(registry)[-1] == (("3", "2", "promoted") if moved else ("2", "1", "promoted"))
    assert [reign.why for reign in reigns_of(registry.model("tiny"))][-1] == ("day 3" if moved else "day 2")


def test_an_alias_that_somebody_else_has_moved_is_found_and_the_one_before_stays_reachable(
    registry: FolderRegistry,
) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    registry.aliases["champion"] = "3"

    mend(registry, registry.model("tiny"))

    assert told(registry)[-1] == ("3", "2", FOUND)
    assert registry.aliases == {"champion": "3", "previous": "2"}
    assert len([key for key in registry.tags if key.startswith("regatta.reign.")]) == 3


def test_a_version_that_was_champion_before_and_that_somebody_has_moved_back_is_found_too(
    registry: FolderRegistry,
) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    registry.aliases["champion"] = "1"

    assert told(registry)[-1] == ("1", "2", FOUND)


def test_a_champion_from_before_there_was_a_history_is_told_with_what_is_known(registry: FolderRegistry) -> None:
    registry.tag(registry.kept[1], {"regatta.champion_since": at(5)})
    registry.aliases |= {"champion": "2", "previous": "1"}

    (reign,) = reigns_of(registry.model("tiny"))

    assert (reign.at, reign.version, reign.before, reign.why) == (at(5), "2", "1", "why")


def test_an_alias_that_somebody_has_taken_away_is_told_once_and_the_last_champion_is_known(
    registry: FolderRegistry,
) -> None:
    move(registry, "1", None, 1)
    move(registry, "2", "1", 2)
    del registry.aliases["champion"]

    for _ in range(2):
        mend(registry, registry.model("tiny"))

    model = registry.model("tiny")
    assert told(registry) == [("1", None, "promoted"), ("2", "1", "promoted"), ("2", None, GONE)]
    assert "its alias was taken away by somebody else than Regatta" in reigns_of(model)[-1].sentence()
    assert "in place of" not in reigns_of(model)[-1].sentence()
    last = last_champion(model)
    assert last is not None
    assert last.version == "2"
    assert registry.aliases == {"previous": "1"}


def test_an_alias_that_comes_back_after_it_was_gone_is_found(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    del registry.aliases["champion"]
    mend(registry, registry.model("tiny"))
    registry.aliases["champion"] = "1"

    assert told(registry)[1:] == [("1", None, GONE), ("1", None, FOUND)]


def test_a_champion_that_was_deleted_leaves_the_one_before_as_the_last(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)
    del registry.aliases["champion"]
    registry.kept.pop()

    model = mend(registry, registry.model("tiny"))

    last = last_champion(model)
    assert last is not None
    assert last.version == "1"
    assert reigns_of(model)[-1].why == "it was deleted by somebody else than Regatta"


def test_a_model_without_a_champion_has_no_history(registry: FolderRegistry) -> None:
    assert told(registry) == []
    assert mend(registry, registry.model("tiny")).versions


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"at": 1}', '{"who": "knows"}'])
def test_a_tag_that_nobody_can_read_tells_nothing(registry: FolderRegistry, text: str) -> None:
    move(registry, "1", None, 1)
    registry.tags["regatta.reign.20300109"] = text
    registry.tag(registry.kept[0], {reigns.INTENT_TAG: text})

    assert told(registry) == [("1", None, "promoted")]


def test_a_history_does_not_grow_for_ever(registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reigns, "_MOST", 4)
    for day in range(1, 10):
        move(registry, str(day % 2 + 1), str((day + 1) % 2 + 1), day)

    mend(registry, registry.model("tiny"))

    assert [reign.at for reign in reigns_of(registry.model("tiny"))] == [at(day) for day in (6, 7, 8, 9)]


def test_a_long_reason_is_cut_to_what_a_tag_holds(registry: FolderRegistry) -> None:
    crown(registry, registry.kept[0], Reign(at(1), "promoted", "1", None, "x" * 50_000))

    assert all(len(value) < 5000 for value in registry.tags.values())
