"""Who becomes the champion: the policy as tables, the promoter on a registry and a judge that are plain Python."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.checkpoints import sha256_of
from pipelines.config import Promotion
from pipelines.errors import NothingToPromote, TrackingError
from pipelines.executors.base import Executor, Handler, Loss
from pipelines.facts import StudyFacts
from pipelines.home import StudyFolder
from pipelines.judging import Judged, JudgeRequest
from pipelines.package import Scores, damage
from pipelines.promote import Candidate, Judge, Promoted, Promoter, best_trial, choose, promote_with
from pipelines.records import TrialHistory, TrialState
from pipelines.tracking.models import ModelRegistry
from tests.pipelines.registry import FolderRegistry
from tests.pipelines.scripted import prepared, recipe

ACCURACY, LOSS = Promotion(), Promotion(metric="test_loss")


def scores(loss: float, accuracy: float) -> Scores:
    return Scores({"test_accuracy": accuracy, "test_loss": loss})


def missed(r2: float, mae: float) -> Scores:
    return Scores({"test_r2": r2, "test_mae": mae, "test_rmse": mae, "test_mse": mae})


@pytest.mark.parametrize(
    ("mine", "theirs", "policy", "promoted", "words"),
    [
        (scores(0.5, 0.9), None, ACCURACY, True, "the first champion, with test_accuracy 0.9000"),
        (scores(9.0, 0.1), None, Promotion(min_gain=0.5), True, "the first champion"),
        (scores(0.5, 0.91), scores(0.1, 0.90), ACCURACY, True, "better by 0.0100"),
        (scores(0.5, 0.90), scores(0.9, 0.90), ACCURACY, False, "any gain at all"),
        (scores(0.1, 0.89), scores(0.9, 0.90), ACCURACY, False, "a gain of -0.0100"),
        (scores(0.4, 0.10), scores(0.5, 0.90), LOSS, True, "test_loss 0.4000 against the champion's 0.5000"),
        (scores(0.5, 0.99), scores(0.5, 0.90), LOSS, False, "any gain at all"),
        (scores(0.6, 0.99), scores(0.5, 0.90), LOSS, False, "a gain of -0.1000"),
        (scores(0.5, 0.95), scores(0.5, 0.90), Promotion(min_gain=0.04), True, "better by 0.0500"),
        (scores(0.5, 0.75), scores(0.5, 0.50), Promotion(min_gain=0.25), False, "more than 0.25"),
        (scores(0.5, 0.91), scores(0.5, 0.90), Promotion(min_gain=0.04), False, "more than 0.04"),
        (scores(float("nan"), 0.99), scores(0.5, 0.90), LOSS, False, "nan"),
        (missed(0.5, 40.0), missed(0.4, 30.0), Promotion(), True, "test_r2 0.5000 against the champion's 0.4000"),
        (missed(0.5, 40.0), missed(0.4, 30.0), Promotion(metric="test_mae"), False, "a gain of -10.0000"),
    ],
)
def test_the_policy_decides_and_says_why(
    mine: Scores, theirs: Scores | None, policy: Promotion, promoted: bool, words: str
) -> None:
    decision = choose(mine, theirs, policy)

    assert decision.promoted is promoted
    assert words in decision.reason


def trial(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> TrialHistory:
    return TrialHistory(number, 1, state, {}, value, 2, {}, run_id=f"run-{number}")


@pytest.mark.parametrize(
    ("trials", "direction", "best"),
    [
        ([], "minimize", None),
        ([trial(0, 0.3), trial(1, 0.1), trial(2, 0.2)], "minimize", 1),
        ([trial(0, 0.3), trial(1, 0.1), trial(2, 0.2)], "maximize", 0),
        ([trial(2, 0.1), trial(0, 0.1), trial(1, 0.1)], "minimize", 0),
        ([trial(2, 0.1), trial(0, 0.1), trial(1, 0.1)], "maximize", 0),
        ([trial(0, 0.1, TrialState.PRUNED), trial(1, 0.5)], "minimize", 1),
        ([trial(0, 0.1, TrialState.FAILED), trial(1, 0.1, TrialState.RUNNING)], "minimize", None),
        ([trial(0, None), trial(1, 0.5)], "minimize", 1),
        ([trial(0, 0.0), trial(1, 0.5)], "minimize", 0),
        ([trial(0, -1.0), trial(1, 0.0)], "maximize", 1),
    ],
)
def test_the_best_trial_is_the_complete_one_with_the_best_value_and_the_first_of_equals(
    trials: list[TrialHistory], direction: str, best: int | None
) -> None:
    found = best_trial(trials, direction)

    assert (found and found.number) == best


# the promoter


def seal(folder: Path) -> Path:
    """Writes a manifest that names every file."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    return folder


