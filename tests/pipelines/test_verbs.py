"""The small verbs on studies and models that are there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import verbs
from pipelines.errors import ConfigError, HomeError, NothingToPromote, TrackingError
from pipelines.facts import StudyFacts
from pipelines.home import Home, StudyFolder
from pipelines.packaging.scoring import Scores
from pipelines.promote import StudyOnDisk
from pipelines.promotion.judge import Judge
from pipelines.promotion.outcome import Promoted
from pipelines.promotion.policy import Decision
from pipelines.reconcile import Mended
from pipelines.study import Study
from pipelines.tracking.entries import Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from pipelines.tracking.memory import MemoryTracker
from pipelines.tracking.models import Version
from pipelines.tracking.run import Run
from pipelines.tracking.sender import Sender
from tests.pipelines.registry import FolderRegistry
from tests.pipelines.scripted import prepared, recipe

SERVER = "http://tracking.example:5000"


@pytest.fixture
def home(regatta_home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", SERVER)
    monkeypatch.setattr(verbs, "ModelRegistry", lambda uri: FolderRegistry(regatta_home / "registry"))
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


def owned(home: Home, part: str = "model") -> StudyFolder:
    """A study with code of the user's that is nowhere here."""
    folder = study(home)
    facts = StudyFacts.read(folder)
    facts.config[part] = {"name": "function", "function": "not_here_at_all:make"}
    facts.write(folder)
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


@pytest.mark.parametrize("part", ["model", "dataset"])
def test_report_and_address_need_none_of_the_users_own_code(home: Home, part: str) -> None:
    folder = owned(home, part)

    assert verbs.report_study("tiny") == str(folder.report)
    assert verbs.newest_address().startswith(SERVER)


@pytest.mark.parametrize(
    ("part", "settings", "words"),
    [
        ("dataset", [], "Study 'tiny' needs code of yours that cannot be had here: dataset.function: must name code"),
        ("model", ["promotion.seeds=2"], "Study 'tiny' needs code of yours that cannot be had here: model.function"),
    ],
)
def test_a_promotion_that_will_call_the_users_own_code_says_at_once_where_to_run_it(
    home: Home, part: str, settings: list[str], words: str
) -> None:
    owned(home, part)

    with pytest.raises(ConfigError) as caught:
        verbs.promote_study("tiny", settings=settings)

    assert str(caught.value).startswith(words)
    assert str(caught.value).endswith("Run this in the folder that has it.")


def test_a_promotion_that_calls_none_of_the_users_own_code_needs_none(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned(home)
    data = prepared(home.data)
    judged: list[StudyOnDisk] = []

    def promote_with(judge: Judge, on_disk: StudyOnDisk, *rest: Any, **how: Any) -> Promoted:
        judged.append(on_disk)
        raise NothingToPromote("that is enough")

    monkeypatch.setattr(verbs, "promote_with", promote_with)
    monkeypatch.setattr(verbs, "make_tracker", lambda server: MemoryTracker())
    monkeypatch.setattr(StudyFacts, "prepared", lambda facts: data)

    with pytest.raises(NothingToPromote, match="that is enough"):
        verbs.promote_study("tiny", settings=["promotion.min_gain=0.25"])

    assert judged[0].config.promotion.min_gain == 0.25


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


@pytest.mark.parametrize("delivered", [True, False])
def test_a_server_that_is_away_is_told_before_anything_else_is_blamed(
    home: Home, monkeypatch: pytest.MonkeyPatch, delivered: bool
) -> None:
    study(home, delivered=delivered)

    def away(uri: str) -> FolderRegistry:
        raise TrackingError(f"The MLflow server at {uri} cannot be reached: connection refused")

    monkeypatch.setattr(verbs, "ModelRegistry", away)

    with pytest.raises(TrackingError, match=f"The MLflow server at {SERVER} cannot be reached"):
        verbs.promote_study("tiny")


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("chalenger", "--as: must be champion or challenger, got 'chalenger'; did you mean 'challenger'?"),
        ("staging", "--as: must be champion or challenger, got 'staging'"),
        ("previous", "'previous' follows by itself: it names the champion before this one"),
    ],
)
def test_no_other_place_than_the_champions_and_the_challengers_can_be_had(home: Home, alias: str, words: str) -> None:
    study(home)

    with pytest.raises(ConfigError) as caught:
        verbs.promote_study("tiny", alias=alias)

    assert words in str(caught.value)


def test_an_unknown_study_is_one_sentence(home: Home) -> None:
    with pytest.raises(HomeError, match="no study 'missing'"):
        verbs.promote_study("missing")


