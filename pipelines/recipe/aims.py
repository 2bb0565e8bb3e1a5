"""Whether what a sweep looks for goes with the training that it varies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.mistakes import did_you_mean
from pipelines.recipe.agreement import Problem, no_such_metric
from pipelines.recipe.objectives import COSTS, Bound, Objective
from pipelines.tasks import SCORES, Task


def aim_problems(parts: Mapping[str, Any], task: Task | None) -> Iterator[Problem]:
    """What objectives, constraints, promotion and search space ask of the training.

    Args:
        parts: The parts of a recipe that could be read.
        task: What is learned, as far as it is known.
    """
    objective: Objective | None = parts.get("objective")
    constraints: Mapping[str, Bound] = parts.get("constraints") or {}
    if objective is not None:
        yield from _objective_problems(objective, parts, task)
    if "metrics" in parts:
        for name in constraints:
            missing = _no_such_result(name, parts, task)
            if missing:
                yield Problem(("constraints", name), missing)
    promotion = parts.get("promotion")
    if promotion is not None and promotion.metric is not None and task is not None:
        judged_by = SCORES[task]
        if promotion.metric not in judged_by:
            message = f"a {task} model is judged by {', '.join(judged_by)}, got '{promotion.metric}'"
            yield Problem(("promotion", "metric"), message)
    compared = [*(each.metric for each in objective.all), *constraints] if objective is not None else [*constraints]
    loss = next((name for name in compared if name.endswith("loss")), None)
    for path in parts.get("search_space") or {}:
        if loss is not None and path.split(".")[0] == "loss":
            yield Problem(("search_space", path), _not_comparable(loss, loss in constraints, task))


def _objective_problems(objective: Objective, parts: Mapping[str, Any], task: Task | None) -> Iterator[Problem]:
    several = len(objective.all) > 1
    names = [each.metric for each in objective.all]
    for number, name in enumerate(names):
        place: tuple[str | int, ...] = ("objective", number, "metric") if several else ("objective", "metric")
        if number == 0 and name in COSTS:
            first = "the first objective decides" if several else "the objective decides"
            message = (
                f"'{name}' is known only at the end of a trial, and {first} which epoch of it is the best; let it be "
                f"a metric of every epoch, such as val_loss, and list {name} after it"
            )
            yield Problem(place, message)
        elif name in names[:number]:
            yield Problem(place, f"'{name}' is there twice; keep one")
        elif "metrics" in parts:
            missing = _no_such_result(name, parts, task) if number else no_such_metric(name, parts, task)
            if missing:
                yield Problem(place, missing)


def _no_such_result(name: str, parts: Mapping[str, Any], task: Task | None) -> str | None:
    """What to say where something asks for a result that no trial has; None where it has."""
    missing = None if name in COSTS else no_such_metric(name, parts, task)
    if missing is None:
        return None
    costs = ", ".join(f"{cost} ({words})" for cost, words in COSTS.items())
    return f"{missing}; a trial also has {costs}{did_you_mean(name, COSTS)}"


def _not_comparable(loss: str, bounded: bool, task: Task | None) -> str:
    other = "val_mae" if task is Task.REGRESSION else "val_accuracy"
    if bounded:
        return f"trials with different losses cannot be held to one bound of '{loss}'; bound {other}, say, instead"
    return (
        f"trials with different losses cannot be compared by '{loss}'; let the objective be another metric, such as "
        f"{other}"
    )
