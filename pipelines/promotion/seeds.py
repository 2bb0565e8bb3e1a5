"""Trains candidates again with other seeds, and ranks them by what comes of all of that: still by validation alone.

The best of many trials is partly the luckiest: its value is the best of as many draws as there were trials. Trainings
with seeds that nobody has chosen by their result are free of that. What is promoted is the candidate's own checkpoint;
the other trainings only say how good its config is.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.executors.base import Executor, Loss
from pipelines.records import CheckpointWritten, Ended, EpochEnded, Event, TrialHistory, TrialSpec

_MOST_LOSSES = 2


@dataclass(frozen=True)
class Repeated:
    """What came of a candidate's trainings with other seeds.

    Attributes:
        trial: Its number.
        values: The objective at the best epoch, a training each; those that failed are left out.
        seeds: Of these trainings.
        failed: Why the others failed.
    """

    trial: int
    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Of the values; NaN where there are none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of the values; NaN of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    def cautious(self, direction: str) -> float:
        """The mean less one standard error, turned so that less is better; infinite where nothing came of it."""
        if not self.values:
            return math.inf
        error = self.spread / math.sqrt(len(self.values)) if len(self.values) > 1 else 0.0
        return self.mean * (1.0 if direction == "minimize" else -1.0) + error

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        known = {name: value for name, value in (("mean", self.mean), ("spread", self.spread)) if value == value}
        return {**asdict(self), "mean": known.get("mean"), "spread": known.get("spread")}


def seed_of(config_seed: int, number: int) -> int:
    """The seed of a repetition: the same each time, and none that a trial of the sweep has had but by a rare chance."""
    digest = hashlib.sha256(f"{config_seed} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def ranked(candidates: Sequence[TrialHistory], repeated: Sequence[Repeated], direction: str) -> list[TrialHistory]:
    """The candidates, the best by their repetitions first; equal ones keep their order, failed ones come last."""
    by_trial = {each.trial: each.cautious(direction) for each in repeated}
    return sorted(candidates, key=lambda trial: by_trial.get(trial.number, math.inf))


class Repetitions:
    """Trains a list of trials on an executor of trial workers, whoever has room, and keeps what comes of each."""

    def __init__(
        self,
        executor: Executor,
        *,
        hung_after_s: float = math.inf,
        told: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes an executor whose workers train a `TrialSpec`.

        Args:
            executor: It is not closed.
            hung_after_s: Seconds without a word after which a worker is taken to hang, and ended.
            told: Hears how far it is.
            clock: Seconds that only go forward.
        """
        self._executor = executor
        self._hung_after_s = hung_after_s
        self._told = told
        self._clock = clock
        self._heard: dict[int, float] = {}
        self._waiting: deque[TrialSpec] = deque()
        self._with: dict[int, dict[int, TrialSpec]] = {}  # by worker and number
        self._best: dict[int, float] = {}
        self._over: dict[int, str | None] = {}
        self._room: dict[int, int] = {}
        self._losses: dict[int, int] = {}

    def run(self, specs: Sequence[TrialSpec]) -> dict[int, tuple[float | None, str | None]]:
        """Trains all of them; returns the best value of each, or why there is none, by number."""
        self._waiting.extend(specs)
        self._executor.hand_over(self)
        while len(self._over) < len(specs):
            self._hand_out()
            self._executor.wait(0.2)
            self._end_hung()
        return {spec.number: (self._value(spec), self._over[spec.number]) for spec in specs}

    def on_room(self, worker: int, places: int) -> None:
        """The worker can have so many more."""
        self._room[worker] = self._room.get(worker, 0) + places

    def on_rest(self, worker: int, tasks: int) -> None:
        """The worker has come to rest; what ended, it has said."""

    def on_message(self, worker: int, message: Event) -> None:
        """Keeps the best value of each, and notes what is over."""
        self._heard[worker] = self._clock()
        spec = self._with.get(worker, {}).get(message.trial)
        if spec is None or spec.attempt != message.attempt:
            return
        if isinstance(message, EpochEnded):
            value = message.metrics.get(spec.objective, math.nan)
            known = self._best.get(spec.number, math.nan)
            if math.isfinite(value):
                pick = min if spec.direction == "minimize" else max
                self._best[spec.number] = value if math.isnan(known) else pick(value, known)
        elif isinstance(message, CheckpointWritten):
            Path(message.path).unlink(missing_ok=True)  # nobody promotes it
        elif isinstance(message, Ended):
            del self._with[worker][message.trial]
            self._over[spec.number] = message.error
            self._told(f"{len(self._over)} of the repetitions are trained")

    def on_lost(self, worker: int, loss: Loss) -> None:
        """Its trainings begin anew elsewhere, but not again and again."""
        self._room.pop(worker, None)
        for spec in self._with.pop(worker, {}).values():
            self._losses[spec.number] = self._losses.get(spec.number, 0) + 1
            self._best.pop(spec.number, None)
            if self._losses[spec.number] >= _MOST_LOSSES:
                self._over[spec.number] = f"worker lost: {loss.reason}"
            else:
                self._waiting.append(replace(spec, attempt=spec.attempt + 1))

    def _hand_out(self) -> None:
        while (
            self._waiting
            and (worker := next((each for each, room in self._room.items() if room > 0), None)) is not None
        ):
            spec = self._waiting.popleft()
            self._room[worker] -= 1
            self._with.setdefault(worker, {})[spec.number] = spec
            self._heard[worker] = self._clock()
            self._executor.assign(worker, spec)

    def _end_hung(self) -> None:
        for worker, specs in self._with.items():
            if specs and self._clock() - self._heard[worker] > self._hung_after_s:
                self._heard[worker] = self._clock()  # once is enough
                self._executor.end(worker, f"it made no step for {self._hung_after_s:g} s (execution.hung_after_s)")

    def _value(self, spec: TrialSpec) -> float | None:
        return self._best.get(spec.number) if self._over[spec.number] is None else None


