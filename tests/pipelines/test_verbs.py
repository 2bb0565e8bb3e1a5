"""The small verbs on studies and models that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import verbs
from pipelines.errors import ConfigError, HomeError, NothingToPromote
from pipelines.facts import StudyFacts
from pipelines.home import Home, StudyFolder
from pipelines.reconcile import Mended
from pipelines.study import Study
from pipelines.tracking.entries import Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.sender import Sender
from tests.pipelines.registry import FolderRegistry
from tests.pipelines.scripted import prepared, recipe

SERVER = "http://tracking.example:5000"


@pytest.fixture
def home(regatta_home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    return Home(regatta_home)


def study(home: Home, *, state: str = "COMPLETE", delivered: bool = True) -> StudyFolder:
    """A study of one trial."""
    folder = home.study("tiny")
    folder.root.mkdir(parents=True)
    facts = StudyFacts.begin(recipe(), SERVER)
    facts.trains_on(prepared(home.data))
    facts.write(folder)
    journal = Journal(folder.journal)
    journal.append(RunBegun(facts.uid, "tiny", "sweep", 1))
    tags = {"regatta.trial": "0", "regatta.state": state, "regatta.sampled": "{}"}
    uid = f"{facts.uid}-00000"
    journal.append(RunBegun(uid, "tiny", "trial-000", 2, facts.uid, tags))
    journal.append(Logged(uid, 3, 0, {"val_loss": 0.5, "best.val_loss": 0.5, "best.epoch": 0.0}))
    journal.append(RunEnded(uid, 4, "FINISHED"))
    journal.close()
    if delivered:
        Sender(folder.journal, MemoryTracker(), SERVER).deliver()
    return folder


def test_a_report_can_be_written_again_at_any_time(home: Home) -> None:
    folder = study(home)

    path = verbs.report_study("tiny")

    assert path == str(folder.report)
    page = folder.report.read_text()
    assert "tiny" in page
    assert SERVER in page


def test_the_newest_address_is_that_of_the_newest_sweep_on_a_server(home: Home) -> None:
    study(home)

    assert verbs.newest_address().startswith(f"{SERVER}/#/experiments/0/runs?")


@pytest.mark.parametrize("begun", [True, False])
def test_without_a_sweep_on_a_server_there_is_no_address(home: Home, begun: bool) -> None:
    if begun:
        study(home, delivered=False)

    with pytest.raises(HomeError, match="has reached an MLflow server yet"):
        verbs.newest_address()


@pytest.mark.parametrize(
    ("state", "delivered", "words"),
    [
        ("COMPLETE", False, f"are not on {SERVER} yet. Send them with: regatta sync"),
        ("PRUNED", True, "has no candidate: 1 trials, none of them complete"),
    ],
)
def test_what_cannot_be_promoted_says_what_to_do(home: Home, state: str, delivered: bool, words: str) -> None:
    study(home, state=state, delivered=delivered)

    with pytest.raises(NothingToPromote) as caught:
        verbs.promote_study("tiny")

    assert words in str(caught.value)


def test_an_unknown_study_is_one_sentence(home: Home) -> None:
    with pytest.raises(HomeError, match="no study 'missing'"):
        verbs.promote_study("missing")


def test_the_best_trial_is_promoted_with_the_studys_own_facts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(home)
    asked: list[Any] = []
    monkeypatch.setattr(verbs, "promote_with", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(StudyFacts, "prepared", lambda facts: "the data")

    verbs.promote_study("tiny")

    ((_, config, facts, data, _, best, its_folder, server, experiment_id),) = asked
    assert config == recipe()
    assert (data, its_folder, server, experiment_id) == ("the data", folder, SERVER, "0")
    assert (best.number, best.value, best.run_id) == (0, 0.5, "run-1")
    assert facts == StudyFacts.read(folder)


def test_mending_tells_each_study_and_whether_something_is_left(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Mended("a", said=("trial 3 is open: closed.",), sent=10),
        Mended("b", skipped="Study 'b' is being run by process 7."),
        Mended("c", sent=1, missing=3, problem="connection refused"),
    ]
    monkeypatch.setattr("pipelines.reconcile.reconcile", lambda home, server, opens, check: iter(found))

    lines, whole = verbs.mend()

    assert lines == [
        "a: trial 3 is open: closed.",
        "a: 10 journal entries delivered",
        "b: left alone. Study 'b' is being run by process 7.",
        "c: 1 journal entries delivered, 3 still to deliver (connection refused)",
    ]
    assert not whole


@pytest.mark.parametrize(
    ("found", "lines", "whole"),
    [
        (Mended("a"), ["a: all records agree"], True),
        (Mended("a", said=("trial 3 is open.",), unmended=1), ["a: trial 3 is open."], False),
    ],
)
def test_checking_tells_each_study_that_all_is_well_or_what_is_not(
    home: Home, monkeypatch: pytest.MonkeyPatch, found: Mended, lines: list[str], whole: bool
) -> None:
    asked: list[bool] = []

    def reconcile(home: Home, server: str, opens: Any, check: bool) -> Any:
        asked.append(check)
        return iter([found])

    monkeypatch.setattr("pipelines.reconcile.reconcile", reconcile)

    assert verbs.mend(check=True) == (lines, whole)
    assert asked == [True]


def test_mending_opens_the_study_that_optuna_has_and_makes_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = study(home)
    opened: list[bool] = []

    def reconcile(home: Home, server: str, opens: Any, check: bool) -> Any:
        found = opens(folder, StudyFacts.read(folder))
        opened.append(found is not None)
        if found is not None:
            found.close()
        return iter([])

    monkeypatch.setattr("pipelines.reconcile.reconcile", reconcile)
    verbs.mend()
    assert not folder.storage.exists()
    Study(recipe(), folder.storage).close()
    verbs.mend()

    assert opened == [False, True]


def test_a_folder_from_elsewhere_is_delivered_by_name(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipelines.reconcile.sync_folder", lambda folder, server: iter([Mended(folder.name, sent=2)]))

    assert verbs.deliver(tmp_path / "copied") == (["copied: 2 journal entries delivered"], True)


def test_mending_nothing_says_so(home: Home) -> None:
    lines, whole = verbs.deliver(None)

    assert lines == [f"There is no study under {home.root}."]
    assert whole


@pytest.fixture
def registry(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderRegistry:
    """Three versions; the third is the champion, the first was it before."""
    registry = FolderRegistry(tmp_path / "registry")
    monkeypatch.setattr(verbs, "ModelRegistry", lambda uri: registry)
    (tmp_path / "package").mkdir()
    for number in range(3):
        tags = {"regatta.trial": str(number), "regatta.test_accuracy": f"0.9{number}", "regatta.decision": "why"}
        registry.register("tiny", tmp_path / "package", experiment_id="0", run_id=None, tags=tags)
    first, _, third = registry.versions("tiny")
    registry.crown(first, None, "2030-01-01T00:00:00Z")
    registry.crown(third, first, "2030-01-02T00:00:00Z")
    return registry


def test_a_models_history_is_a_line_a_version(registry: FolderRegistry) -> None:
    lines = verbs.model_history("tiny")

    assert len(lines) == 3
    assert lines[0].startswith("version 1 [previous]  ")
    assert "trial 1, test accuracy 0.9100: why" in lines[1]
    assert "[champion]" in lines[2]
    assert "champion since 2030-01-02T00:00:00Z" in lines[2]


def test_rolling_back_swaps_the_champion_with_the_one_before_and_back(registry: FolderRegistry) -> None:
    assert verbs.roll_back("tiny", None) == "Version 1 of 'tiny' is the champion again; version 3 was it before."
    assert registry.aliases == {"champion": "1", "previous": "3"}

    verbs.roll_back("tiny", None)

    assert registry.aliases == {"champion": "3", "previous": "1"}


def test_rolling_back_may_name_a_version(registry: FolderRegistry) -> None:
    verbs.roll_back("tiny", "2")

    assert registry.aliases == {"champion": "2", "previous": "3"}


def test_rolling_back_to_the_champion_changes_nothing(registry: FolderRegistry) -> None:
    assert verbs.roll_back("tiny", "3") == "Version 3 of 'tiny' is the champion already."
    assert registry.aliases == {"champion": "3", "previous": "1"}


@pytest.mark.parametrize(
    ("name", "to", "words"),
    [("tiny", "9", "'tiny' has no version 9"), ("other", None, "'other' has no champion")],
)
def test_what_cannot_be_rolled_back_says_what_is_missing(
    registry: FolderRegistry, name: str, to: str | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        verbs.roll_back(name, to)


def test_a_model_that_nobody_registered_has_no_history(registry: FolderRegistry) -> None:
    with pytest.raises(ConfigError, match="no model is registered as 'other'"):
        verbs.model_history("other")
