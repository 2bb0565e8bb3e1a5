"""How Optuna is told what came of a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from pipelines.front import Directed, Point, losses
from pipelines.recipe.objectives import MEMORY
from pipelines.records import TrialState

STATE = "regatta.state"
"""The user attribute that holds what really came of a trial, where Optuna is told something else."""
_TOLD = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_MEANT = {state: ours for ours, state in _TOLD.items()} | {OptunaState.RUNNING: TrialState.RUNNING}


@dataclass(frozen=True)
class Told:
    """What Optuna is told.

    Attributes:
        point: Where the trial stands among the others; None for one that cannot be the best.
    """

    state: OptunaState
    values: list[float] | None
    constraints: Mapping[str, float]
    attributes: Mapping[str, str]
    point: Point | None


def told_of(
    state: TrialState,
    values: Mapping[str, float],
    violations: Mapping[str, float],
    objectives: Directed,
    *,
    infeasible: bool,
) -> Told:
    """What to tell Optuna of a trial; the arguments are those of `Study.tell`.

    Optuna forgets failed trials, and nothing would keep a sampler from where the memory ran out: such a trial is told
    as pruned and beyond a constraint, which is as bad as a trial can be. A complete one without a value for each
    objective is told as pruned, since Optuna takes no complete one like that.
    """
    if infeasible and state is not TrialState.FAILED:
        raise ValueError(f"only a failed trial can have run out of memory, got one that is {state.value}")
    broken = {name: value if math.isfinite(value) else 1.0 for name, value in violations.items()}
    if infeasible:
        return Told(OptunaState.PRUNED, None, {**broken, MEMORY: 1.0}, {STATE: state.value}, None)
    if state is not TrialState.COMPLETE:
        return Told(_TOLD[state], None, broken, {}, None)
    point = losses(values, objectives)
    if point is None:
        return Told(OptunaState.PRUNED, None, broken, {STATE: state.value}, None)
    feasible = all(value <= 0 for value in broken.values())
    told = [float(values[name]) for name, _ in objectives]
    return Told(OptunaState.COMPLETE, told, broken, {}, point if feasible else None)


def state_of(trial: FrozenTrial) -> TrialState | None:
    """What came of a trial; None for one that waits to be asked for."""
    meant = trial.user_attrs.get(STATE)
    return TrialState(meant) if meant else _MEANT.get(trial.state)


def point_of(trial: FrozenTrial, objectives: Directed) -> Point | None:
    """Where a trial stands among the others; None for one that cannot be the best."""
    if trial.state is not OptunaState.COMPLETE or any(value > 0 for value in trial.constraints.values()):
        return None
    return losses(dict(zip((name for name, _ in objectives), trial.values, strict=True)), objectives)
