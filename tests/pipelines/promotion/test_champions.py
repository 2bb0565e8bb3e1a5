"""Who is and was the champion, as people and programs read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import ConfigError, TrackingError
from pipelines.promotion.champions import history_of
from pipelines.promotion.reigns import Reign, challenge, crown
from tests.pipelines.promotion.reigning import at, move, three_versions
from tests.pipelines.registry import FolderRegistry


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return three_versions(tmp_path)


def test_a_models_history_is_a_line_a_version_and_a_line_a_reign(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2, "forced")

    lines = history_of(registry, "tiny").lines()

    assert lines[0].startswith("version 1 [previous]  ")
    assert "trial 1, test accuracy 0.9100: why" in lines[1]
    assert "[champion]" in lines[2]
    assert "champion since 2030-01-02 00:00:00 UTC: why" in lines[2]
    assert lines[-3:] == [
        "champions of 'tiny':",
        "  2030-01-01 00:00:00 UTC  version 1 became the champion: day 1",
        "  2030-01-02 00:00:00 UTC  version 3 was made the champion by force, in place of version 1: day 2",
    ]


def test_each_clause_of_a_reason_has_a_line_of_its_own(registry: FolderRegistry) -> None:
    registry.tag(registry.kept[0], {"regatta.decision": "no better; promotion.min_gain asks; promotion.parity asks"})

    lines = history_of(registry, "tiny").lines()

    assert lines[0].endswith("test accuracy 0.9000: no better")
    assert lines[1:3] == ["    promotion.min_gain asks", "    promotion.parity asks"]


def test_a_version_that_somebody_else_registered_says_so(registry: FolderRegistry) -> None:
    registry.kept[2] = replace(registry.kept[2], tags={})

    lines = history_of(registry, "tiny").lines()

    assert lines[2] == "version 3  1970-01-01 00:00:00 UTC  no trial of Regatta's, not judged"


def test_what_somebody_else_has_done_is_told_with_one_time_by_whoever_looks(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    registry.aliases["champion"] = "2"

    first, second = (history_of(registry, "tiny").reigns[-1] for _ in range(2))

    assert (first.action, first.version) == ("found", "2")
    assert second == first


def test_who_may_only_read_reads_the_history_all_the_same(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    registry.aliases["champion"] = "2"

    def denied(change: str) -> None:
        raise TrackingError("permission denied")

    registry.before_each = denied

    assert [reign.action for reign in history_of(registry, "tiny").reigns] == ["promoted", "found"]


def test_programs_find_the_run_of_the_evidence_under_one_name(registry: FolderRegistry) -> None:
    registry.tag(registry.kept[0], {"regatta.evidence": "uid-1", "regatta.evidence_run": "run-1"})
    crown(registry, registry.kept[0], Reign(at(1), "promoted", "1", None, "why", evidence="uid-1"))
    crown(registry, registry.kept[1], Reign(at(2), "promoted", "2", "1", "why", evidence="uid-of-another-promotion"))

    read = history_of(registry, "tiny").to_json()

    assert [(each["evidence_run"], each["evidence_uid"]) for each in read["history"]] == [
        ("run-1", "uid-1"), (None, "uid-of-another-promotion")
    ]  # fmt: skip
    assert (read["versions"][0]["evidence_run"], read["versions"][0]["evidence_uid"]) == ("run-1", "uid-1")
    assert "evidence" not in read["history"][0]


def test_challengers_stand_among_the_champions_in_order_of_time(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    challenge(registry, registry.kept[1], Reign(at(2), "challenges", "2", None, "why"))
    move(registry, "3", "1", 3)

    told = history_of(registry, "tiny")

    assert [line.split("  ")[2] for line in told.lines()[-4:-1][1:]] == [
        "version 1 became the champion: day 1",
        "version 2 became the challenger: why",
    ]
    assert told.lines()[-4] == "champions of 'tiny', and challengers:"
    read = told.to_json()
    assert (read["challenger"], [each["version"] for each in read["challengers"]]) == ("2", ["2"])
    assert [each["version"] for each in read["history"]] == ["1", "3"]


def test_programs_read_the_same(registry: FolderRegistry) -> None:
    move(registry, "1", None, 1)
    move(registry, "3", "1", 2)

    read = json.loads(json.dumps(history_of(registry, "tiny").to_json(), allow_nan=False))

    assert (read["name"], read["champion"], read["previous"]) == ("tiny", "3", "1")
    assert [each["version"] for each in read["versions"]] == ["1", "2", "3"]
    assert read["versions"][2]["score"] == {"name": "test_accuracy", "value": 0.92}
    assert [(each["version"], each["before"], each["at"]) for each in read["history"]] == [
        ("1", None, at(1)), ("3", "1", at(2))
    ]  # fmt: skip


def test_a_model_that_nobody_registered_has_no_history(registry: FolderRegistry) -> None:
    with pytest.raises(ConfigError, match="no model is registered as 'other'"):
        history_of(registry, "other")