class Bench:
    """A study with candidates of a known strength: a checkpoint's text is its test accuracy."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry = FolderRegistry(root / "registry")
        self.requests: list[JudgeRequest] = []
        self.min_gain = 0.0
        self.shape = (8, 8)
        self.labels = list("0123456789")

    def judge(self, request: JudgeRequest) -> Judged:
        self.requests.append(request)
        accuracy = float(Path(request.checkpoint).read_text())
        theirs = None
        if request.champion is not None:
            theirs = scores(0.5, float((Path(request.champion) / "model.onnx").read_text()))
        package = Path(request.package)
        package.mkdir()
        (package / "model.onnx").write_text(str(accuracy))
        contract = {
            "name": request.name,
            "task": "multiclass",
            "input": {"shape": [None, *self.shape]},
            "labels": self.labels,
            "source": dict(request.source),
        }
        (package / "contract.json").write_text(json.dumps(contract))
        seal(package)
        return Judged(scores(0.5, accuracy), theirs)

    def candidate(self, accuracy: float | str, number: int = 0) -> Candidate:
        path = self.root / f"{number}.keras"
        path.write_text(str(accuracy))
        return Candidate(trial(number, 0.25), path)

    def promote(self, candidate: Candidate) -> Promoted:
        config = recipe(promotion={"min_gain": self.min_gain})
        registry: Any = self.registry
        promoter = Promoter(config, prepared(self.root), registry, self.judge, user_folder=self.root / "mine")
        return promoter.promote(candidate, experiment_id="1")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_candidate_is_the_champion(bench: Bench) -> None:
    promoted = bench.promote(bench.candidate(0.9))

    assert promoted.registered() == {"name": "tiny", "version": "1", "alias": "champion"}
    assert promoted.as_champion() == {
        "name": "tiny", "version": "1", "alias": "champion", "test_loss": 0.5, "test_accuracy": 0.9
    }  # fmt: skip
    assert "is the champion: test accuracy 0.9000" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "1"}
    assert bench.registry.kept[0].run_id == "run-0"


def test_a_registered_version_says_where_it_comes_from_and_why_it_was_judged_so(bench: Bench) -> None:
    candidate = bench.candidate(0.9, 7)

    bench.promote(candidate)
    tags = bench.registry.kept[0].tags

    digest = hashlib.sha256(b"0.9").hexdigest()
    assert {name: tags[f"regatta.{name}"] for name in ("study", "trial", "attempt", "epoch", "run_id")} == {
        "study": "tiny", "trial": "7", "attempt": "1", "epoch": "2", "run_id": "run-7"
    }  # fmt: skip
    assert tags["regatta.checkpoint_sha256"] == digest
    assert float(tags["regatta.test_accuracy"]) == 0.9
    assert "the first champion" in tags["regatta.decision"]
    (request,) = bench.requests
    assert (request.source["checkpoint_sha256"], request.champion) == (digest, None)
    assert (request.user_folder, request.data) == (str(bench.root / "mine"), str(bench.root))


def test_a_better_candidate_takes_the_place_and_the_champion_before_stays_reachable(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    promoted = bench.promote(bench.candidate(0.95, 1))

    assert promoted.alias == "champion"
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert promoted.champion_scores == scores(0.5, 0.9)


@pytest.mark.parametrize(
    ("accuracy", "min_gain"),
    [("0.90", 0.0), ("0.8", 0.0), ("0.91", 0.05)],  # 0.90 is 0.9 in other bytes: another checkpoint, as strong
)
def test_a_candidate_that_is_not_better_enough_is_registered_and_the_champion_stays(
    bench: Bench, accuracy: str, min_gain: float
) -> None:
    bench.promote(bench.candidate("0.9"))
    bench.min_gain = min_gain

    promoted = bench.promote(bench.candidate(accuracy, 1))

    assert promoted.alias is None
    assert promoted.as_champion() is None
    assert "is registered, the champion stays" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "1"}
    assert len(bench.registry.kept) == 2


def test_a_candidate_that_is_the_champion_already_is_neither_judged_nor_registered_again(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    again = bench.promote(bench.candidate(0.9))

    assert again.decision.reason == "it is the champion already"
    assert again.registered() == {"name": "tiny", "version": "1", "alias": "champion"}
    assert again.scores == scores(0.5, 0.9)
    assert len(bench.requests) == 1
    assert len(bench.registry.kept) == 1


def test_a_candidate_that_was_refused_before_is_not_registered_twice(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.min_gain = 0.05
    bench.promote(bench.candidate(0.92, 1))

    again = bench.promote(bench.candidate(0.92, 1))

    assert again.version.version == "2"
    assert len(bench.registry.kept) == 2


def test_a_candidate_that_was_refused_before_is_promoted_under_a_milder_policy_and_says_so(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.min_gain = 0.05
    bench.promote(bench.candidate(0.92, 1))
    bench.min_gain = 0.0

    promoted = bench.promote(bench.candidate(0.92, 1))

    assert promoted.registered() == {"name": "tiny", "version": "2", "alias": "champion"}
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert len(bench.registry.kept) == 2
    assert "better by 0.0200" in bench.registry.kept[1].tags["regatta.decision"]


def test_a_checkpoint_that_is_gone_is_one_sentence(bench: Bench) -> None:
    candidate = bench.candidate(0.9)
    candidate.checkpoint.unlink()

    with pytest.raises(NothingToPromote, match=r"checkpoint of trial 0 is gone: .*0\.keras is not there"):
        bench.promote(candidate)

    assert bench.registry.kept == []


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "model.onnx").write_text("0.1"), "model.onnx is not the file that was registered"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "its manifest cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "its manifest cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 1, "files": {}}'), "names no contract.json"),
    ],
)
def test_a_damaged_champion_cannot_be_compared_with_and_keeps_its_place(bench: Bench, harm: Any, words: str) -> None:
    bench.promote(bench.candidate(0.9))
    harm(bench.registry.folder("1"))

    with pytest.raises(TrackingError, match="The champion, version 1 of 'tiny', is damaged") as caught:
        bench.promote(bench.candidate(0.95, 1))

    assert words in str(caught.value)
    assert "take its alias 'champion' away" in str(caught.value)
    assert bench.registry.aliases == {"champion": "1"}
    assert len(bench.registry.kept) == 1


def test_a_champion_for_inputs_of_another_shape_cannot_be_compared_with(bench: Bench) -> None:
    bench.shape = (28, 28)
    bench.promote(bench.candidate(0.9))

    with pytest.raises(TrackingError, match=r"takes inputs of shape \[None, 28, 28\], this study's data asks for"):
        bench.promote(bench.candidate(0.95, 1))


def test_a_candidate_that_cannot_be_judged_registers_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(request: JudgeRequest) -> Judged:
        raise NothingToPromote("the checkpoint could not be packaged")

    monkeypatch.setattr(bench, "judge", fails)

    with pytest.raises(NothingToPromote):
        bench.promote(bench.candidate(0.9))

    assert bench.registry.kept == []


def test_a_trial_without_a_checkpoint_in_its_journal_is_one_sentence(tmp_path: Path) -> None:
    config = recipe()
    folder = StudyFolder(tmp_path)
    facts = StudyFacts.begin(config, "memory:")
    line = {"kind": "begun", "uid": f"{facts.uid}-00000", "experiment": "tiny", "name": "trial-000", "time_ms": 1}
    folder.journal.write_text(json.dumps(line) + "\n")

    with pytest.raises(NothingToPromote, match="Trial 0 has no checkpoint in the journal"):
        promote_with(Judge(Scripted()), config, facts, prepared(tmp_path), None, trial(0, 0.5), folder, "memory:", "1")


# damage, alone


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": []}', '{"files": {"model.onnx": 1}}', "null"])
def test_a_manifest_that_is_none_is_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.onnx").write_text("x")
    (tmp_path / "manifest.json").write_text(text)

    assert "manifest cannot be read" in (damage(tmp_path) or "")


# the judge's process, as the promoter sees it


class Scripted(Executor):
    """One worker, whose news are written down beforehand: each `wait` delivers the next."""

    def __init__(self, *news: Any) -> None:
        self.news = list(news)
        self.assigned: list[Any] = []
        self.starts = 0
        self.handler: Handler

    def start(self, handler: Handler) -> None:
        self.starts += 1
        self.handler = handler

    def assign(self, worker: int, task: Any) -> None:
        self.assigned.append(task)

    def wait(self, timeout_s: float) -> None:
        assert self.news, "the judge waits for something that will not come"
        match self.news.pop(0):
            case "idle":
                self.handler.on_idle(0)
            case str(reason):
                self.handler.on_lost(0, Loss(reason))
            case message:
                assert self.assigned, "nothing was asked yet"
                self.handler.on_message(0, message)

    def tell(self, worker: int, answer: Any) -> None:
        raise AssertionError("a judge is told nothing while it judges")

    def end(self, worker: int, reason: str) -> None:
        raise AssertionError("nobody ends a judge")

    def log_tail(self, worker: int) -> str:
        return ""

    def close(self) -> None:
        pass


GOOD = Judged(scores(0.1, 0.9))
REQUEST: Any = "a request"


def test_the_judge_is_asked_once_it_is_warm_and_answers() -> None:
    executor = Scripted("idle", GOOD)
    judge = Judge(executor)
    judge.warm_up()
    judge.warm_up()

    assert judge.ask(REQUEST) == GOOD
    assert executor.assigned == [REQUEST]
    assert executor.starts == 1


def test_the_judge_can_be_asked_again() -> None:
    executor = Scripted("idle", GOOD, "idle", GOOD)
    judge = Judge(executor)

    assert judge.ask(REQUEST) == judge.ask(REQUEST)
    assert len(executor.assigned) == 2


def test_what_is_wrong_with_a_candidate_is_told_as_it_is() -> None:
    with pytest.raises(NothingToPromote, match=r"^the two forms disagree$"):
        Judge(Scripted("idle", Judged(error="the two forms disagree"))).ask(REQUEST)


def test_a_judge_that_dies_over_a_candidate_is_asked_once_more() -> None:
    executor = Scripted("idle", "SIGKILL", "idle", GOOD)

    assert Judge(executor).ask(REQUEST) == GOOD
    assert executor.assigned == [REQUEST, REQUEST]


def test_a_judge_that_dies_twice_over_a_candidate_is_told() -> None:
    with pytest.raises(NothingToPromote, match="judges the candidate was lost: SIGKILL"):
        Judge(Scripted("idle", "SIGSEGV", "idle", "SIGKILL")).ask(REQUEST)


def test_a_judge_that_dies_while_it_waits_is_replaced_before_it_is_asked() -> None:
    executor = Scripted("SIGKILL", "idle", GOOD)

    assert Judge(executor).ask(REQUEST) == GOOD
    assert executor.assigned == [REQUEST]


def test_a_registry_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(TrackingError, match="cannot be reached"):
        ModelRegistry(f"sqlite:///{tmp_path}/file/mlflow.db")
