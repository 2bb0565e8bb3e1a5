"""What a trial is told to draw, or has drawn elsewhere, held against a search space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipelines.mistakes import did_you_mean
from pipelines.recipe.distributions import label
from pipelines.samplers.varying import Options, Varying

ABSENT = "none"


def told(wanted: Mapping[str, Any], what_varies: Sequence[Varying]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a trial is told to draw, and what is wrong with it.

    Args:
        wanted: Values as a recipe has them, by name of what varies.
        what_varies: The search space.

    Returns:
        The values as Optuna has them, in the order of drawing, with the branches that lead to them; and by name what is
        wrong, empty where nothing is.
    """
    by_name = {found.name: found for found in what_varies}
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, value in wanted.items():
        if name not in by_name:
            known = ", ".join(by_name) or "nothing"
            wrong[name] = f"does not vary in the search space{did_you_mean(name, by_name)}; what varies: {known}"
            continue
        try:
            values[name] = _read(by_name[name], value)
        except ValueError as error:
            wrong[name] = str(error)
    implied: dict[str, tuple[str, str]] = {}
    for name in values:
        for branch, kind in by_name[name].given.items():
            if branch in wanted:
                if branch in values and values[branch] != kind:
                    wrong[name] = f"is drawn only where {branch} is {kind}, and here it is {values[branch]}"
                continue
            known_kind, by = implied.setdefault(branch, (kind, name))
            if known_kind != kind:
                wrong[name] = f"is drawn only where {branch} is {kind}, and {by} only where it is {known_kind}"
    values |= {branch: kind for branch, (kind, _) in implied.items()}
    return {name: values[name] for name in by_name if name in values}, wrong


def fitting(drawn: Mapping[str, Any], what_varies: Sequence[Varying]) -> dict[str, Any] | None:
    """What a trial of another study has drawn, as one of this search space would have; None where none would have."""
    values: dict[str, Any] = {}
    for found in what_varies:
        if any(values.get(branch) != kind for branch, kind in found.given.items()):
            continue
        if found.name not in drawn:
            return None
        try:
            values[found.name] = _read(found, drawn[found.name])
        except ValueError:
            return None
    return values if len(values) == len(drawn) else None


def misfit(drawn: Mapping[str, Any], what_varies: Sequence[Varying]) -> str:
    """Why `fitting` has nothing for a trial, as what the trial did: `also drew model.dropout`."""
    known = {found.name: found for found in what_varies}
    more = [name for name in drawn if name not in known]
    if more:
        return f"also drew {', '.join(more)}"
    matched = matching(drawn, what_varies)
    outside = [f"{name}={drawn[name]}" for name in drawn if name not in matched]
    if outside:
        return f"drew {', '.join(outside)}, which is not in it"
    asked = (found for found in what_varies if all(drawn.get(name) == kind for name, kind in found.given.items()))
    return f"did not draw {', '.join(found.name for found in asked if found.name not in drawn)}"


def matching(drawn: Mapping[str, Any], what_varies: Sequence[Varying]) -> dict[str, Any]:
    """Of what a trial has drawn, as much as the search space has."""
    values: dict[str, Any] = {}
    for found in what_varies:
        if found.name in drawn:
            with suppress(ValueError):
                values[found.name] = _read(found, drawn[found.name])
    return values


def draws_all(values: Mapping[str, Any], what_varies: Sequence[Varying]) -> bool:
    """Whether values leave nothing to draw."""
    return fitting(values, what_varies) is not None


def _read(found: Varying, value: Any) -> Any:
    domain = found.domain
    if value is None and isinstance(domain, Options) and ABSENT in domain.choices and None not in domain.choices:
        value = ABSENT  # whoever leaves a callback out may well write null
    return domain.read(label(value))
