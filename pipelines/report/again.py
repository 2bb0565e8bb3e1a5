"""The command that trains a trial again."""

from __future__ import annotations

import shlex

from pipelines.records import Failure, TrialHistory

PROGRAM = "regatta"
UNDELIVERED = f"its run has not reached MLflow yet; deliver it with: {PROGRAM} sync"
INVALID = "what was sampled makes no valid config, so there is nothing to train"


def command_again(trial: TrialHistory) -> str | None:
    """`regatta train --run RUN_ID`, or None where nothing can train it again; `why_not` says why."""
    if why_not(trial):
        return None
    return shlex.join([PROGRAM, "train", "--run", str(trial.run_id)])


def why_not(trial: TrialHistory) -> str:
    """Why there is no such command; empty where there is one."""
    if trial.failure == Failure.INVALID.value:
        return INVALID
    return "" if trial.run_id else UNDELIVERED
