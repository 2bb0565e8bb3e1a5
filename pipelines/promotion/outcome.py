"""What goes into a promotion, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.packaging.forms import Form
from pipelines.packaging.scoring import Scores
from pipelines.promotion.comparison import Comparison
from pipelines.promotion.policy import Decision, Measured
from pipelines.records import TrialHistory
from pipelines.tracking.models import CHALLENGER, CHAMPION, Version

JUDGED_BY = "regatta.judged_by"
"""On a version, the score that it was compared by."""


@dataclass(frozen=True)
class Candidate:
    """The best epoch of a trial, with its checkpoint on this disk.

    Attributes:
        trial: The trial.
        checkpoint: Of that epoch.
        config: What it trained with.
        code: Beginnings of the digests of the user's own code that it ran, by module; see `pipelines.own.digest`.
    """

    trial: TrialHistory
    checkpoint: Path
    config: Mapping[str, Any]
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """A candidate, with what the judge and the rules say of it.

    Attributes:
        candidate: It.
        digest: Of its checkpoint.
        package: Folder of its package.
        outputs: File with what it, and the champion, say of each sample.
        measured: What was measured of it.
        champion_scores: Of the champion, or None where there is none.
        comparison: With the champion, or None where there is none.
        decision: What the rules say.
    """

    candidate: Candidate
    digest: str
    package: Path
    outputs: Path
    measured: Measured
    champion_scores: Scores | None
    comparison: Comparison | None
    decision: Decision


@dataclass(frozen=True)
class Promoted:
    """What came of a promotion: the registered version, whether or not the alias moved to it.

    Attributes:
        metric: What the two were compared by; None for the score that people look at first.
        comparison: With the champion; None where there was none, or nothing was judged.
        evidence: What names the run with the evidence in the journal; None where nothing was judged.
        evidence_run: The server's id of that run, where it had one by then.
        evidence_address: Where people find it, where that is known.
        form: In which form it is served, and why; None where nothing was judged.
        met: Version of the champion that it met, or of the last one there was; None where there was none.
    """

    decision: Decision
    version: Version
    scores: Scores
    champion_scores: Scores | None
    trial: TrialHistory
    metric: str | None = None
    comparison: Comparison | None = None
    evidence: str | None = None
    evidence_run: str | None = None
    evidence_address: str | None = None
    form: Form | None = None
    met: str | None = None

    @property
    def alias(self) -> str | None:
        """The alias that the version has now."""
        if not self.decision.promoted:
            return None
        return CHALLENGER if self.decision.challenges else CHAMPION

    def registered(self) -> dict[str, str | None]:
        """Name, version and alias, for the JSON summary."""
        return {"name": self.version.name, "version": self.version.version, "alias": self.alias}

    def sentence(self) -> str:
        """For a person."""
        version, judged = self.version, _in_words(self.scores, self.metric)
        served = "" if self.form is None or self.form.engine == "onnx" else f"; it is {self.form.sentence()}"
        back = ""
        if self.met is not None and self.decision.vacant and not self.decision.promoted:
            back = f"; version {self.met} gets its place back with: regatta rollback {version.name} --to {self.met}"
        return (
            f"{version.name} version {version.version} {self.decision.outcome}: {judged} ({self.decision.reason})"
            f"{served}{back}"
        )

    def as_champion(self) -> dict[str, Any] | None:
        """What a report says of the champion; None where this is not it."""
        return {**self.registered(), **self.scores.to_json()} if self.decision.crowned else None

    def to_json(self) -> dict[str, Any]:
        """What `promote --json` says."""
        return {
            "registered": self.registered(),
            "promoted": self.decision.crowned,
            "forced": self.decision.forced,
            "reason": self.decision.reason,
            "met": self.met,
            "trial": self.trial.number,
            "engine": self.form.engine if self.form is not None else None,
            "engine_reason": self.form.reason if self.form is not None and self.form.reason else None,
            "scores": self.scores.to_json(),
            "rules": [ruling.to_json() for ruling in self.decision.rulings],
            "comparison": self.comparison.to_json() if self.comparison is not None else None,
            "evidence_run": self.evidence_run,
            "evidence_address": self.evidence_address,
        }


def _in_words(scores: Scores, metric: str | None) -> str:
    """A score as people say it: `test accuracy 0.9778`."""
    name = metric or scores.headline
    return f"{name.replace('_', ' ')} {scores.values[name]:.4f}"
