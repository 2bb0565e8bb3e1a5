"""The rules of a promotion, and what they say of one candidate. Pure: measurements in, a decision out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.packaging.forms import IN_ONNX, Form
from pipelines.packaging.scoring import Scores
from pipelines.promotion.comparison import Comparison
from pipelines.recipe.promotion_rules import Promotion

_COMPARING = ("min_gain", "confidence", "max_class_drop")
"""Rules that compare with the champion."""


@dataclass(frozen=True)
class Measured:
    """What the judge measured of a candidate.

    Attributes:
        scores: On the sealed test part.
        bytes: Of the file that is served; None where there is none of a kind that is measured.
        latency_ms: Median of one row's answer; None where it was not measured.
        parity: Largest difference between the served form's outputs and the Keras model's.
        allowed: How large it may be.
        form: In which form it is served, and why.
    """

    scores: Scores
    bytes: int | None = None
    latency_ms: float | None = None
    parity: float | None = None
    allowed: float | None = None
    form: Form = IN_ONNX


@dataclass(frozen=True)
class Ruling:
    """What one rule says.

    Attributes:
        rule: Its name in the recipe, below `promotion`.
        held: Whether the candidate keeps it.
        text: The same for a person.
        value: What was measured.
        limit: What was asked for.
        short: By how much the candidate fails it, in the unit of the value; None where it keeps it.
    """

    rule: str
    held: bool
    text: str
    value: float | None = None
    limit: float | None = None
    short: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types; no number that JSON has no word for."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes the champion, and why.

    Attributes:
        promoted: Whether it does.
        reason: For a person: the comparison, and every rule that it fails.
        rulings: What each rule says.
        forced: Whether it does against the rules, as somebody asked for that.
        vacant: Whether nobody has the champion's place, so that none stays where the candidate is refused.
        challenges: Whether the challenger's place was at stake, and not the champion's.
    """

    promoted: bool
    reason: str
    rulings: tuple[Ruling, ...] = field(default=())
    forced: bool = False
    vacant: bool = False
    challenges: bool = False

    @property
    def crowned(self) -> bool:
        """Whether the candidate is the champion now."""
        return self.promoted and not self.challenges

    @property
    def outcome(self) -> str:
        """What became of the candidate, as a sentence without its subject."""
        if self.promoted:
            return "is the challenger" if self.challenges else "is the champion"
        if self.challenges:
            return "is registered, and not the challenger"
        return "is registered, and there is no champion" if self.vacant else "is registered, the champion stays"

    @property
    def broken(self) -> tuple[Ruling, ...]:
        """The rules that the candidate fails."""
        return tuple(ruling for ruling in self.rulings if not ruling.held)

    def rules_json(self) -> str:
        """The rulings as a tag holds them."""
        return json.dumps([ruling.to_json() for ruling in self.rulings])


def decide(
    measured: Measured,
    comparison: Comparison | None,
    policy: Promotion,
    *,
    rival: str = "the champion",
    obstacle: str = "",
) -> Decision:
    """What the rules say of a candidate.

    Args:
        measured: Of the candidate.
        comparison: With the champion, by the policy's metric; None where there is no champion yet.
        policy: The rules.
        rival: What the one that it was compared with is called.
        obstacle: Why it was compared with nobody although there is a champion.
    """
    rulings = [*(_against(comparison, policy) if comparison is not None else ()), *_limits(measured, policy)]
    if obstacle:
        text = f"promotion.min_gain asks for a gain, and none can be told: {obstacle}"
        rulings.insert(0, Ruling("min_gain", False, text, limit=policy.min_gain))
    broken = [ruling.text for ruling in rulings if not ruling.held]
    if comparison is not None and comparison.same:
        broken = [ruling.text for ruling in rulings if not ruling.held and ruling.rule != "confidence"]  # all is said
    if comparison is None:
        metric = policy.metric or measured.scores.headline
        first = "it met nobody" if obstacle else "there is no champion yet" if broken else "the first champion"
        told = f"{first}, with {metric} {measured.scores.values[metric]:.4f}"
    else:
        told = (
            f"{comparison.metric} {comparison.mine:.4f} against {rival}'s {comparison.theirs:.4f}: "
            f"{_gain_words(comparison)}"
        )
    return Decision(not broken, "; ".join([told, *broken]), tuple(rulings))


def forced(decision: Decision) -> Decision:
    """The same decision as somebody wants it who knows better; one that needs no force stays as it is."""
    if decision.promoted:
        return decision
    return replace(decision, promoted=True, forced=True, reason=f"forced, against the policy: {decision.reason}")


def challenging(decision: Decision) -> Decision:
    """The same decision where the challenger's place is at stake: what compares with the champion does not decide.

    Whether it is better is what the traffic is to show. The limits hold, as it is served.
    """
    kept = all(ruling.held for ruling in decision.rulings if ruling.rule not in _COMPARING)
    reason = f"as a challenger, which need not be better: {decision.reason}"
    return replace(decision, promoted=kept, reason=reason, challenges=True)


