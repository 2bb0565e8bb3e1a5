"""What is served: a loaded model version, and the slot that follows one wanted alias or version."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from services.model_server.extent import Extent
from services.model_server.metrics.counters import ModelStats
from services.model_server.model_store import Stored
from services.model_server.package import Package
from services.model_server.predictor import Cost, Predictor
from services.model_server.queueing.batching import Batcher
from services.model_server.scale import Scale
from services.model_server.settings import Ref


class State(Enum):
    """Where a wanted model is on its way to being served."""

    WAITING = "WAITING"
    """The registry has no such model, alias or version yet, or has not been asked yet."""
    LOADING = "LOADING"
    """A version is being fetched, verified and warmed; nothing answers yet."""
    AVAILABLE = "AVAILABLE"
    """A version answers. A newer one may be loading beside it, or be rejected."""
    REJECTED = "REJECTED"
    """The wanted version is refused and there is no earlier one to fall back on."""


class ServedModel:
    """One loaded, warmed and checked version with its queue. Lives until its last request is answered."""

    def __init__(
        self, ref: Ref, stored: Stored, package: Package, predictor: Predictor, batcher: Batcher, cost: Cost
    ) -> None:
        self.ref = ref
        self.name = stored.name
        self.version = stored.version
        self.run_id = stored.run_id
        self.stored = stored
        self.digest = package.digest
        self.contract = package.contract
        self.golden = package.golden
        self.predictor = predictor
        self.batcher = batcher
        self.cost = cost
        self.scale: Scale | None = None
        """On which scale its values are; None if nobody can tell, or nobody wants to know."""
        self.extent: Extent | None = None
        """Where the numbers of its table are; None if it has none."""
        self.loaded_at = datetime.now(UTC)
        self.stats = ModelStats(self.name, self.version, ref.alias or "", self.digest, self.run_id)
        self.stats.queued_rows = lambda: batcher.waiting_rows
        self.stats.waited_s = lambda: batcher.waited_s
        # The same headers go out with every answer, so they are encoded once.
        self._headers = (
            (b"x-model-version", self.version.encode()),
            (b"x-model-digest", b"sha256:" + self.digest.encode()),
            (b"x-mlflow-run-id", self.run_id.encode()),
        )
        self.headers: tuple[tuple[bytes, bytes], ...] = self._headers
        self.memory: dict[Any, Any] = {}
        """What dialects remember of requests to this version. They bound it; it ends with the version."""

    def say_stale(self, seconds: float | None) -> None:
        """Lets every answer say for how long nobody confirmed that this is the right version; None ends that."""
        stale = () if seconds is None else ((b"x-model-stale-seconds", b"%d" % seconds),)
        self.headers = (*self._headers, *stale)

    def answers_for(self, ref: Ref) -> None:
        """Notes the first of the refs that this version answers for; what was champion may be `previous` now."""
        self.ref, self.stats.alias = ref, ref.alias or ""


@dataclass
class Rejection:
    """A version that must not be served, why, and when it is tried again (`retry_at` on the monotonic clock)."""

    version: str
    reason: str
    attempts: int = 1
    retry_at: float = 0.0


@dataclass
class Slot:
    """One wanted ref: what answers for it now, what is being tried, what was refused."""

    ref: Ref
    state: State = State.WAITING
    served: ServedModel | None = None
    loading: str | None = None
    rejection: Rejection | None = None
    note: str = "not looked up yet"
    changed: str = ""
    """What clients meet with the version that answers and did not meet with the one before it; "" if nothing."""
    champion_since: str = ""
    """Since when the version that answers is champion, an ISO time; "" if it is none, or the registry does not say."""
    confirmed_at: float | None = None
    """Unix time when the registry last said what the ref points to; None if it never did."""
    missing_polls: int = 0
    discovered: bool = field(default=False)
    """Whether the slot came from `*` and goes away with its alias."""
    beside: bool = False
    """Whether it only goes with a champion: neither readiness nor what answers by name alone depends on it."""

    def staleness_s(self) -> float | None:
        """Seconds since the registry last confirmed the ref; None if it never did."""
        return None if self.confirmed_at is None else max(0.0, time.time() - self.confirmed_at)

    def why_not(self) -> str:
        """Says in a sentence why nothing answers for this slot."""
        if self.rejection is not None:
            return f"{self.ref}: version {self.rejection.version} REJECTED: {self.rejection.reason}."
        if self.loading is not None:
            return f"{self.ref}: version {self.loading} is loading."
        return f"{self.ref}: {self.note}."
