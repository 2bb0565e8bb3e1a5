"""When a sweep is done, and what it was that ended it. Pure but for the clock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.controller.failures import Streak
from pipelines.history import RunHistory, device_seconds
from pipelines.recipe.config import Budget
from pipelines.records import TrialResult, TrialState
from pipelines.study import Counts
from pipelines.training.base import Best

INTERRUPTED, COMBINATIONS, DISK = "interrupted", "combinations", "disk"
"""Ends that are in no budget."""
_MIB = 1 << 20


@dataclass(frozen=True)
class Ending:
    """Why a sweep ends.

    Attributes:
        by: The field of the budget, or `interrupted`, `combinations` or `disk`.
        text: The same, for a person.
        at_once: Whether trials that are running stop after the epoch they are at, to go on another time.
    """

    by: str
    text: str
    at_once: bool = False


@dataclass(frozen=True)
class Spent:
    """What a study had used up when its controller started.

    Attributes:
        wall_s: Seconds of all starts before.
        device_s: Seconds of training.
        checkpoint_bytes: Of the best checkpoints that were written.
        results: Its trials that are over, in the order in which they ended; state and value count.
    """

    wall_s: float = 0.0
    device_s: float = 0.0
    checkpoint_bytes: int = 0
    results: tuple[tuple[TrialState, float | None], ...] = ()


class Meter:
    """Measures a sweep against its budget."""

    def __init__(
        self,
        budget: Budget,
        direction: str,
        counts: Counts,
        spent: Spent | None = None,
        *,
        combinations: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        begun: float | None = None,
    ) -> None:
        """Takes the budget, which way the objective is better, and what was used before.

        Args:
            budget: Of the recipe.
            direction: `minimize` or `maximize`.
            counts: Trials of earlier starts.
            spent: What else they used.
            combinations: How many there are, of a sampler that tries each once.
            clock: Seconds that only go forward.
            begun: What it said when this start of the sweep began; now, if left out.
        """
        spent = spent or Spent()
        self.counts = counts
        self._budget = budget
        self._combinations = combinations
        self._clock = clock
        self._begun = clock() if begun is None else begun
        self._wall_before = spent.wall_s
        self._device_s = spent.device_s
        self._bytes = spent.checkpoint_bytes
        self._failed: list[int] = []  # in this start: what caused those of earlier ones may be mended
        self._minimize = direction == "minimize"
        self._best = Best(direction)
        self._since_best = 0
        self._streak = Streak()
        self._last_failure: TrialResult | None = None
        self._running: dict[int, float] = {}  # since when
        self._with: Counter[int] = Counter()
        for state, value in spent.results:
            self._weigh(state, value)

    def assigned(self, worker: int) -> None:
        """The worker has one more trial: as long as it has any, its seconds count, once."""
        self._with[worker] += 1
        self._running.setdefault(worker, self._clock())

    def freed(self, worker: int) -> None:
        """And one less."""
        self._with[worker] = max(0, self._with[worker] - 1)
        began = None if self._with[worker] else self._running.pop(worker, None)
        if began is not None:
            self._device_s += self._clock() - began

    def ended(self, result: TrialResult, checkpoint_bytes: int) -> None:
        """Takes a trial that is over."""
        counts = self.counts
        match result.state:
            case TrialState.COMPLETE:
                self.counts = replace(counts, complete=counts.complete + 1)
            case TrialState.PRUNED:
                self.counts = replace(counts, pruned=counts.pruned + 1)
            case _:
                self.counts = replace(counts, failed=counts.failed + 1)
                self._last_failure = result
                self._failed.append(result.number)
        self._bytes += checkpoint_bytes
        self._streak.note(result)
        self._weigh(result.state, result.value if result.feasible else None)

    def wants(self, under_way: int) -> bool:
        """Whether one more trial may begin beside those that are under way."""
        counted = self.counts.complete + self.counts.pruned
        return counted + under_way < self._budget.trials and self.ending(all_tried=False) is None

    def ending(self, *, all_tried: bool) -> Ending | None:
        """What ends the sweep by now, or None. Of several, what stops running trials comes first."""
        return next((end for end in (*self._sharp(), *self._blunt(all_tried=all_tried)) if end), None)

    @property
    def left(self) -> int:
        """Trials that are to come, as far as the budget tells."""
        return max(0, self._budget.trials - self.counts.complete - self.counts.pruned)

    @property
    def seconds(self) -> float:
        """Wall seconds of all starts."""
        return self._wall_before + self._clock() - self._begun

    @property
    def start_seconds(self) -> float:
        """Wall seconds of this start alone."""
        return self._clock() - self._begun

    @property
    def device_seconds(self) -> float:
        """Seconds of training, over all workers."""
        return self._device_s + sum(self._clock() - began for began in self._running.values())

    def _sharp(self) -> Iterable[Ending | None]:
        budget, best = self._budget, self._best.value
        if budget.wall_s is not None and self.seconds >= budget.wall_s:
            yield Ending("wall_s", f"the {budget.wall_s:g} s of wall time are used", at_once=True)
        if budget.device_s is not None and self.device_seconds >= budget.device_s:
            yield Ending("device_s", f"the {budget.device_s:g} s of training are used", at_once=True)
        if budget.target is not None and best is not None:
            good = best <= budget.target if self._minimize else best >= budget.target
            if good:
                yield Ending(
                    "target", f"a trial reached {best:.6g}, where {budget.target:g} was asked for", at_once=True
                )
        patience = budget.no_improvement_trials
        if patience is not None and self._since_best >= patience:
            told = "the last trial brought" if patience == 1 else f"{patience} trials in a row brought"
            yield Ending("no_improvement_trials", f"{told} no new best", at_once=True)
        if budget.checkpoint_mb is not None and self._bytes >= budget.checkpoint_mb * _MIB:
            text = f"the {budget.checkpoint_mb:g} MiB of checkpoints are written"
            yield Ending("checkpoint_mb", text, at_once=True)

    def _blunt(self, *, all_tried: bool) -> Iterable[Ending | None]:
        budget, failure = self._budget, self._last_failure
        told = "" if failure is None else f"; the last, trial {failure.number}: {failure.reason}"
        if self._streak.length >= budget.same_failures:
            text = f"{self._streak.length} trials in a row failed in the same way (budget.same_failures)"
            yield Ending("same_failures", text + told)
        failed = len(self._failed)
        if failed > budget.failed_trials:
            yield Ending("failed_trials", f"{failed} trials failed, where {budget.failed_trials} may{told}")
        done = self.counts.complete + self.counts.pruned
        if done > budget.trials:
            yield Ending("trials", f"{done} trials are done, where {budget.trials} were asked for")
        if done >= budget.trials:
            yield Ending(
                "trials", "its only trial is done" if budget.trials == 1 else f"all {budget.trials} trials are done"
            )
        if all_tried and self._combinations is not None:
            yield Ending(COMBINATIONS, tried(self._combinations, self._failed))

    def _weigh(self, state: TrialState, value: float | None) -> None:
        if state is TrialState.FAILED:
            return
        better = state is TrialState.COMPLETE and value is not None and self._best.improved_by(value, 0)
        self._since_best = 0 if better else self._since_best + 1


def tried(combinations: int, failed: Sequence[int] = ()) -> str:
    """Why a sweep may end before its trials are used up, and which trials of this start failed on the way."""
    told = "the only combination is tried" if combinations == 1 else f"all {combinations} combinations are tried"
    if not failed:
        return told
    which, again = ("trials", "these are") if len(failed) > 1 else ("trial", "it is")
    numbers = ", ".join(map(str, sorted(failed)))
    return f"{told}, and {which} {numbers} failed; {again} tried once more when the sweep is started again"


def spent_before(runs: Iterable[RunHistory], wall_s: float, metric: str) -> Spent:
    """What earlier starts of a study have used up, as the journal tells it."""
    over = sorted((run for run in runs if run.number is not None), key=lambda run: run.last_ms)
    trials = [run.as_trial(metric, None) for run in over]
    return Spent(
        wall_s,
        sum(map(device_seconds, over)),
        int(sum(run.summary.get("system/checkpoint_bytes", 0.0) for run in over)),
        tuple(
            (trial.state, trial.value if trial.feasible else None)
            for trial in trials
            if trial.state is not TrialState.RUNNING
        ),
    )
