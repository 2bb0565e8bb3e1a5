"""Drives a worker without a controller: trials wait at a desk, and what is said there is only written down."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.executors.base import Worker
from pipelines.records import Ended, EpochEnded, Event, Started, TrialSpec


@dataclass
class ToyDesk:
    """Gives a worker one more trial for each place that it has offered, as long as there are trials.

    Attributes:
        waiting: Trials that nobody has taken yet.
        places: Trials that the worker has room for.
        taken: Trials that it was given.
        heard: What was said, each with the time at which it came.
    """

    waiting: deque[TrialSpec]
    places: int = 0
    taken: int = 0
    heard: list[tuple[float, Event]] = field(default_factory=list)

    def take(self) -> TrialSpec | None:
        """See `pipelines.executors.base.Desk`."""
        if not self.waiting or not self.places:
            return None
        self.places -= 1
        self.taken += 1
        return self.waiting.popleft()

    def say(self, message: Any) -> Sequence[Any]:
        """See `pipelines.executors.base.Desk`. There is no answer."""
        self.heard.append((time.perf_counter(), message))
        return ()

    def offer(self, places: int) -> None:
        """See `pipelines.executors.base.Desk`."""
        self.places += places

    def lay_out(self, specs: Sequence[TrialSpec]) -> None:
        """More trials are there; what was said of those before is forgotten."""
        self.waiting.extend(specs)
        self.taken = 0
        self.heard.clear()

    @property
    def under_way(self) -> int:
        """Trials that were taken and have not ended."""
        return self.taken - sum(isinstance(event, Ended) for _, event in self.heard)


@dataclass(frozen=True)
class Trained:
    """What came of some trials.

    Attributes:
        seconds: From the moment that the trials were there until all of them had ended.
        cpu: Seconds that all threads of this process computed meanwhile.
        first_epoch: Seconds until the first epoch of any trial had ended: tracing, compiling, and trying widths.
        epochs: When each epoch of any trial ended, in seconds from the beginning, in order, with the trial's number.
        phases: Seconds by what the trainer says they went to.
        facts: What the trainer says of itself.
        values: Best value of the objective by trial.
    """

    seconds: float
    cpu: float
    first_epoch: float
    epochs: tuple[tuple[float, int], ...]
    phases: dict[str, float]
    facts: dict[str, str]
    values: dict[int, float]


class Drive:
    """One warm worker, with its room kept from one lot of trials to the next."""

    def __init__(self, worker: Worker) -> None:
        """Takes the worker, which says how much room it has."""
        self._worker = worker
        self._desk = ToyDesk(deque())
        worker(self._desk)

    def train(self, specs: Sequence[TrialSpec]) -> Trained:
        """Trains all of `specs`.

        Raises:
            RuntimeError: The worker took a trial and left it lying, or has no room, or a trial failed.
        """
        desk = self._desk
        desk.lay_out(specs)
        begun, computed = time.perf_counter(), time.process_time()
        while desk.waiting or desk.under_way:
            before = len(desk.heard)
            self._worker(desk)
            if len(desk.heard) == before:
                raise RuntimeError(
                    f"The worker stopped with {len(desk.waiting)} trials waiting, {desk.under_way} under way and room "
                    f"for {desk.places}."
                )
        cpu = time.process_time() - computed
        return _summed_up(desk.heard, begun, cpu, {spec.number: spec for spec in specs})


def _summed_up(heard: Sequence[tuple[float, Event]], begun: float, cpu: float, specs: dict[int, TrialSpec]) -> Trained:
    ended = [(at, event) for at, event in heard if isinstance(event, Ended)]
    epochs = [(at, event) for at, event in heard if isinstance(event, EpochEnded)]
    failed = next((event for _, event in ended if event.error), None)
    if failed is not None:
        raise RuntimeError(f"Trial {failed.trial} failed: {failed.error}\n{failed.traceback}")
    phases: dict[str, float] = {}
    for _, event in ended:
        for phase, seconds in event.phases.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    facts: dict[str, str] = {}
    for _, said in heard:
        if isinstance(said, Started):
            facts |= said.facts
    values: dict[int, float] = {}
    for _, epoch in epochs:
        spec = specs[epoch.trial]
        better = min if spec.direction == "minimize" else max
        value = epoch.metrics[spec.objective]
        values[epoch.trial] = better(values.get(epoch.trial, value), value)
    return Trained(
        max(at for at, _ in ended) - begun,
        cpu,
        min(at for at, _ in epochs) - begun,
        tuple((at - begun, epoch.trial) for at, epoch in epochs),
        phases,
        facts,
        values,
    )
