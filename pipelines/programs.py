"""Whether compiled programs pay for a recipe: how many its trials would need, against what `fit` would take. Pure.

A program is compiled for each cohort: trials whose graph and batch size are the same. It takes seconds, however little
is trained in it then. How many there will be can be told from the search space before anything is drawn in earnest.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from pipelines.recipe.config import SweepConfig, TrainingConfig
from pipelines.recipe.search_space import SearchSpace, overlay
from pipelines.samplers.exhaustive import ExhaustiveSpec
from pipelines.training.lanes.grouping import group_of

_PROGRAM_S = 6.0
"""What it takes to build, trace and compile one. All seconds here are roughly those of a core of 2026, for models so
small that what `fit` does around each step takes longer than its arithmetic, which takes as long in lanes."""
_TRIAL_S, _EPOCH_S, _STEP_S = 1.5, 0.045, 1.1e-3
"""What `fit` takes to begin a trial (it, too, traces its functions), and for each epoch and each step."""
_DRAWS, _FIRST = 512, 32
"""Trials that are drawn to see; where the first of them all share one program, so will most of the others."""
_PATIENCE = 8
"""Draws for each combination that is looked for, of a sampler that tries each once."""
_SAMPLES = 500
"""Of a data set that nobody has looked at yet. It matters for small ones; where it was wrong, workers start anew."""
_MOST_WORKERS = 4
"""Workers of `fit` that count. More of them gain little: each takes seconds to be ready, and a sampler that learns
draws as many trials without having learned from one another."""


def too_many(config: SweepConfig, *, cores: int, samples: int | None = None) -> str | None:
    """Why `fit` is faster for this recipe than lanes are, on CPUs; None where it is not, or lanes are not left open.

    The first program is not counted. It takes no longer than a second worker of `fit` and a judge take to be ready,
    which lanes do without. The answer is the same whenever it is asked for: trials are drawn as by a die that always
    falls in the same way.

    Args:
        config: The recipe.
        cores: That may be used.
        samples: In the training part; None where that is not known yet.
    """
    if config.execution.lanes != "auto":
        return None
    in_lanes, by_fit = _workers(config, cores)
    trials = max(1, config.budget.trials // in_lanes)  # of each worker, which makes its own programs
    drawn = _drawn(config, min(trials, _DRAWS))
    programs = len({group_of(one, "").kin for one in drawn})
    compiling_s = _PROGRAM_S * (programs - 1)
    fitting_s = sum(map(_fit_s, drawn, [samples or _SAMPLES] * len(drawn))) * in_lanes / by_fit
    if compiling_s <= fitting_s:
        return None
    return f"{len(drawn)} trials would need about {programs} programs, which take longer to compile than they save"


def _workers(config: SweepConfig, cores: int) -> tuple[int, int]:
    """How many there are in lanes, and by `fit`."""
    execution = config.execution
    if execution.executor == "inline":
        return 1, 1
    if execution.workers != "auto":
        return execution.workers, execution.workers
    return 1, min(cores, _MOST_WORKERS)


def _fit_s(config: TrainingConfig, samples: int) -> float:
    """Seconds that `fit` takes for a trial beside its arithmetic."""
    steps = math.ceil(samples / config.batch_size)
    return _TRIAL_S + config.epochs * (_EPOCH_S + steps * _STEP_S)


def _drawn(config: SweepConfig, count: int) -> list[TrainingConfig]:
    """Trainings such as the sweep will have; fewer where a sampler that tries each once is done before."""
    space, base, dice = SearchSpace(config.search_space), config.training(), _Dice()
    once = isinstance(config.sampler, ExhaustiveSpec)
    found: list[TrainingConfig] = []
    for changes in _changes(space, dice, count, once=once):
        try:
            found.append(TrainingConfig.model_validate(overlay(base, changes)))
        except ValidationError:  # such a trial fails before anything trains
            continue
        if len(found) == _FIRST and len({group_of(one, "").kin for one in found}) == 1:
            break
    return found


def _changes(space: SearchSpace, dice: _Dice, count: int, *, once: bool) -> Iterator[dict[str, Any]]:
    """So many draws; each another one, as far as they can be found, where `once`."""
    seen: set[str] = set()
    for _ in range(_PATIENCE * count if once else count):
        changes = space.sample(dice)
        known = json.dumps(changes, sort_keys=True)
        if not (once and known in seen):
            yield changes
        seen.add(known)
        if once and len(seen) == count:
            return


class _Dice:
    """Draws from a search space at random, evenly, and every time the same."""

    def __init__(self) -> None:
        self._random = random.Random(0)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step:
            return low + step * self._random.randint(0, math.floor((high - low) / step + 1e-9))
        if log:
            return math.exp(self._random.uniform(math.log(low), math.log(high)))
        return self._random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if log:
            return min(high, int(math.exp(self._random.uniform(math.log(low), math.log(high + 1)))))
        return low + step * self._random.randint(0, (high - low) // step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._random.choice(choices)
