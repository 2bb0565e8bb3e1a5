"""Several objectives: the trials that no other is better than in all of them, and the one that was picked."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import combinations
from typing import Any

from pipelines.records import TrialHistory, TrialState
from pipelines.report.figures import (
    ACCENT,
    GREY,
    HOVER,
    INFEASIBLE,
    PALE,
    TINT,
    WIDE,
    WIDE_LOSS,
    axis_for,
    blank_figure,
)
from pipelines.report.parts import data, plural, section
from pipelines.report.summary import Summary, is_number, number_text, sample

MOST_DOTS = 3_000
HOW = {
    "first": "as the best of them by {first}, the first objective",
    "knee": "as its knee, the nearest to the ideal in all objectives, each scaled over the front to 0 to 1",
}


def front_of(summary: Summary) -> list[TrialHistory]:
    """The trials of the front, the best by the first objective first; none where there is one objective only.

    A record that has several objectives and names no front gets the one that its trials have.
    """
    history = summary.history
    if len(history.objectives) < 2:
        return []
    numbers = set(history.front) or _undominated(summary)
    return [trial for trial in summary.ranking if trial.number in numbers]


def _undominated(summary: Summary) -> set[int]:
    import numpy as np

    trials = [trial for trial in summary.ranking if _values(summary, trial)]
    signs = [-1.0 if direction == "maximize" else 1.0 for _, direction in summary.history.objectives]
    table = np.array([[*(_values(summary, trial) or {}).values()] for trial in trials]).reshape(-1, len(signs)) * signs
    beaten = [bool(((table <= row).all(axis=1) & (table < row).any(axis=1)).any()) for row in table]
    return {trial.number for trial, worse in zip(trials, beaten, strict=True) if not worse}


def _values(summary: Summary, trial: TrialHistory) -> dict[str, float] | None:
    """All objectives of a trial; None where one is missing."""
    found = {name: trial.values.get(name) for name, _ in summary.history.objectives}
    if summary.history.metric in found and found[summary.history.metric] is None:
        found[summary.history.metric] = summary.value(trial)
    known = {name: value for name, value in found.items() if value is not None and is_number(value)}
    return known if len(known) == len(found) else None


def picked_how(summary: Summary) -> str:
    """How the best trial was picked from the front, as plain text; empty where there is nothing to pick from."""
    front = front_of(summary)
    if not front or summary.best is None:
        return ""
    said = f"Trial {summary.best.number} was picked from the {plural(len(front), 'trial')} of the Pareto front"
    by_default = "first" if summary.best is summary.ranking[0] else ""
    how = HOW.get(summary.history.pick or by_default, "")
    return f"{said} {how.format(first=summary.history.metric)}." if how else f"{said}."


def front_section(summary: Summary) -> str:
    """The section, or nothing where there is one objective only."""
    objectives = summary.history.objectives
    if len(objectives) < 2:
        return ""
    title = "Pareto front"
    front = front_of(summary)
    trials = [trial for trial in summary.history.trials if _values(summary, trial)]
    if not trials:
        return section("front", title, "<p>No trial has a value of every objective yet.</p>")
    told = picked_how(summary) or "No trial is complete, keeps all constraints and has a value of every objective."
    pairs = list(combinations(objectives, 2))
    names = [f"front-{place}" for place in range(len(pairs))]
    figures = [data(name, _figure(summary, trials, front, *pair)) for name, pair in zip(names, pairs, strict=True)]
    options = "".join(
        f'<option value="{name}">{escape(x[0])} and {escape(y[0])}</option>'
        for name, (x, y) in zip(names, pairs, strict=True)
    )
    hidden = "" if len(pairs) > 1 else " hidden"
    chooser = (
        f'<label for="pair">Objectives</label><select id="pair" data-chooses autocomplete="off">{options}</select>'
    )
    place = '<div class="plot" style="height:400px" data-from="pair" role="img" aria-label="Pareto front"></div>'
    caption = "Of the trials of the front, none is beaten by another in every objective. Pale dots are beaten, rings "
    caption += "were pruned; crosses break a constraint."
    if len(pairs) > 1:
        caption += " With more than two objectives, the front is no line in any one picture."
    body = f'<p>{escape(told)}</p><div class="controls"{hidden}>{chooser}</div>'
    body += f"<figure>{place}<figcaption>{caption}</figcaption></figure>{''.join(figures)}{_table(summary, front)}"
    return section("front", title, body)


def _figure(
    summary: Summary,
    trials: list[TrialHistory],
    front: list[TrialHistory],
    first: tuple[str, str],
    second: tuple[str, str],
) -> Any:
    """A dot for each trial by two objectives."""
    import plotly.graph_objects as go

    values = {trial.number: _values(summary, trial) or {} for trial in trials}
    figure = blank_figure(go, height=400)
    (across, across_sense), (up, _) = first, second
    on_front = {trial.number for trial in front}
    complete = [t for t in trials if t.state is TrialState.COMPLETE and t.feasible and t.number not in on_front]
    beside = sample(sorted(complete, key=summary.merit), MOST_DOTS)
    pruned = sample([trial for trial in trials if trial.state is TrialState.PRUNED], MOST_DOTS)
    core = [*beside, *front]
    x_axis, y_axis = (
        axis_for(
            [values[trial.number][name] for trial in trials],
            [values[trial.number][name] for trial in core],
            worse=-1 if sense == "maximize" else 1,
            ratio=WIDE if sense == "maximize" else WIDE_LOSS,
        )
        for name, sense in (first, second)
    )
    if len(summary.history.objectives) == 2 and front:
        line = sorted((values[trial.number][across], values[trial.number][up]) for trial in front)
        figure.add_scatter(
            x=[x for x, _ in line],
            y=[y for _, y in line],
            mode="lines",
            line={"color": ACCENT, "width": 1.5, "shape": "vh" if across_sense == "maximize" else "hv"},
            hoverinfo="skip",
            showlegend=False,
        )
    best = [trial for trial in core if trial is summary.best]
    groups: list[tuple[str, list[TrialHistory], Mapping[str, Any]]] = [
        ("pruned", pruned, {"symbol": "circle-open", "color": GREY, "size": 6}),
        (INFEASIBLE, summary.infeasible, {"symbol": "x-thin-open", "color": GREY, "size": 7}),
        ("beaten", beside, {"symbol": "circle", "color": PALE, "size": 7}),
        ("on the front", [t for t in front if t not in best], {"symbol": "circle", "color": TINT, "size": 10}),
        ("picked", best, {"symbol": "circle", "color": ACCENT, "size": 14, "line": {"color": "#ffffff", "width": 2}}),
    ]
    for name, group, marker in groups:
        shown = [trial for trial in group if values.get(trial.number)]
        if shown:
            figure.add_scatter(
                x=[x_axis.inside(values[trial.number][across])[0] for trial in shown],
                y=[y_axis.inside(values[trial.number][up])[0] for trial in shown],
                mode="markers",
                marker=dict(marker),
                name=f"picked: trial {shown[0].number}" if name == "picked" else f"{name} ({len(shown)})",
                meta={"trials": [trial.number for trial in shown]},
                hovertemplate=f"{HOVER}<extra></extra>",
            )
    figure.update_layout(xaxis=x_axis.layout(_aim(*first)), yaxis=y_axis.layout(_aim(*second)))
    return figure


def _aim(name: str, sense: str) -> str:
    return f"{name}, {'more' if sense == 'maximize' else 'less'} is better"


def _table(summary: Summary, front: list[TrialHistory], most: int = 30) -> str:
    """The trials of the front with all their objectives."""
    names = [name for name, _ in summary.history.objectives]
    heads = "".join(f"<th>{escape(name)}</th>" for name in ["trial", *names])
    rows = ""
    for trial in front[:most]:
        values = _values(summary, trial) or {}
        cells = "".join(f"<td>{number_text(values[name]) if name in values else '–'}</td>" for name in names)
        mark = ' <span class="winner">picked</span>' if trial is summary.best else ""
        rows += f"<tr><td>{trial.number}{mark}</td>{cells}</tr>"
    more = f'<p class="note">and {len(front) - most} more</p>' if len(front) > most else ""
    table = f"<table class=plain><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll low" tabindex="0">{table}</div>{more}' if front else ""
