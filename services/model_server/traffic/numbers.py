"""The numbers of one model version: what it was asked, and what shadow, drift and feedback say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from services.model_server.served import ServedModel
from services.model_server.traffic.drift import Drift
from services.model_server.traffic.feedback import Score, Version
from services.model_server.traffic.shadow import Shadow

MOST_GROUPS = 50
"""Groups of inputs whose drift is a metric of its own; of a wide table the rest is in the largest of all."""

_OF_SHADOW = ("rows", "agreement", "mean_difference", "champion_ms", "challenger_ms", "dropped_requests")


class Numbers:
    """What is known of the traffic of one version. Outlives the version: feedback comes late."""

    def __init__(self, model: ServedModel, span_s: float, clock: Callable[[], float]) -> None:
        """Starts without traffic; see `Window` for `span_s` and `clock`."""
        self.version: Version = (model.name, model.version)
        self.run_id = model.run_id
        self.digest = model.digest
        self.alias = model.ref.alias
        self.contract = model.contract
        # Not the model's statistics themselves: they hold the model, and these numbers outlive it.
        self.answered, self.failed = model.stats.answered, model.stats.failed
        self.score = Score(model.contract, span_s, clock)
        self.shadow: Shadow | None = None
        self.drift: Drift | None = None
        self.no_drift = "Nothing was looked at yet."
        self.profile_wanted = False
        self.written = -1
        """`activity` when it was last written to MLflow."""
        self.ended = False
        """Whether its run in MLflow was closed with that."""

    @property
    def activity(self) -> int:
        """Grows with everything that there is to tell."""
        shadow, drift = self.shadow, self.drift
        return self.answered.count + self.score.rows + (shadow.rows if shadow else 0) + (drift.rows if drift else 0)

    def report(self, shadow: bool, drift: bool, feedback: bool) -> dict[str, Any]:
        """Returns what is known, in plain types; None for what is switched off."""
        told: dict[str, Any] = {"version": self.version[1], "alias": self.alias, "run_id": self.run_id}
        told["predictions"] = self.answered.count
        told["shadow"] = None
        if shadow:
            told["shadow"] = self.shadow.report() if self.shadow else {"why_not": "No challenger was compared yet."}
        told["drift"] = None
        if drift:
            told["drift"] = self.drift.report() if self.drift else {"why_not": self.no_drift}
        told["feedback"] = self.score.report() if feedback else None
        return told

    def metrics(self) -> dict[str, float]:
        """Returns what is known as MLflow's metrics; what is not known yet is not there."""
        answered = self.answered
        found: dict[str, Any] = {"serving.predictions": answered.count, "serving.failed": self.failed.count}
        if answered.count:
            found["serving.mean_ms"] = answered.seconds / answered.count * 1e3
        if self.shadow is not None:
            told = self.shadow.report()
            found |= {f"shadow.{name}": told[name] for name in _OF_SHADOW}
        if self.drift is not None:
            found |= dict(_drift_metrics(self.drift.report()))
        if self.score.rows:
            told = self.score.report()["window"]
            found |= {f"feedback.{name}": told.get(name) for name in ("rows", "accuracy", "mae", "rmse")}
        return {name: float(value) for name, value in found.items() if value is not None}


def _drift_metrics(report: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "drift.rows", report["rows"]
    indices = [group["psi"] for group in report["inputs"] if group["psi"] is not None]
    distances = [group["js"] for group in report["inputs"] if group["js"] is not None]
    if indices:
        yield "drift.inputs.psi", max(indices)
        yield "drift.inputs.js", max(distances)
    for group in report["inputs"][:MOST_GROUPS]:
        yield f"drift.input.{_key(group['name'])}.psi", group["psi"]
        for share in ("missing", "unknown"):
            yield f"drift.input.{_key(group['name'])}.{share}", group.get(share)
    yield "drift.answers.psi", report["answers"]["psi"]
    yield "drift.answers.js", report["answers"]["js"]


def _key(name: str) -> str:
    """A column's name as MLflow takes it in the key of a metric."""
    return re.sub(r"[^\w.\- ]", "_", name, flags=re.ASCII)[:100]
