"""Who the candidates of a study are, and what they were trained with: on a study whose files are on this disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import promote
from pipelines.cli import app, run
from pipelines.errors import NothingToPromote, TrackingError
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import StudyFolder
from pipelines.promote import StudyOnDisk, candidates_of, note_evidence, promote_with
from pipelines.promotion.outcome import Promoted
from pipelines.promotion.policy import Decision
from pipelines.records import StudyHistory, TrialSpec
from pipelines.tracking.entries import CheckpointKept, Logged, RunBegun, RunEnded
from pipelines.tracking.journal import Journal
from pipelines.tracking.memory import MemoryTracker
from tests.pipelines.promotion.bench import Bench
from tests.pipelines.scripted import ScriptedExecutor, Talk, by_trial, prepared, raises, recipe, trains

VALUES = {0: 0.5, 1: 0.3, 2: 0.4}


class Site:
    """A study of three trials, of which trial 1 is the best."""

    def __init__(self, root: Path, **policy: Any) -> None:
        self.bench = Bench(root)
        self.config = recipe(promotion={"metric": "test_accuracy", **policy})
        self.folder = StudyFolder(root / "study")
        self.facts = StudyFacts.begin(self.config, "memory:")
        self.journal = self.bench.journal
        self.executor = ScriptedExecutor(self.train)
        self.made = 0
        self.by_rate: dict[float, float] = {}
        for number, value in VALUES.items():
            uid = f"{self.facts.uid}-{number:05d}"
            rate = (number + 1) / 1000
            config = self.config.training() | {"optimizer": {"name": "adam", "learning_rate": rate}}
            tags = {
                "regatta.trial": str(number), "regatta.state": "COMPLETE", "regatta.sampled": "{}",
                "regatta.config": json.dumps(config),
            }  # fmt: skip
            path = self.folder.root / f"trial-{number}.keras"
            path.write_text(str(0.9 + number / 100))
            self.journal.append(RunBegun(uid, "tiny", f"trial-{number}", 1, self.facts.uid, tags))
            self.journal.append(Logged(uid, 2, 0, {"val_loss": value, "best.val_loss": value, "best.epoch": 0.0}))
            self.journal.append(CheckpointKept(uid, 2, path.name, "checkpoint", 0, str(number) * 64, {}))
            self.journal.append(RunEnded(uid, 3, "FINISHED"))

    def train(self, spec: TrialSpec) -> Talk:
        return trains(spec, [self.by_rate.get(round(spec.config["optimizer"]["learning_rate"], 6), 0.5)])

    def history(self) -> StudyHistory:
        return gather(
            self.folder, self.config, lambda uid: f"run of {uid}", importances={}, champion=None, links={}, seconds=None
        )

    def promote(self, monkeypatch: pytest.MonkeyPatch, *, force: bool = False) -> Promoted:
        monkeypatch.setattr(promote, "ModelRegistry", lambda uri: self.bench.registry)
        on_disk = StudyOnDisk(
            self.config,
            self.facts,
            prepared(self.bench.root),
            None,
            self.folder,
            self.journal,
            "memory:",
            lambda uid: None,
        )
        judge: Any = type("Judge", (), {"ask": staticmethod(self.bench.judge)})

        def trainer() -> ScriptedExecutor:
            self.made += 1
            return self.executor

        best = candidates_of(self.history(), self.config)
        return promote_with(judge, on_disk, best, "1", trainer=trainer, force=force)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.journal.close()


def test_the_best_by_validation_is_promoted_with_its_own_checkpoint(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted = site.promote(monkeypatch)

    assert promoted.trial.number == 1
    assert promoted.scores.values["test_accuracy"] == 0.91
    assert site.bench.registry.kept[0].run_id == f"run of {site.facts.uid}-00001"
    assert site.made == 0


@pytest.mark.parametrize(("top_k", "numbers"), [(1, [1]), (2, [1, 2]), (9, [1, 2, 0])])
def test_there_are_as_many_candidates_as_the_recipe_wants_and_the_study_has(
    tmp_path: Path, top_k: int, numbers: list[int]
) -> None:
    site = Site(tmp_path, top_k=top_k)

    assert [trial.number for trial in candidates_of(site.history(), site.config)] == numbers
    site.journal.close()


def test_candidates_that_are_trained_again_are_ranked_by_what_comes_of_it_and_the_record_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, top_k=2, seeds=3)
    site.by_rate = {0.002: 0.45, 0.003: 0.35}  # trial 1 was lucky

    promoted = site.promote(monkeypatch)

    assert promoted.trial.number == 2
    assert promoted.scores.values["test_accuracy"] == 0.92
    assert len(site.executor.assigned) == 6
    assert site.promote(monkeypatch).decision.reason == "it is the champion already"
    assert site.made == 1  # nobody is trained again twice
    (told,) = (site.folder.root / "promotions").glob("*/evidence.json")
    repeated = {each["trial"]: each["mean"] for each in json.loads(told.read_text())["repetitions"]}
    assert repeated == {1: pytest.approx(0.45), 2: pytest.approx(0.35)}
    site.journal.close()


def test_a_candidate_of_which_a_repetition_failed_is_trained_again_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, seeds=2)
    site.executor = ScriptedExecutor(by_trial({0: raises}))
    site.promote(monkeypatch)
    site.executor = ScriptedExecutor(site.train)
    site.promote(monkeypatch)
    site.promote(monkeypatch)

    assert site.made == 2
    site.journal.close()


def test_a_best_trial_without_a_checkpoint_in_the_journal_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.journal.close()
    lines = [line for line in site.folder.journal.read_text().splitlines() if '"checkpoint' not in line.split(",")[0]]
    site.folder.journal.write_text("\n".join(lines) + "\n")
    site.bench.journal = site.journal = Journal(site.folder.journal)

    with pytest.raises(NothingToPromote, match="Trial 1 has no checkpoint in the journal"):
        site.promote(monkeypatch)
    site.journal.close()


@pytest.mark.parametrize(
    ("evidence", "known", "run_id", "tagged"),
    [
        (None, None, "run-9", None),
        ("uid", "run-1", "run-9", None),  # the version says so already
        ("uid", None, "run-9", "run-9"),
        ("uid", None, None, None),  # the server has not taken it yet
    ],
)
def test_the_run_of_the_evidence_is_noted_once_it_is_known(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    evidence: str | None,
    known: str | None,
    run_id: str | None,
    tagged: str | None,
) -> None:
    promoted = site.promote(monkeypatch)
    told = Promoted(
        Decision(True, "why"),
        promoted.version,
        promoted.scores,
        None,
        promoted.trial,
        evidence=evidence,
        evidence_run=known,
    )

    noted = note_evidence(told, "http://mlflow:5000", lambda uid: run_id, {"tiny promotions": "7"}.get)

    assert noted.evidence_run == (known or tagged)
    address = f"http://mlflow:5000/#/experiments/7/runs/{noted.evidence_run}?workflowType=machine_learning"
    assert noted.evidence_address == (address if noted.evidence_run else None)
    assert site.bench.tags("1").get("regatta.evidence_run") == tagged


@pytest.mark.parametrize(
    ("accuracy", "flags", "code", "words"),
    [
        (0.95, [], 0, "tiny version 2 is the champion: test accuracy 0.9500"),
        (0.89, [], 4, "promotion.min_gain asks for any gain at all: short by 0.0100"),
        (0.89, ["--force"], 0, "forced, against the policy"),
        (0.89, ["--as", "challenger"], 0, "tiny version 2 is the challenger: test accuracy 0.8900"),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_the_verb_ends_with_4_where_a_rule_keeps_the_champion_and_tells_everything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    accuracy: float,
    flags: list[str],
    code: int,
    words: str,
    as_json: bool,
) -> None:
    bench = Bench(tmp_path)
    bench.promote(bench.candidate(0.9))

    def promote_study(name: str, *, force: bool, settings: list[str], alias: str) -> Promoted:
        assert (name, settings) == ("tiny", ["promotion.confidence=0.9"])
        return bench.promote(bench.candidate(accuracy, 1), force=force, challenges=alias == "challenger")

    monkeypatch.setattr("pipelines.verbs.promote_study", promote_study)
    monkeypatch.setattr(
        "sys.argv",
        ["regatta", "promote", "tiny", "--set", "promotion.confidence=0.9", *flags, *(["--json"] if as_json else [])],
    )

    assert run(app) == code

    out, err = capsys.readouterr()
    assert words in out or as_json
    assert err == ""
    if as_json:
        told = json.loads(out)
        alias = "challenger" if "--as" in flags else "champion" if code == 0 else None
        assert (told["promoted"], told["forced"]) == (alias == "champion", "--force" in flags)
        assert told["registered"] == {"name": "tiny", "version": "2", "alias": alias}
        assert told["comparison"]["gain"] == pytest.approx(accuracy - 0.9)
        assert {rule["rule"]: rule["held"] for rule in told["rules"]}["min_gain"] is (accuracy > 0.9)
    bench.journal.close()


def far_checkpoint(site: Site, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has the best trial's checkpoint be with the tracker alone; returns where its file would be."""
    monkeypatch.setattr(promote, "make_tracker", lambda uri: tracker)
    path, uid = site.folder.root / "trial-1.keras", f"{site.facts.uid}-00001"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    kept = CheckpointKept(uid, 2, path.name, "checkpoint", 0, digest, {}, True)
    site.journal.append(kept)
    run_id = tracker.begin(RunBegun(uid, "tiny", "trial-1", 1), tracker.experiment("tiny"), None, suspect=True)
    tracker.keep_checkpoint(run_id, path, kept, suspect=False)
    path.unlink()
    return path


def test_a_checkpoint_that_another_machine_made_is_brought_from_the_server(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = far_checkpoint(site, MemoryTracker(), monkeypatch)

    promoted = site.promote(monkeypatch)

    assert promoted.trial.number == 1
    assert promoted.scores.values["test_accuracy"] == 0.91
    assert path.is_file()


def test_one_that_cannot_be_had_is_the_servers_trouble_and_said_in_a_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MemoryTracker()
    far_checkpoint(site, tracker, monkeypatch)
    tracker.models.clear()

    with pytest.raises(TrackingError, match=r"The checkpoint of trial 1 is on memory: alone, and cannot be had"):
        site.promote(monkeypatch)