def _gain_words(comparison: Comparison) -> str:
    word = f"better by {comparison.gain:.4f}" if comparison.gain > 0 else f"a gain of {comparison.gain:.4f}"
    if comparison.same:
        return f"the two say the same of all {comparison.samples:,} samples"
    if comparison.gain == 0:
        word = "no better"
    if not (math.isfinite(comparison.low) and math.isfinite(comparison.high)):
        return word
    tested = "" if comparison.p is None else f", {comparison.test} {comparison.p:.3g}"
    return (
        f"{word} ({100 * comparison.confidence:.4g} % interval {comparison.low:+.4f} to {comparison.high:+.4f} over "
        f"{comparison.samples:,} samples{tested})"
    )


def _against(comparison: Comparison, policy: Promotion) -> list[Ruling]:
    """What the rules say that compare with the champion."""
    gain = comparison.gain
    wanted = f"more than {policy.min_gain:g}" if policy.min_gain else "any gain at all"
    none = "that is just what there is" if policy.min_gain and not comparison.same else "there is none"
    rulings = [
        _ruling(
            "min_gain",
            gain > policy.min_gain and not comparison.same,
            gain,
            policy.min_gain,
            0.0 if comparison.same else policy.min_gain - gain,
            lambda short: f"promotion.min_gain asks for {wanted}{_short(short, none)}",
        )
    ]
    if policy.confidence is not None:
        rulings.append(_sure(comparison, policy.min_gain, policy.level))
    if policy.max_class_drop is not None and comparison.class_drops:
        name, drop = max(comparison.class_drops.items(), key=lambda entry: entry[1])
        rulings.append(
            _ruling(
                "max_class_drop",
                drop <= policy.max_class_drop + 1e-12,
                drop,
                policy.max_class_drop,
                drop - policy.max_class_drop,
                lambda short: (
                    f"the recall of class '{name}' falls by {drop:.4f}, where promotion.max_class_drop allows "
                    f"{policy.max_class_drop:g}: too much by {short:.4f}"
                ),
            )
        )
    return rulings


def _short(short: float, at_all: str) -> str:
    """By how much something is too little, in digits that tell it; `at_all` where it is just what is too little."""
    if short == 0:
        return f", and {at_all}"
    return f": short by {short:.4f}" if not short < 5e-5 else f": short by {short:.1e}"


def _sure(comparison: Comparison, min_gain: float, level: float) -> Ruling:
    """Whether the gain is more than chance: by its interval, and for an accuracy by the exact test as well.

    The interval of an accuracy that rests on a handful of samples is too short, which the test is not.
    """
    low, p, most = comparison.low, comparison.p, 1.0 - level
    if low > min_gain and comparison.test.startswith("McNemar") and p is not None and not p <= most:
        text = (
            f"promotion.confidence asks for a {comparison.test} of at most {most:.4g}, and the two differ on too few "
            f"samples for it ({comparison.only_mine} that only the candidate has right, {comparison.only_theirs} that "
            f"only the champion has): it is {p:.3g}, too much by {p - most:.3g}"
        )
        return Ruling("confidence", False, text, p, most, p - most)
    return _ruling(
        "confidence",
        low > min_gain,
        low,
        min_gain,
        min_gain - low,
        lambda short: (
            f"promotion.confidence asks that the gain's interval begins above {min_gain:g}, and it begins at "
            f"{low:.4f}{_short(short, 'no higher')}"
        ),
    )


def _limits(measured: Measured, policy: Promotion) -> list[Ruling]:
    """What the rules say that a first champion must keep, too."""
    rulings: list[Ruling] = []
    if measured.parity is not None and measured.allowed is not None:
        parity, allowed = measured.parity, measured.allowed
        rulings.append(
            _ruling(
                "parity",
                parity <= allowed,
                parity,
                allowed,
                parity - allowed,
                lambda short: (
                    f"promotion.parity allows a difference of {allowed:.2g} between what is served and the Keras "
                    f"model, and there is one of {parity:.2g}: too much by {short:.2g}"
                ),
            )
        )
    for rule, value, limit, unit in (
        ("max_bytes", measured.bytes, policy.max_bytes, "bytes"),
        ("max_latency_ms", measured.latency_ms, policy.max_latency_ms, "ms"),
    ):
        if limit is not None:
            rulings.append(_limit(rule, value, limit, unit))
    return rulings


def _limit(rule: str, value: float | None, limit: float, unit: str) -> Ruling:
    if value is None:
        text = f"promotion.{rule} allows {limit:g} {unit}, and nothing could be measured: there is no ONNX form"
        return Ruling(rule, False, text, None, limit, None)
    measured = value
    return _ruling(
        rule,
        measured <= limit,
        measured,
        limit,
        measured - limit,
        lambda short: (
            f"promotion.{rule} allows {limit:,g} {unit}, and the candidate has {measured:,.6g}: too much by "
            f"{short:,.4g}"
        ),
    )


def _ruling(rule: str, held: bool, value: float, limit: float, short: float, broken: Callable[[float], str]) -> Ruling:
    if held:
        return Ruling(rule, True, f"promotion.{rule} holds: {value:.6g} against {limit:.6g}", value, limit)
    return Ruling(rule, False, broken(short), value, limit, short)
