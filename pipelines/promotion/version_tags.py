"""What a registered version says about itself: where it comes from, how it did, and why it was decided so."""

from __future__ import annotations

from typing import Any

from pipelines.promotion.outcome import JUDGED_BY, Examined
from pipelines.promotion.policy import Decision
from pipelines.promotion.record import experiment_of
from pipelines.promotion.reigns import EVIDENCE_TAG, EVIDENCE_UID_TAG, now
from pipelines.recipe.config import SweepConfig
from pipelines.records import TrialHistory

DIGEST_TAG = "regatta.checkpoint_sha256"


def source_of(config: SweepConfig, trial: TrialHistory, digest: str) -> dict[str, Any]:
    """Where a candidate comes from: the trial of a study, and the digests of its checkpoint and of the user's code."""
    return {
        "study": config.study,
        "trial": trial.number,
        "attempt": trial.attempt,
        "epoch": trial.best_epoch,
        "run_id": trial.run_id,
        "checkpoint_sha256": digest,
        "objective": config.objective.metric,
        "value": trial.value,
        **({"user_code_sha256": trial.code_sha256} if trial.code_sha256 else {}),
    }


def description_of(config: SweepConfig, chosen: Examined, metric: str) -> str:
    """What a version is, for who finds it in MLflow's page; true for ever, whoever is the champion by then."""
    trial, objective = chosen.candidate.trial, config.objective.metric
    value = "" if trial.value is None else f", {objective} {trial.value:.4f} at epoch {trial.best_epoch} (from 0)"
    again = f" Train it again with `regatta train --run {trial.run_id}`." if trial.run_id else ""
    return (
        f"Trial {trial.number} of study '{config.study}'{value}; {metric.replace('_', ' ')} "
        f"{chosen.measured.scores.values[metric]:.4f} on the sealed test part.{again}"
    )


def description_of_all(study: str) -> str:
    """What a registered model is."""
    return (
        f"Models of Regatta's study '{study}', each among the best trials of a sweep. The alias `champion` names the "
        f"one that is served; `regatta history {study}` tells who was it when and why. The evidence is in the "
        f"experiment '{experiment_of(study)}'."
    )


def tags_of(
    config: SweepConfig, chosen: Examined, decision: Decision, *, metric: str, evidence: str, evidence_run: str | None
) -> dict[str, str]:
    """The tags of a candidate's version.

    Args:
        config: The study's recipe.
        chosen: The candidate.
        decision: What was decided about it.
        metric: What it was compared by.
        evidence: What names the run with the evidence in the journal.
        evidence_run: The server's id of that run, where it has one by now.
    """
    source = source_of(config, chosen.candidate.trial, chosen.digest)
    comparison = chosen.comparison
    return {
        **{f"regatta.{key}": str(value) for key, value in source.items()},
        **{f"regatta.{key}": repr(value) for key, value in chosen.measured.scores.to_json().items()},
        "regatta.decision": decision.reason,
        **chosen.measured.form.tags(),
        "regatta.promoted": str(decision.crowned).lower(),
        "regatta.forced": str(decision.forced).lower(),
        "regatta.rules": decision.rules_json(),
        "regatta.judged_at": now(),
        JUDGED_BY: metric,
        EVIDENCE_UID_TAG: evidence,
        **({EVIDENCE_TAG: evidence_run} if evidence_run else {}),
        **({"regatta.gain": f"{comparison.gain!r} [{comparison.low!r}, {comparison.high!r}]"} if comparison else {}),
    }
