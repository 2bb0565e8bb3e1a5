"""What a tracker holds, as whoever compares it with the journal sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class HeldRun:
    """A run that the tracker holds.

    Attributes:
        uid: Our own name of it; empty where somebody else made it.
        status: RUNNING, FINISHED, FAILED or KILLED.
        metrics: The newest value of each metric: that of the last step.
    """

    run_id: str
    uid: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class HeldCheckpoint:
    """A checkpoint that the tracker holds, whole (READY), half delivered (PENDING) or given up (FAILED)."""

    model_id: str
    uid: str
    sha256: str
    status: str


@dataclass(frozen=True)
class DamagedVersion:
    """A registered version whose files are not all there."""

    name: str
    version: str
    aliases: tuple[str, ...]
    problem: str
