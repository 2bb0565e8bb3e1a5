"""Who becomes the champion: the promoter on a registry and a judge that are plain Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError, NothingToPromote, PromotionRefused, TrackingError
from pipelines.packaging.package import damage
from pipelines.promotion.reigns import challenges_of, reigns_of
from pipelines.promotion.seeds import Repeated
from tests.pipelines.promotion.bench import UID, Bench, seal


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def test_the_first_candidate_is_the_champion(bench: Bench) -> None:
    promoted = bench.promote(bench.candidate(0.9))

    assert promoted.registered() == {"name": "tiny", "version": "1", "alias": "champion"}
    champion = promoted.as_champion() or {}
    assert (champion["version"], champion["alias"], champion["test_accuracy"]) == ("1", "champion", 0.9)
    assert "is the champion: test accuracy 0.9000" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "1"}
    assert bench.registry.kept[0].run_id == "run-0"


def test_a_registered_version_says_where_it_comes_from_and_why_it_was_judged_so(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9, 7))
    tags = bench.tags("1")

    digest = hashlib.sha256(b"0.9").hexdigest()
    assert {name: tags[f"regatta.{name}"] for name in ("study", "trial", "attempt", "epoch", "run_id")} == {
        "study": "tiny", "trial": "7", "attempt": "1", "epoch": "2", "run_id": "run-7"
    }  # fmt: skip
    assert tags["regatta.checkpoint_sha256"] == digest
    assert float(tags["regatta.test_accuracy"]) == 0.9
    assert "the first champion" in tags["regatta.decision"]
    assert (tags["regatta.promoted"], tags["regatta.forced"]) == ("true", "false")
    assert [each["rule"] for each in json.loads(tags["regatta.rules"])] == ["parity"]
    assert tags["regatta.evidence"] == bench.records[0].uid
    (request,) = bench.requests
    assert (request.source["checkpoint_sha256"], request.champion) == (digest, None)
    assert (request.user_folder, request.data) == (str(bench.root / "mine"), str(bench.root))


def test_a_registered_version_says_which_code_of_the_users_made_it(bench: Bench) -> None:
    plain, own = bench.candidate(0.9, 7), bench.candidate(0.95, 8)
    own = replace(own, trial=replace(own.trial, code_sha256="c" * 64))
    bench.promote(plain)
    bench.promote(own)

    assert "regatta.user_code_sha256" not in bench.tags("1")
    assert bench.tags("2")["regatta.user_code_sha256"] == "c" * 64
    assert [request.source.get("user_code_sha256") for request in bench.requests] == [None, "c" * 64]


def test_a_registered_version_has_a_description_that_stays_true_and_says_how_to_make_it_again(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9, 7))
    bench.registry.descriptions[""] = "ours"
    bench.promote(bench.candidate(0.8, 8))

    assert bench.registry.descriptions["1"] == (
        "Trial 7 of study 'tiny', val_loss 0.2500 at epoch 2 (from 0); test accuracy 0.9000 on the sealed test part. "
        "Train it again with `regatta train --run run-7`."
    )
    assert bench.registry.descriptions["2"].startswith("Trial 8 of study 'tiny'")
    assert bench.registry.descriptions[""] == "ours"


def test_a_better_candidate_takes_the_place_and_the_champion_before_stays_reachable(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    promoted = bench.promote(bench.candidate(0.95, 1))

    assert promoted.alias == "champion"
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert promoted.champion_scores is not None
    assert promoted.champion_scores.values["test_accuracy"] == 0.9
    assert promoted.comparison is not None
    assert (promoted.comparison.only_mine, promoted.comparison.only_theirs) == (50, 0)
    assert 0 < promoted.comparison.low < 0.05 < promoted.comparison.high


@pytest.mark.parametrize(
    ("accuracy", "policy", "words"),
    [
        ("0.90", {}, "any gain at all, and there is none"),  # 0.9 in other bytes: another checkpoint, as strong
        ("0.90", {}, "the two say the same of all 1,000 samples"),
        ("0.90", {"confidence": None, "metric": "test_loss"}, "any gain at all, and there is none"),
        ("0.8", {}, "a gain of -0.1000"),
        ("0.91", {"min_gain": 0.05}, "promotion.min_gain asks for more than 0.05: short by 0.0400"),
        ("0.902", {}, "promotion.confidence"),
        ("0.95", {"max_class_drop": 0.0, "max_latency_ms": 0.01}, "max_latency_ms allows 0.01 ms"),
        ("0.95", {"max_bytes": 100}, "max_bytes allows 100 bytes"),
    ],
)
def test_a_candidate_that_breaks_a_rule_is_registered_and_the_champion_stays(
    bench: Bench, accuracy: str, policy: dict[str, Any], words: str
) -> None:
    bench.promote(bench.candidate("0.9"))
    bench.policy |= policy

    promoted = bench.promote(bench.candidate(accuracy, 1))

    assert promoted.alias is None
    assert promoted.as_champion() is None
    assert "is registered, the champion stays" in promoted.sentence()
    assert words in promoted.sentence()
    assert bench.registry.aliases == {"champion": "1"}
    assert len(bench.registry.kept) == 2
    assert bench.tags("2")["regatta.promoted"] == "false"
    assert len(reigns_of(bench.registry.model("tiny"))) == 1


def test_without_confidence_any_gain_is_enough(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.policy["confidence"] = None

    assert bench.promote(bench.candidate(0.901, 1)).alias == "champion"


@pytest.mark.parametrize("force", [False, True])
def test_each_is_judged_with_what_it_trained_with_and_with_other_code_by_force_alone(bench: Bench, force: bool) -> None:
    bench.promote(bench.candidate(0.9, 3), force=force)

    (request,) = bench.requests
    assert (request.config, request.code, request.any_code) == ({"seed": 3}, {"own": "3"}, force)


def test_a_version_whose_layers_have_other_code_than_it_trained_with_says_so(bench: Bench) -> None:
    bench.changed = ("gates", "helpers")

    promoted = bench.promote(bench.candidate(0.9), force=True)

    told = "its layers' code is not what it trained with (gates, helpers)"
    assert told in promoted.sentence()
    assert told in bench.tags("1")["regatta.decision"]


def test_force_makes_it_the_champion_all_the_same_and_everything_says_so(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    promoted = bench.promote(bench.candidate(0.8, 1), force=True)

    assert (promoted.alias, promoted.decision.forced) == ("champion", True)
    assert "forced, against the policy" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert bench.tags("2")["regatta.forced"] == "true"
    assert [reign.action for reign in reigns_of(bench.registry.model("tiny"))] == ["promoted", "forced"]
    assert bench.runs()[-1].tags["regatta.forced"] == "true"


def test_force_where_it_is_not_needed_is_not_recorded_as_such(bench: Bench) -> None:
    promoted = bench.promote(bench.candidate(0.9), force=True)

    assert not promoted.decision.forced
    assert bench.tags("1")["regatta.forced"] == "false"


def test_a_candidate_that_is_the_champion_already_is_neither_judged_nor_registered_again(bench: Bench) -> None:
    first = bench.promote(bench.candidate(0.9))

    again = bench.promote(bench.candidate(0.9))

    assert again.decision.reason == "it is the champion already"
    assert again.registered() == {"name": "tiny", "version": "1", "alias": "champion"}
    assert again.scores == first.scores
    assert len(bench.requests) == 1
    assert len(bench.registry.kept) == 1
    assert len(bench.runs()) == 1


def test_the_champions_own_model_from_another_checkpoint_is_not_registered_again(bench: Bench) -> None:
    bench.promote(bench.candidate("0.9"))
    again = bench.candidate("0.9", 1)
    again.checkpoint.write_text("0.9 ")  # other bytes around the same weights
    judge = bench.judge

    def same_graph(request: Any) -> Any:
        judged = judge(request)
        package = Path(request.package)
        (package / "model.onnx").write_text("0.9")
        seal(package)
        return judged

    bench.judge = same_graph  # type: ignore[method-assign]

    promoted = bench.promote(again)

    assert promoted.registered() == {"name": "tiny", "version": "1", "alias": "champion"}
    assert promoted.decision.reason == "it is the very model that is the champion"
    assert len(bench.registry.kept) == 1
    assert len(reigns_of(bench.registry.model("tiny"))) == 1
    assert bench.tags("1")["regatta.evidence"] == bench.records[0].uid
    run = bench.runs()[-1]
    assert (run.status, run.tags["mlflow.runName"]) == ("FINISHED", "tiny: trial 1 is version 1 again")
    assert "and the candidate the same model" in run.tags["mlflow.note.content"]


def test_the_champions_own_model_from_another_checkpoint_gives_it_its_alias_back(bench: Bench) -> None:
    bench.promote(bench.candidate("0.9"))
    del bench.registry.aliases["champion"]
    again = bench.candidate("0.9", 1)
    again.checkpoint.write_text("0.9\n")
    judge = bench.judge

    def same_graph(request: Any) -> Any:
        judged = judge(request)
        (Path(request.package) / "model.onnx").write_text("0.9")
        return judged

    bench.judge = same_graph  # type: ignore[method-assign]

    assert bench.promote(again).registered() == {"name": "tiny", "version": "1", "alias": "champion"}
    assert bench.registry.aliases == {"champion": "1"}


def test_a_candidate_that_was_refused_before_is_not_registered_twice(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.policy["min_gain"] = 0.05
    bench.promote(bench.candidate(0.92, 1))

    again = bench.promote(bench.candidate(0.92, 1))

    assert again.version.version == "2"
    assert len(bench.registry.kept) == 2


def test_a_candidate_that_was_refused_before_is_promoted_under_a_milder_policy_and_says_so(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.policy["min_gain"] = 0.05
    bench.promote(bench.candidate(0.92, 1))
    bench.policy["min_gain"] = 0.0

    promoted = bench.promote(bench.candidate(0.92, 1))

    assert promoted.registered() == {"name": "tiny", "version": "2", "alias": "champion"}
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert len(bench.registry.kept) == 2
    assert "better by 0.0200" in bench.tags("2")["regatta.decision"]


def test_a_checkpoint_that_is_gone_is_one_sentence(bench: Bench) -> None:
    candidate = bench.candidate(0.9)
    candidate.checkpoint.unlink()

    with pytest.raises(NothingToPromote, match=r"checkpoint of trial 0 is gone: .*0\.9\.keras is not there"):
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
    assert "regatta rollback tiny --to VERSION" in str(caught.value)
    assert "regatta promote tiny --force" in str(caught.value)
    assert bench.registry.aliases == {"champion": "1"}
    assert len(bench.registry.kept) == 1
    assert bench.runs()[-1].status == "FAILED"


def test_a_champion_for_inputs_of_another_shape_cannot_be_compared_with(bench: Bench) -> None:
    bench.shape = (28, 28)
    bench.promote(bench.candidate(0.9))

    with pytest.raises(TrackingError, match=r"takes inputs of shape \[None, 28, 28\], this study's data asks for"):
        bench.promote(bench.candidate(0.95, 1))


# an alias that somebody has taken away


def without_alias(bench: Bench) -> None:
    """A champion, version 2, whose alias somebody has deleted in MLflow."""
    bench.promote(bench.candidate(0.8))
    bench.promote(bench.candidate(0.9, 1))
    del bench.registry.aliases["champion"]


def test_where_the_alias_is_gone_a_worse_candidate_meets_the_last_champion_and_is_refused(bench: Bench) -> None:
    without_alias(bench)

    promoted = bench.promote(bench.candidate(0.85, 2))

    assert (promoted.alias, promoted.met) == (None, "2")
    assert "test_accuracy 0.8500 against version 2's 0.9000" in promoted.decision.reason
    assert (
        "no version had the alias 'champion' any more, so it met the last champion that is left"
        in promoted.decision.reason
    )
    assert "is registered, and there is no champion" in promoted.sentence()
    assert promoted.sentence().endswith("version 2 gets its place back with: regatta rollback tiny --to 2")
    assert bench.registry.aliases == {"previous": "1"}
    assert bench.runs()[-1].tags["regatta.champion_version"] == "2"


def test_where_the_alias_is_gone_a_better_candidate_takes_the_place_of_the_last_champion(bench: Bench) -> None:
    without_alias(bench)

    promoted = bench.promote(bench.candidate(0.95, 2))

    assert promoted.alias == "champion"
    assert bench.registry.aliases == {"champion": "3", "previous": "2"}
    told = reigns_of(bench.registry.model("tiny"))
    assert [(reign.action, reign.version, reign.before) for reign in told] == [
        ("promoted", "1", None), ("promoted", "2", "1"), ("gone", "2", None), ("promoted", "3", "2")
    ]  # fmt: skip


def test_where_the_alias_is_gone_the_last_champion_gets_it_back_without_being_judged_again(bench: Bench) -> None:
    without_alias(bench)

    promoted = bench.promote(bench.candidate(0.9, 1))

    assert promoted.registered() == {"name": "tiny", "version": "2", "alias": "champion"}
    assert "it is the last champion that is left, and has the alias 'champion' back" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert len(bench.requests) == 2
    assert [reign.action for reign in reigns_of(bench.registry.model("tiny"))][-2:] == ["gone", "promoted"]


def test_where_the_alias_is_gone_and_force_is_used_the_last_champion_is_the_one_before(bench: Bench) -> None:
    without_alias(bench)

    promoted = bench.promote(bench.candidate(0.85, 2), force=True)

    assert (promoted.alias, promoted.decision.forced) == ("champion", True)
    assert bench.registry.aliases == {"champion": "3", "previous": "2"}


def test_force_goes_on_without_a_comparison_where_there_can_be_none_and_is_recorded_as_such(bench: Bench) -> None:
    bench.labels = ["cat", "dog"]  # somebody has moved the alias to the package of another model
    bench.promote(bench.candidate(0.9))
    bench.labels = list("0123456789")

    with pytest.raises(
        TrackingError, match=r"The champion, version 1 of 'tiny', tells the classes \['cat', 'dog'\], thi"
    ):
        bench.promote(bench.candidate(0.95, 1))
    promoted = bench.promote(bench.candidate(0.95, 1), force=True)

    assert (promoted.alias, promoted.decision.forced, promoted.comparison) == ("champion", True, None)
    assert [ruling.rule for ruling in promoted.decision.broken] == ["min_gain"]
    assert "forced, against the policy: it met nobody, with test_accuracy 0.9500" in promoted.decision.reason
    assert "the champion, version 1, tells the classes ['cat', 'dog']" in promoted.decision.reason
    assert bench.registry.aliases == {"champion": "2", "previous": "1"}
    assert reigns_of(bench.registry.model("tiny"))[-1].action == "forced"
    assert bench.tags("2")["regatta.forced"] == "true"


def test_force_goes_on_without_a_comparison_where_the_champion_is_damaged(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    (bench.registry.folder("1") / "model.onnx").unlink()

    promoted = bench.promote(bench.candidate(0.8, 1), force=True)

    assert promoted.alias == "champion"
    assert "the champion, version 1, is damaged: model.onnx is missing" in promoted.decision.reason


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ({"sha256": "d" * 64, "split_sha256": "6" * 64}, "trained on another split of the data, so it may have seen"),
        ({"sha256": "e" * 64, "split_sha256": "5" * 64}, "trained on another version of the data"),
        ({}, ""),
    ],
)
def test_a_champion_that_may_have_seen_the_sealed_samples_is_told(
    bench: Bench, dataset: dict[str, str], words: str
) -> None:
    bench.dataset = dataset
    bench.promote(bench.candidate(0.9))

    promoted = bench.promote(bench.candidate(0.95, 1))

    assert promoted.alias == "champion"
    assert words in promoted.decision.reason
    assert ("note that" in promoted.decision.reason) is bool(words)


def test_a_candidate_that_cannot_be_judged_registers_nothing_and_its_run_says_why(bench: Bench) -> None:
    bench.unjudgeable[0] = "the checkpoint could not be packaged"

    with pytest.raises(NothingToPromote):
        bench.promote(bench.candidate(0.9))

    assert bench.registry.kept == []
    (run,) = bench.runs()
    assert (run.status, run.tags["regatta.decision"]) == ("FAILED", "the checkpoint could not be packaged")


def test_a_candidate_whose_forms_disagree_is_a_refusal_that_force_does_not_change(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(request: Any) -> Any:
        raise PromotionRefused("promotion.parity allows 0.0001: too much by 0.1")

    monkeypatch.setattr(bench, "judge", differs)

    with pytest.raises(PromotionRefused, match=r"promotion\.parity"):
        bench.promote(bench.candidate(0.9), force=True)

    assert bench.registry.kept == []
    assert bench.runs()[0].status == "FINISHED"  # that is a verdict, and no failure


# several candidates


def test_several_candidates_are_judged_once_each_and_the_best_by_validation_alone_meets_the_champion(
    bench: Bench,
) -> None:
    bench.promote(bench.candidate(0.9))
    bench.requests.clear()
    bench.policy["top_k"] = 3

    promoted = bench.promote(bench.candidate(0.89, 1), bench.candidate(0.97, 2), bench.candidate(0.96, 3))

    assert [request.source["trial"] for request in bench.requests] == [1, 2, 3]
    assert (promoted.alias, promoted.trial.number) == (None, 1)
    told = json.loads((bench.records[-1].folder / "evidence.json").read_text())
    assert told["other_candidates"]["2"]["test_accuracy"] == 0.97
    assert len(bench.registry.kept) == 2


def test_where_any_may_pass_the_first_that_does_is_promoted_with_more_confidence_asked_of_each(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.requests.clear()
    bench.policy |= {"top_k": 4, "against": "any"}

    promoted = bench.promote(
        bench.candidate(0.89, 1), bench.candidate(0.97, 2), bench.candidate(0.96, 3), bench.candidate(0.99, 4)
    )

    assert (promoted.alias, promoted.trial.number) == ("champion", 2)
    assert promoted.comparison is not None
    assert promoted.comparison.confidence == pytest.approx(0.9875)
    assert [request.source["trial"] for request in bench.requests] == [1, 2]  # the others stay sealed
    assert bench.registry.kept[-1].run_id == "run-2"


def test_where_none_passes_the_best_by_validation_is_registered(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.policy |= {"top_k": 2, "against": "any"}

    promoted = bench.promote(bench.candidate(0.88, 1), bench.candidate(0.89, 2))

    assert (promoted.alias, promoted.trial.number) == (None, 1)


def test_a_candidate_beside_the_first_that_cannot_be_judged_is_left_out_and_told(bench: Bench) -> None:
    bench.policy["top_k"] = 3
    bench.unjudgeable[1] = "it is torn"
    gone = bench.candidate(0.9, 2)
    gone.checkpoint.unlink()

    promoted = bench.promote(bench.candidate(0.9, 0), bench.candidate(0.9, 1), gone, bench.candidate(0.8, 3))

    assert promoted.trial.number == 0
    page = (bench.records[-1].folder / "report.html").read_text()
    assert "test_accuracy 0.8, test_loss" in page
    assert "it met nobody" in page
    assert "not judged: it is torn" in page
    told = json.loads((bench.records[-1].folder / "evidence.json").read_text())
    assert told["left_out"] == {"1": "it is torn", "2": "the checkpoint of trial 2 is not kept any more"}


# the challenger


def test_a_challenger_need_not_be_better_and_leaves_the_champion_and_its_history_alone(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    promoted = bench.promote(bench.candidate(0.8, 1), challenges=True)

    assert promoted.registered() == {"name": "tiny", "version": "2", "alias": "challenger"}
    assert promoted.as_champion() is None
    assert not promoted.to_json()["promoted"]
    assert "tiny version 2 is the challenger: test accuracy 0.8000 (as a challenger, which" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "1", "challenger": "2"}
    assert bench.tags("2")["regatta.promoted"] == "false"
    model = bench.registry.model("tiny")
    assert [reign.version for reign in reigns_of(model)] == ["1"]
    assert [(each.version, each.action) for each in challenges_of(model)] == [("2", "challenges")]
    run = bench.runs()[-1]
    assert run.tags["mlflow.runName"] == "tiny: trial 1 challenges as version 2"
    assert "was made the challenger on 2" in run.tags["mlflow.note.content"]


def test_a_challenger_that_turns_out_better_is_promoted_as_any(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.promote(bench.candidate(0.95, 1), challenges=True)

    promoted = bench.promote(bench.candidate(0.95, 1))

    assert promoted.registered() == {"name": "tiny", "version": "2", "alias": "champion"}
    assert bench.registry.aliases == {"champion": "2", "previous": "1", "challenger": "2"}
    assert bench.tags("2")["regatta.promoted"] == "true"


@pytest.mark.parametrize("force", [True, False])
def test_the_limits_hold_for_a_challenger_too_unless_it_is_forced(bench: Bench, force: bool) -> None:
    bench.promote(bench.candidate(0.9))
    bench.policy["max_bytes"] = 100

    promoted = bench.promote(bench.candidate(0.95, 1), challenges=True, force=force)

    assert promoted.alias == ("challenger" if force else None)
    assert ("is registered, and not the challenger" in promoted.sentence()) is not force
    assert bench.registry.aliases == {"champion": "1", **({"challenger": "2"} if force else {})}


@pytest.mark.parametrize("gone", [True, False])
def test_where_there_is_no_champion_nobody_can_challenge(bench: Bench, gone: bool) -> None:
    if gone:
        bench.promote(bench.candidate(0.9))
        bench.registry.aliases.clear()

    with pytest.raises(ConfigError, match="--as: 'tiny' has no champion to challenge; make one with: regatta promote"):
        bench.promote(bench.candidate(0.8, 1), challenges=True)

    assert bench.registry.aliases == {}


def test_the_champion_does_not_challenge_itself(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    promoted = bench.promote(bench.candidate(0.9), challenges=True)

    assert promoted.alias is None
    assert "it is the champion already, and cannot be compared with itself" in promoted.sentence()
    assert bench.registry.aliases == {"champion": "1"}


# the record


def test_a_promotion_is_a_run_of_its_own_that_nobody_takes_for_a_trial(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.promote(bench.candidate(0.95, 1))

    _, run = bench.runs()

    assert (run.number, run.parent, run.status) == (None, None, "FINISHED")
    assert run.tags["regatta.kind"] == "promotion"
    assert run.tags["regatta.study_uid"] == UID
    assert (run.tags["regatta.version"], run.tags["regatta.champion_version"]) == ("2", "1")
    assert run.curves["test_accuracy"] == {0: 0.95}
    assert run.curves["champion.test_accuracy"] == {0: 0.9}
    assert run.curves["gain"][0] == pytest.approx(0.05)
    assert {Path(path).name for path in run.files} == {
        "evidence.json", "comparison.json", "per_class.json", "report.html", "confusion_matrix.png", "calibration.png",
        "worst_mistakes.png", "outputs-00001.npz",
    }  # fmt: skip
    assert "**tiny version 2** (trial 1) was made the champion on 2" in run.tags["mlflow.note.content"]


def test_the_runs_of_promotions_are_told_apart_by_their_names(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.promote(bench.candidate(0.8, 7))
    bench.promote(bench.candidate(0.8, 7), force=True)
    bench.unjudgeable[8] = "it is torn"
    with pytest.raises(NothingToPromote):
        bench.promote(bench.candidate(0.9, 8))

    named = [(run.tags["mlflow.runName"], run.tags["regatta.verdict"]) for run in bench.runs()]

    assert named == [
        ("tiny: trial 0 promoted as version 1", "promoted as version 1"),
        ("tiny: trial 7 refused", "refused"),
        ("tiny: trial 7 forced as version 2", "forced as version 2"),
        ("tiny: trial 8 not decided", "not decided"),
    ]


def test_what_the_evidence_says_stays_true_when_another_has_the_champions_place(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.promote(bench.candidate(0.8, 1))
    bench.promote(bench.candidate(0.8, 1), force=True)

    told = [json.loads((record.folder / "evidence.json").read_text()) for record in bench.records]

    day = told[0]["at"][:10]
    assert told[0]["outcome"].startswith(f"was made the champion on {day} ")
    assert told[1]["outcome"].startswith(f"was registered on {day} ")
    assert told[1]["outcome"].endswith("; the champion stayed")
    assert told[2]["outcome"].startswith(f"was made the champion by force on {day} ")
    assert bench.tags("1")["regatta.champion_until"] == bench.tags("2")["regatta.champion_since"]


def test_the_version_names_the_run_of_its_evidence_where_the_server_has_one_by_then(bench: Bench) -> None:
    class Known(dict[str, str]):
        def get(self, uid: str, default: Any = None) -> Any:
            return f"run of {uid}"

    bench.run_ids = Known()

    promoted = bench.promote(bench.candidate(0.9))

    assert promoted.evidence_run == f"run of {promoted.evidence}"
    assert bench.tags("1")["regatta.evidence_run"] == promoted.evidence_run


def test_the_page_of_the_evidence_tells_the_rules_the_comparison_and_what_was_trained_again(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))
    bench.promote(bench.candidate(0.95, 1), repeated=[Repeated(1, (0.25, 0.27), (5, 6), ("it broke <b>",))])

    page = (bench.records[-1].folder / "report.html").read_text()

    assert "tiny version 2 was made the champion on 2" in page
    assert "The candidate alone is right on 50 samples, the champion alone on 0." in page
    assert "Trained again with other seeds" in page
    assert "it broke &lt;b&gt;" in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page


def test_what_the_champions_worst_mistakes_are_is_told_in_words(bench: Bench) -> None:
    bench.promote(bench.candidate(0.998))

    told = json.loads((bench.records[-1].folder / "evidence.json").read_text())

    assert [(row["sample"], row["truth"], row["answer"]) for row in told["worst_mistakes"]] == [
        (998, "8", "9"), (999, "9", "0")
    ]  # fmt: skip
    assert told["worst_mistakes"][0]["sure"] == pytest.approx(0.82)


# others at the same time


def test_a_champion_that_somebody_changes_meanwhile_is_not_pushed_aside_unseen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.promote(bench.candidate(0.8))
    bench.promote(bench.candidate(0.99, 1))
    bench.registry.aliases = {"champion": "1"}
    judge = bench.judge

    def meanwhile(request: Any) -> Any:
        bench.registry.aliases["champion"] = "2"
        return judge(request)

    monkeypatch.setattr(bench, "judge", meanwhile)

    with pytest.raises(TrackingError, match=r"it met version 1, and by now it is version 2\. Judge again with"):
        bench.promote(bench.candidate(0.9, 2))

    assert bench.registry.aliases["champion"] == "2"
    assert bench.tags("3")["regatta.promoted"] == "false"
    assert not bench.promote(bench.candidate(0.9, 2)).decision.promoted
    assert bench.promote(bench.candidate(0.9, 2), force=True).alias == "champion"
    assert bench.registry.aliases == {"champion": "3", "previous": "2"}


# deaths


class Died(BaseException):
    """The process was killed at this moment."""


CHANGES = ["register", "describe", "tag", "set_alias champion", "set_alias previous", "tag_model", "tag"]


@pytest.mark.parametrize("moment", range(7))
def test_a_promotion_that_dies_at_any_moment_is_mended_by_the_next(bench: Bench, moment: int) -> None:
    bench.promote(bench.candidate(0.8))
    bench.promote(bench.candidate(0.9, 1))
    changes: list[str] = []

    def dies(change: str) -> None:
        changes.append(change)
        if len(changes) == moment + 1:
            raise Died

    bench.registry.before_each = dies
    with pytest.raises(Died):
        bench.promote(bench.candidate(0.95, 2))
    assert changes == CHANGES[: moment + 1]
    assert bench.registry.aliases["champion"] in {"2", "3"}
    assert damage(bench.registry.folder(bench.registry.aliases["champion"])) is None
    bench.registry.before_each = lambda change: None

    again = bench.promote(bench.candidate(0.95, 2))

    assert again.registered() == {"name": "tiny", "version": "3", "alias": "champion"}
    assert bench.registry.aliases == {"champion": "3", "previous": "2"}
    assert len(bench.registry.kept) == 3
    told = reigns_of(bench.registry.model("tiny"))
    assert [(reign.version, reign.before) for reign in told] == [("1", None), ("2", "1"), ("3", "2")]
    assert {run.status for run in bench.runs()} <= {"FINISHED", "FAILED"}


def test_damage_is_none_where_a_package_is_whole(bench: Bench) -> None:
    bench.promote(bench.candidate(0.9))

    assert damage(bench.registry.folder("1")) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": []}', '{"files": {"model.onnx": 1}}', "null"])
def test_a_manifest_that_is_none_is_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.onnx").write_text("x")
    (tmp_path / "manifest.json").write_text(text)

    assert "manifest cannot be read" in (damage(tmp_path) or "")
