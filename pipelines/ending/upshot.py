"""What a sweep came to, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.controller.budgets import INTERRUPTED, Ending
from pipelines.promotion.outcome import Promoted
from pipelines.records import StudyHistory, TrialHistory
from pipelines.study import Counts


@dataclass(frozen=True)
class Summary:
    """What a sweep came to.

    Attributes:
        ending: What ended the sweep.
        not_promoted: Why the best trial was not even judged, or None.
        refused: Whether that is a rule of the recipe which it breaks.
        seconds: That this start of the sweep took.
        study_seconds: That all its starts took.
        problem: Why the record is not all in MLflow, or None.
        address: Of the sweep in MLflow's web page, or None where there is none.
    """

    history: StudyHistory
    server: str
    experiment_id: str | None
    parent_run_id: str | None
    counts: Counts
    best: TrialHistory | None
    promoted: Promoted | None
    not_promoted: str | None
    seconds: float
    study_seconds: float
    written: int
    delivered: int
    problem: str | None
    ending: Ending
    address: str | None
    report: Path
    refused: bool = False

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return self.ending.by == INTERRUPTED

    def to_json(self) -> dict[str, Any]:
        """The summary of `sweep --json`."""
        best, promoted, counts = self.best, self.promoted, self.counts
        return {
            "study": self.history.study,
            "experiment_id": self.experiment_id,
            "parent_run_id": self.parent_run_id,
            "trials": {"complete": counts.complete, "pruned": counts.pruned, "failed": counts.failed},
            "best": best
            and {
                "trial": best.number,
                "run_id": best.run_id,
                "epoch": best.best_epoch,
                "value": best.value,
                "params": dict(best.params),
                **({"values": dict(best.values)} if best.values else {}),
            },
            **({"front": list(self.history.front)} if self.history.front else {}),
            "registered": promoted and promoted.registered(),
            "seconds": round(self.seconds, 3),
            "journal": {"written": self.written, "delivered": self.delivered},
            "ended": {"by": self.ending.by, "text": self.ending.text},
            "problem": self.problem if self.delivered < self.written else None,
            "not_promoted": self.not_promoted,
            "address": self.address,
            "report": str(self.report),
        }