@pytest.mark.parametrize(("force", "alias"), [(True, "champion"), (False, "challenger")])
def test_the_best_trials_are_promoted_with_the_studys_own_facts_and_the_evidence_is_delivered(
    home: Home, monkeypatch: pytest.MonkeyPatch, force: bool, alias: str
) -> None:
    folder, tracker = study(home), MemoryTracker()
    asked: list[Any] = []
    noted: list[Any] = []
    data = prepared(home.data)
    version = Version("tiny", "1", "models:/m-1", "run-1", {}, (), 0)

    def promote_with(judge: Judge, on_disk: StudyOnDisk, best: Any, experiment_id: str, **how: Any) -> Promoted:
        asked.append((on_disk, best, experiment_id, how["force"], how["challenges"]))
        Run(on_disk.journal, "evidence").begin("tiny promotions", "judged", tags={}, params={})
        scores = Scores({"test_accuracy": 0.9})
        return Promoted(Decision(True, "why"), version, scores, None, best[0], evidence="evidence")

    def note_evidence(promoted: Promoted, server: str, run_id: Any, experiment_id: Any) -> Promoted:
        noted.append((server, run_id(promoted.evidence), experiment_id("tiny promotions")))
        return replace(promoted, evidence_run=run_id(promoted.evidence))

    monkeypatch.setattr(verbs, "promote_with", promote_with)
    monkeypatch.setattr(verbs, "note_evidence", note_evidence)
    monkeypatch.setattr(verbs, "make_tracker", lambda server: tracker)
    monkeypatch.setattr(StudyFacts, "prepared", lambda facts: data)

    promoted = verbs.promote_study("tiny", force=force, alias=alias)

    ((on_disk, (best,), experiment_id, forced, challenges),) = asked
    assert challenges is (alias == "challenger")
    assert on_disk.config == recipe()
    assert (on_disk.data, on_disk.folder, on_disk.server, experiment_id) == (data, folder, SERVER, "0")
    assert (best.number, best.value, best.run_id, forced) == (0, 0.5, "run-1", force)
    assert on_disk.facts == StudyFacts.read(folder)
    (run_id,) = [run_id for run_id, run in tracker.runs.items() if run.uid == "evidence"]
    assert noted == [(SERVER, run_id, "1")]
    assert promoted.evidence_run == run_id


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["epochs=3"], "--set epochs: a study that was run keeps its recipe"),
        (["promotion.min_gane=1"], "did you mean 'min_gain'"),
        (["promotion.min_gain=-1"], "--set promotion.min_gain: must be greater than or equal to 0"),
        (["promotion.min_gain"], "must be path=value"),
    ],
)
def test_a_policy_that_is_set_wrongly_is_a_wrong_call(home: Home, settings: list[str], words: str) -> None:
    study(home)

    with pytest.raises(ConfigError) as caught:
        verbs.promote_study("tiny", settings=settings)

    assert words in str(caught.value)


def test_a_metric_that_the_data_has_no_score_for_is_told_before_anything_is_judged(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(home)
    data = prepared(home.data)
    monkeypatch.setattr(StudyFacts, "prepared", lambda facts: data)

    with pytest.raises(ConfigError, match="a multiclass model is judged by test_accuracy, test_loss, got 'test_r2'"):
        verbs.promote_study("tiny", settings=["promotion.metric=test_r2"])


def test_the_policy_may_be_another_for_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, data = study(home), prepared(home.data)
    asked: list[StudyOnDisk] = []

    def promote_with(judge: Judge, on_disk: StudyOnDisk, *rest: Any, **how: Any) -> Promoted:
        asked.append(on_disk)
        raise NothingToPromote("that is enough")

    monkeypatch.setattr(verbs, "promote_with", promote_with)
    monkeypatch.setattr(verbs, "make_tracker", lambda server: MemoryTracker())
    monkeypatch.setattr(StudyFacts, "prepared", lambda facts: data)

    with pytest.raises(NothingToPromote):
        verbs.promote_study("tiny", settings=["promotion.confidence=null", "promotion.min_gain=0.25"])

    policy = asked[0].config.promotion
    assert (policy.confidence, policy.min_gain) == (None, 0.25)
    assert asked[0].config.model_copy(update={"promotion": recipe().promotion}) == recipe()
    assert StudyFacts.read(folder).recipe() == recipe()


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


def test_what_is_told_of_a_model_is_asked_of_the_registry_on_the_tracking_server(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, asked = FolderRegistry(tmp_path / "registry"), []

    def connect(uri: str) -> FolderRegistry:
        asked.append(uri)
        return registry

    monkeypatch.setattr(verbs, "ModelRegistry", connect)
    (tmp_path / "package").mkdir()
    for _ in range(2):
        registry.register("tiny", tmp_path / "package", experiment_id="0", run_id=None, tags={})
    registry.aliases |= {"champion": "2", "previous": "1"}

    assert verbs.roll_back("tiny", None, "why") == "Version 1 of 'tiny' is the champion again; version 2 was it before."
    assert verbs.model_history("tiny").to_json()["champion"] == "1"
    assert asked == [SERVER, SERVER]
