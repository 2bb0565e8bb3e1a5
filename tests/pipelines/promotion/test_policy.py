"""The rules of a promotion, as tables."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pipelines.packaging.scoring import Scores
from pipelines.promotion.comparison import Comparison
from pipelines.promotion.policy import Decision, Measured, decide, forced
from pipelines.recipe.config import Promotion

ANY = Promotion(confidence=None)
SURE = Promotion()


def measured(**values: float) -> Measured:
    return Measured(Scores(values or {"test_accuracy": 0.9, "test_loss": 0.5}), 1000, 0.05, 1e-7, 1e-4)


def comparison(mine: float, theirs: float, metric: str = "test_accuracy", **more: Any) -> Comparison:
    """A comparison whose interval reaches a hundredth to both sides."""
    gain = theirs - mine if metric in ("test_loss", "test_mae") else mine - theirs
    return Comparison(
        metric,
        mine,
        theirs,
        gain,
        **{
            "low": gain - 0.01,
            "high": gain + 0.01,
            "confidence": 0.95,
            "samples": 400,
            "how": "paired bootstrap",
            **more,
        },
    )


@pytest.mark.parametrize(
    ("found", "policy", "promoted", "words"),
    [
        (comparison(0.91, 0.90), ANY, True, "test_accuracy 0.9100 against the champion's 0.9000: better by 0.0100"),
        (comparison(0.90, 0.90), ANY, False, "no better (95 % interval -0.0100 to +0.0100 over 400 samples); p"),
        (comparison(0.90, 0.90), ANY, False, "any gain at all, and there is none"),
        (comparison(0.5, 0.25), Promotion(min_gain=0.25, confidence=None), False, "5, and that is just what there is"),
        (comparison(0.5, 0.499999), Promotion(min_gain=0.001, confidence=None), False, "short by 0.0010"),
        (comparison(0.25, 0.25000001), ANY, False, "any gain at all: short by 1.0e-08"),
        (
            comparison(0.90, 0.89999999, same=True),
            SURE,
            False,
            "the two say the same of all 400 samples; promotion.min_gain asks for any gain at all, and there is none",
        ),
        (comparison(0.90, 0.89999999, same=True), ANY, False, "and there is none"),
        (comparison(0.9, 0.8, low=0.0), SURE, False, "begins above 0, and it begins at 0.0000, and no higher"),
        (comparison(0.89, 0.90), ANY, False, "a gain of -0.0100"),
        (comparison(0.4, 0.5, "test_loss"), ANY, True, "test_loss 0.4000 against the champion's 0.5000: better by 0.1"),
        (comparison(0.6, 0.5, "test_loss"), ANY, False, "short by 0.1000"),
        (comparison(40.0, 30.0, "test_mae"), ANY, False, "a gain of -10.0000"),
        (comparison(0.95, 0.90), Promotion(min_gain=0.04, confidence=None), True, "better by 0.0500"),
        (comparison(0.91, 0.90), Promotion(min_gain=0.04, confidence=None), False, "more than 0.04: short by 0.0300"),
        (comparison(float("nan"), 0.5, "test_loss"), ANY, False, "nan"),
        # with confidence
        (comparison(0.95, 0.90), SURE, True, "(95 % interval +0.0400 to +0.0600 over 400 samples)"),
        (comparison(0.905, 0.90), SURE, False, "begins above 0, and it begins at -0.0050: short by 0.0050"),
        (comparison(0.95, 0.90), Promotion(min_gain=0.045), False, "begins above 0.045, and it begins at 0.0400"),
        (comparison(0.95, 0.90, test="McNemar mid-p", p=0.01), SURE, True, "McNemar mid-p 0.01)"),
        (
            comparison(0.95, 0.90, test="McNemar mid-p", p=0.0625, only_mine=4, only_theirs=0),
            SURE,
            False,
            "at most 0.05, and the two differ on too few samples for it (4 that only the candidate has right, 0",
        ),
        (comparison(0.95, 0.90, test="McNemar mid-p", p=0.2), ANY, True, "better by"),
        (comparison(0.95, 0.90, low=float("nan"), high=float("nan")), SURE, False, "promotion.confidence"),
        # by class
        (comparison(0.95, 0.90, class_drops={"a": 0.1, "b": -0.3}), Promotion(max_class_drop=0.1), True, "better"),
        (
            comparison(0.95, 0.90, class_drops={"a": 0.1, "b": 0.15}),
            Promotion(max_class_drop=0.1),
            False,
            "the recall of class 'b' falls by 0.1500, where promotion.max_class_drop allows 0.1: too much by 0.0500",
        ),
        (comparison(0.95, 0.90, class_drops={"a": 0.9}), SURE, True, "better"),
    ],
)  # fmt: skip
def test_the_rules_decide_and_say_why_and_by_how_much(
    found: Comparison, policy: Promotion, promoted: bool, words: str
) -> None:
    decision = decide(measured(), found, policy)

    assert decision.promoted is promoted
    assert words in decision.reason
    assert bool(decision.broken) is not promoted


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Promotion(max_bytes=999), "promotion.max_bytes allows 999 bytes, and the candidate has 1,000: too much by 1"),
        (Promotion(max_latency_ms=0.04), "promotion.max_latency_ms allows 0.04 ms, and the candidate has 0.05: too"),
    ],
)
@pytest.mark.parametrize("found", [None, comparison(0.95, 0.90)])
def test_limits_hold_for_the_first_champion_too(policy: Promotion, words: str, found: Comparison | None) -> None:
    decision = decide(measured(), found, policy)

    assert not decision.promoted
    assert words in decision.reason
    assert "the first champion" not in decision.reason


@pytest.mark.parametrize("policy", [SURE, Promotion(min_gain=0.5), Promotion(max_bytes=1000, max_latency_ms=0.05)])
def test_the_first_champion_meets_nobody(policy: Promotion) -> None:
    decision = decide(measured(), None, policy)

    assert decision.promoted
    assert decision.reason == "the first champion, with test_accuracy 0.9000"


def test_what_could_not_be_measured_does_not_keep_a_limit() -> None:
    decision = decide(replace(measured(), latency_ms=None), None, Promotion(max_latency_ms=1.0))

    assert not decision.promoted
    assert "nothing could be measured" in decision.reason


def test_a_served_form_that_says_something_else_is_refused() -> None:
    decision = decide(replace(measured(), parity=0.01), None, SURE)

    assert [ruling.rule for ruling in decision.broken] == ["parity"]


def test_every_broken_rule_is_told_with_how_far_it_is_missed() -> None:
    found = comparison(0.89, 0.90, class_drops={"a": 0.3})

    decision = decide(measured(), found, Promotion(max_class_drop=0.1, max_bytes=500))

    assert {ruling.rule: ruling.short for ruling in decision.broken} == {
        "min_gain": pytest.approx(0.01),
        "confidence": pytest.approx(0.02),
        "max_class_drop": pytest.approx(0.2),
        "max_bytes": 500,
    }
    told = json.loads(decision.rules_json())
    assert [each["held"] for each in told] == [False, False, False, True, False]


def test_force_turns_a_refusal_round_and_says_so() -> None:
    refused = decide(measured(), comparison(0.89, 0.90), SURE)

    decision = forced(refused)

    assert (decision.promoted, decision.forced) == (True, True)
    assert decision.reason == f"forced, against the policy: {refused.reason}"
    assert decision.rulings == refused.rulings


def test_force_that_is_not_needed_changes_nothing() -> None:
    kept = Decision(True, "better")

    assert forced(kept) is kept


def test_several_tries_ask_for_more_confidence_each() -> None:
    assert Promotion().level == 0.95
    assert Promotion(top_k=5).level == 0.95
    assert Promotion(top_k=5, against="any").level == pytest.approx(0.99)
    assert Promotion(confidence=None).level == 0.95


@pytest.mark.parametrize(
    "wrong",
    [
        {"against": "any"}, {"confidence": 0.5}, {"confidence": 1.0}, {"top_k": 0}, {"max_bytes": 0}, {"seeds": -1},
        {"max_class_drop": 1.5}, {"parity": 0.0}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Promotion(**wrong)
