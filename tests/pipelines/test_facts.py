from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DataError, HomeError
from pipelines.facts import StudyFacts
from pipelines.home import StudyFolder
from pipelines.recipe.reading import identity
from tests.pipelines.scripted import prepared, recipe

SERVER = "http://127.0.0.1:5000"


def test_facts_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.root.mkdir()
    facts = StudyFacts.begin(recipe(), SERVER)
    facts.trains_on(prepared(tmp_path / "data"))

    facts.write(folder)

    assert folder.exists()
    assert StudyFacts.read(folder) == facts
    assert StudyFacts.read(folder).recipe() == recipe()
    assert [path.name for path in folder.root.iterdir()] == ["study.json"]


def test_every_study_has_a_uid_of_its_own() -> None:
    assert StudyFacts.begin(recipe(), SERVER).uid != StudyFacts.begin(recipe(), SERVER).uid


def test_a_study_that_goes_on_keeps_what_it_is_and_takes_the_new_budget_and_server(tmp_path: Path) -> None:
    facts = StudyFacts.begin(recipe(6), SERVER)
    facts.trains_on(prepared(tmp_path))

    again = facts.go_on(recipe(9), "http://other:5000")

    assert (again.uid, again.identity, again.data) == (facts.uid, facts.identity, facts.data)
    assert (again.recipe().budget.trials, again.server) == (9, "http://other:5000")
    assert again.identity == identity(recipe(9))


def test_a_study_whose_own_code_has_changed_says_so_once() -> None:
    facts = StudyFacts.begin(recipe(), SERVER)
    assert facts.runs_code({"mine": "1" * 64, "helpers": "2" * 64}) is None

    assert facts.go_on(recipe(), SERVER).runs_code({"mine": "1" * 64, "helpers": "2" * 64}) is None
    again = facts.go_on(recipe(), SERVER)
    assert again.runs_code({"mine": "3" * 64, "more": "4" * 64}) == (
        "Your own code has changed since study 'tiny' was last run (helpers, mine, more): its trials from here on run "
        "the new code, and their runs say so in the tag regatta.user_code_sha256. To compare like with like, begin a "
        "new study with --fresh."
    )
    assert again.runs_code({"mine": "3" * 64, "more": "4" * 64}) is None


def test_a_study_of_before_code_was_noted_says_nothing_of_it(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    StudyFacts.begin(recipe(), SERVER).write(folder)
    kept = json.loads(folder.facts.read_text(encoding="utf-8"))
    del kept["own_code"]
    folder.facts.write_text(json.dumps(kept), encoding="utf-8")

    assert StudyFacts.read(folder).runs_code({"mine": "1" * 64}) is None


def test_a_study_may_see_the_same_data_in_another_folder(tmp_path: Path) -> None:
    facts = StudyFacts.begin(recipe(), SERVER)
    facts.trains_on(prepared(tmp_path))

    facts.trains_on(prepared(tmp_path / "moved"))

    assert facts.data["folder"] == str(tmp_path / "moved")


@pytest.mark.parametrize("changed", ["sha256", "split_sha256"])
def test_a_study_whose_data_has_changed_does_not_go_on(tmp_path: Path, changed: str) -> None:
    facts = StudyFacts.begin(recipe(), SERVER)
    facts.trains_on(prepared(tmp_path))

    other: dict[str, Any] = {changed: "0" * 64}
    with pytest.raises(DataError, match=r"The data has changed since this study began.*--fresh"):
        facts.trains_on(replace(prepared(tmp_path), **other))


def test_data_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    facts = StudyFacts.begin(recipe(), SERVER)
    facts.trains_on(prepared(tmp_path / "gone"))

    with pytest.raises(DataError, match=r"prepared data is gone from .*gone"):
        facts.prepared()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uid": "u"}'])
def test_facts_that_cannot_be_read_are_one_sentence(tmp_path: Path, text: str) -> None:
    folder = StudyFolder(tmp_path / "torn")
    folder.root.mkdir()
    folder.facts.write_text(text)

    with pytest.raises(HomeError, match=r"What study 'torn' is cannot be read from .*study\.json: "):
        StudyFacts.read(folder)