class Kept:
    """What came of repetitions, in a file of the study: they come out the same each time, so once is enough."""

    def __init__(self, file: Path) -> None:
        """Takes the file, which need not be there."""
        self._file = file
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            told = None
        self._known: dict[str, Any] = told if isinstance(told, dict) else {}

    def of(self, spec: TrialSpec, times: int) -> Repeated | None:
        """What came of a candidate's repetitions; None where it had none, or other ones."""
        try:
            told = self._known[_key(spec, times)]
            return Repeated(spec.number, *(tuple(told[name]) for name in ("values", "seeds", "failed")))
        except (KeyError, TypeError):
            return None

    def keep(self, specs: Sequence[TrialSpec], times: int, found: Sequence[Repeated]) -> None:
        """Adds what came of some, in one step."""
        for spec, repeated in zip(specs, found, strict=True):
            self._known[_key(spec, times)] = repeated.to_json()
        beside = self._file.with_suffix(".writing")
        beside.write_text(json.dumps(self._known), encoding="utf-8")
        beside.replace(self._file)


def _key(spec: TrialSpec, times: int) -> str:
    """What the result of a candidate's repetitions depends on."""
    on = json.dumps([dict(spec.config), spec.data, spec.objective, spec.direction, times], sort_keys=True)
    return f"{spec.number}-{hashlib.sha256(on.encode()).hexdigest()[:16]}"


def repeat(
    executor: Executor,
    candidates: Sequence[TrialSpec],
    times: int,
    folder: Path,
    *,
    hung_after_s: float = math.inf,
    told: Callable[[str], None] = lambda line: None,
) -> list[Repeated]:
    """Trains each candidate `times` times with other seeds.

    Args:
        executor: Of trial workers; it is not closed.
        candidates: What trained each of them, with the number of its trial.
        times: Trainings of each.
        folder: Where they may write.
        hung_after_s: See `Repetitions`.
        told: Hears how far it is.
    """
    specs: list[TrialSpec] = []
    for candidate in candidates:
        for number in range(times):
            seed = seed_of(int(candidate.config["seed"]), number)
            place = folder / f"trial-{candidate.number:05d}" / f"seed-{number}"
            config = {**candidate.config, "seed": seed}
            specs.append(
                replace(
                    candidate, number=len(specs), attempt=1, config=config, folder=str(place), states="", alone=False
                )
            )
    found = Repetitions(executor, hung_after_s=hung_after_s, told=told).run(specs)
    repeated = []
    for place_of, candidate in enumerate(candidates):
        mine = [
            (int(spec.config["seed"]), *found[spec.number]) for spec in specs[place_of * times : (place_of + 1) * times]
        ]
        good = [(seed, value) for seed, value, _ in mine if value is not None]
        repeated.append(
            Repeated(
                candidate.number,
                tuple(value for _, value in good),
                tuple(seed for seed, _ in good),
                tuple(why or "no epoch gave a finite value" for _, value, why in mine if value is None),
            )
        )
    return repeated
