"""Where answers are told of after they were sent, and from where shadow, drift and feedback get their share."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.model_server.engine import Answer, Engine
from services.model_server.errors import RequestError
from services.model_server.metrics.counters import Sample
from services.model_server.served import ServedModel
from services.model_server.settings import CHALLENGER_ALIAS, DEFAULT_ALIAS, Ref, Settings
from services.model_server.traffic import families
from services.model_server.traffic.binning import classes_of
from services.model_server.traffic.drift import Drift
from services.model_server.traffic.feedback import Memory, Remembered, Version
from services.model_server.traffic.numbers import MOST_GROUPS, Numbers
from services.model_server.traffic.reference import Profile, read_profile
from services.model_server.traffic.shadow import Compared, Shadow, compare
from services.model_server.traffic.sideline import Sideline

MOST_WAITING = 500_000
"""Values (4 MB at most) that may wait to be looked at; what is more is dropped."""
MOST_VALUES = 65_536
"""Values of one request that are looked at for drift: a count of more would keep Python's lock for long."""
MOST_VERSIONS = 32
"""Versions whose numbers are kept, those that are not loaded any more included."""
# Gauges are asked for several times a second. Those of drift may take a hundredth of the time, however wide the table.
_GAUGE_REST = 100.0


class Traffic:
    """All that a server learns from its traffic. Used on the event loop only."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        log: Callable[..., None],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Starts without traffic.

        Args:
            settings: All settings.
            engine: Whose answers are noted.
            log: Where events go.
            clock: Seconds, monotonic.
            chance: A number from 0 to below 1; decides which requests are in the sample.
        """
        self.settings = settings
        self._engine, self._log, self._clock, self._chance = engine, log, clock, chance
        self.sideline = Sideline(MOST_WAITING, self._failed)
        self.memory = Memory(settings.feedback_keep, settings.feedback_ttl_s, clock)
        self.versions: OrderedDict[Version, Numbers] = OrderedDict()
        self.recorded: Callable[[], dict[str, Any] | None] = lambda: None
        """How the numbers get to MLflow; None if they do not."""
        self._complained = False
        self._gauge_at = 0.0
        self._drift_gauges: list[Sample] = []
        if self.is_on:
            families.install()
            engine.stats.gauges.append(self._gauges)

    @property
    def is_on(self) -> bool:
        """Whether there is anything to learn."""
        return bool(self.settings.shadow or self.settings.drift or self.settings.feedback)

    def note(self, model: ServedModel, answer: Answer, request_id: str) -> None:
        """Takes notice of an answer that was sent. Never raises: nobody waits for it."""
        try:
            numbers = self.of(model)
            if self.settings.feedback:
                self.memory.keep(request_id, numbers.version, said_by(model, answer.outputs))
            if self.settings.drift and self._chance() < self.settings.drift:
                self._look_at(numbers, model, answer)
            if self.settings.shadow and model.ref.alias == DEFAULT_ALIAS and self._chance() < self.settings.shadow:
                self._let_answer(numbers, model, answer)
        except Exception as error:
            self._failed(error)

    def of(self, model: ServedModel) -> Numbers:
        """Returns the numbers of a loaded version."""
        key = (model.name, model.version)
        numbers = self.versions.get(key)
        if numbers is None or numbers.digest != model.digest:
            numbers = self.versions[key] = Numbers(model, self.settings.traffic_window_s, self._clock)
            self._forget()
        numbers.alias = model.ref.alias
        numbers.answered, numbers.failed = model.stats.answered, model.stats.failed
        return numbers

    def count(self, remembered: Remembered, truth: NDArray[Any]) -> bool:
        """Counts what was right of a remembered answer; returns False if that was told before."""
        if remembered.counted:
            return False
        remembered.counted = True
        self.score(self.versions[remembered.version], remembered.said, truth)
        return True

    def score(self, numbers: Numbers, said: NDArray[Any], truth: NDArray[Any]) -> None:
        """Counts answers (n,) against what was right (n,)."""
        numbers.score.add(said, truth)
        self._engine.stats.count("feedback_rows", numbers.version, len(said))
        if numbers.score.labels:
            self._engine.stats.count("feedback_right", numbers.version, float((said == truth).sum()))

    def state(self) -> dict[str, Any]:
        """Says what is switched on, and how its numbers fare."""
        settings = self.settings
        told: dict[str, Any] = {
            "shadow": settings.shadow,
            "drift": settings.drift,
            "feedback": settings.feedback,
            "window_s": settings.traffic_window_s,
            "remembered": {"requests": len(self.memory), "rows": self.memory.rows},
        }
        return told | {"mlflow": self.recorded()}

    def report(self, name: str) -> list[dict[str, Any]]:
        """Says what is known of the versions of a model, the newest first."""
        settings = self.settings
        found = [numbers for numbers in self.versions.values() if numbers.version[0] == name]
        found.sort(key=lambda numbers: -int(numbers.version[1]))
        return [numbers.report(settings.shadow > 0, settings.drift > 0, settings.feedback) for numbers in found]

    def close(self) -> None:
        """Gives up what waits to be looked at."""
        self.sideline.close()

    def _look_at(self, numbers: Numbers, model: ServedModel, answer: Answer) -> None:
        if numbers.drift is None:
            if not numbers.profile_wanted:
                numbers.profile_wanted = True

                def opened(profile: Profile | str) -> None:
                    if isinstance(profile, str):
                        numbers.no_drift = profile
                    else:
                        span_s = self.settings.traffic_window_s
                        numbers.drift = Drift(profile, model.contract, span_s, self._clock)

                self.sideline.offer(1, lambda: read_profile(model.stored.folder, model.contract), opened)
            return
        drift, rows, outputs = numbers.drift, answer.rows, answer.outputs
        most = max(1, MOST_VALUES // max(1, rows[0].size))
        if len(rows) > most:
            places = np.linspace(0, len(rows) - 1, most).astype(np.int64)
            rows, outputs = rows[places], outputs[places]

        def counted(counts: NDArray[np.float64]) -> None:
            drift.add(counts)
            self._engine.stats.count("drift_rows", numbers.version, float(counts[0]))

        self.sideline.offer(rows.size, lambda: drift.bins.count(rows, outputs), counted)

    def _let_answer(self, numbers: Numbers, model: ServedModel, answer: Answer) -> None:
        slot = self._engine.slots.get(Ref(model.name, CHALLENGER_ALIAS))
        challenger = slot.served if slot is not None else None
        if challenger is None or challenger.digest == model.digest:
            return
        shadow = numbers.shadow
        if shadow is None or shadow.digests != (model.digest, challenger.digest):
            span_s = self.settings.traffic_window_s
            shadow = numbers.shadow = Shadow(model, challenger, span_s, self._clock)
        if shadow.why_not is not None:
            return
        busy = model.batcher.waiting_rows > 0 or len(answer.rows) > self.settings.max_batch

        def compared(found: Compared) -> None:
            shadow.add(found)
            labels = (*numbers.version, challenger.version)
            stats = self._engine.stats
            stats.count("shadow_rows", labels, found.rows)
            stats.count("shadow_agreed", labels, found.agreed)
            stats.count("shadow_difference", labels, found.difference)
            stats.observe("shadow_seconds", (*labels, "champion"), found.champion_s)
            stats.observe("shadow_seconds", (*labels, "challenger"), found.challenger_s)

        if busy or not self.sideline.offer(
            answer.rows.size,
            lambda: compare(model, challenger, answer.rows, answer.outputs, answer.infer_s),
            compared,
        ):
            shadow.dropped += 1
            self._engine.stats.count("shadow_dropped", numbers.version)

    def _forget(self) -> None:
        loaded = {(model.name, model.version) for model in self._engine.loaded()}
        for key in [key for key in self.versions if key not in loaded][: max(0, len(self.versions) - MOST_VERSIONS)]:
            del self.versions[key]

    def _failed(self, error: Exception) -> None:
        self._engine.stats.count("traffic_failed", ())
        if not self._complained and not isinstance(error, RequestError):
            self._complained = True  # once: it may happen at every request
            self._log("traffic_failed", level="error", reason=f"{type(error).__name__}: {error}")

    def _gauges(self) -> Iterator[Sample]:
        if self.settings.feedback:
            yield "feedback_remembered", (), self.memory.rows
        start = time.perf_counter()
        if start >= self._gauge_at:
            self._drift_gauges = list(self._measure_drift())
            end = time.perf_counter()
            self._gauge_at = end + _GAUGE_REST * (end - start)
        yield from self._drift_gauges

    def _measure_drift(self) -> Iterator[Sample]:
        for model in self._engine.loaded():
            numbers = self.versions.get((model.name, model.version))
            if numbers is not None and numbers.drift is not None:
                report = numbers.drift.report()
                for group in (*report["inputs"][:MOST_GROUPS], report["answers"] | {"name": "(answers)"}):
                    if group["psi"] is not None:
                        yield "drift_psi", (*numbers.version, group["name"]), group["psi"]


def said_by(model: ServedModel, outputs: NDArray[Any]) -> NDArray[Any]:
    """What a model said with its outputs (n, outputs): places of labels int64 (n,), or values float64 (n,)."""
    return classes_of(outputs, model.contract) if model.contract.labels else outputs[:, 0].astype(np.float64)
