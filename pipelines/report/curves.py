"""All trials' curves of one metric, thinned to what a page can carry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipelines.metrics import direction_of
from pipelines.records import TrialHistory, TrialState
from pipelines.report.figures import (
    ACCENT,
    GREY,
    HOVER,
    INFEASIBLE,
    PALE,
    TINT,
    WARN,
    WIDE,
    WIDE_LOSS,
    Axis,
    axis_for,
    blank_figure,
    count_axis,
)
from pipelines.report.summary import Summary, is_aside, is_number, sample, thin

MOST_POINTS = 24_000  # of one metric's curves: what a phone still draws without a pause
MOST_POINTS_EMBEDDED = 240_000  # of all metrics' curves together, so that the page stays under 10 MB
MOST_POINTS_ASIDE = 80_000  # of metrics that look into a model, as far as there is room once the others are drawn
MOST_CURVES = 1_000
MOST_METRICS, MOST_ASIDE = 20, 60
FEWEST_POINTS = 12  # of one trial's curve
LARGEST = 1e37  # points travel as float32


@dataclass(frozen=True)
class Curves:
    """One metric's curves: the figure, and what a sentence below it must own up to."""

    figure: Any
    axis: Axis
    drawn: int
    of: int
    most_points: int | None
    points: int


def all_curves(summary: Summary) -> tuple[dict[str, Curves], list[str]]:
    """The curves of every metric that the page has room for, the objective first, and the metrics that are left out.

    Metrics with a `/` in their names take none of the others' room: they come in order, as far as what is left lasts.
    """
    plain = [metric for metric in summary.metrics if not is_aside(metric) or metric == summary.history.metric]
    aside = [metric for metric in summary.metrics if metric not in plain]
    budget = min(MOST_POINTS, MOST_POINTS_EMBEDDED // max(1, len(plain)))
    drawn = {metric: curves_figure(summary, metric, budget) for metric in plain[:MOST_METRICS]}
    left = min(MOST_POINTS_ASIDE, MOST_POINTS_EMBEDDED - sum(curves.points for curves in drawn.values()))
    most = min(len(aside), MOST_ASIDE, left // (FEWEST_POINTS * max(1, min(MOST_CURVES, len(summary.history.trials)))))
    for metric in aside[: max(0, most)]:
        drawn[metric] = curves_figure(summary, metric, min(budget, left // most))
    return drawn, [metric for metric in summary.metrics if metric not in drawn]


def curves_figure(summary: Summary, metric: str, budget: int) -> Curves:
    """All trials' curves of `metric` over epochs: pruned dashed and grey, complete in a tint, the best on top.

    They are thinned to about `budget` points in all; the best trial's is whole.
    """
    import plotly.graph_objects as go

    having = sorted((t for t in summary.history.trials if t.curves.get(metric)), key=summary.merit)
    trials = sample(having, MOST_CURVES)
    most = max(FEWEST_POINTS, budget // max(1, len(trials)))
    thinned = any(len(trial.curves[metric]) > most for trial in trials)
    points = {trial.number: thin(trial.curves[metric], most, trial.best_epoch) for trial in trials}
    best = summary.best if summary.best in trials else None
    if best:
        points[best.number] = list(best.curves[metric])
    lower_is_better = direction_of(metric) == "minimize" or (metric == summary.history.metric and not summary.maximize)
    drawn = [value for stretch in points.values() for _, value in stretch]
    axis = axis_for(drawn, ratio=WIDE_LOSS if lower_is_better else WIDE)

    last = max(epoch for stretch in points.values() for epoch, _ in stretch)
    figure = blank_figure(go, height=430)
    complete = [
        trial for trial in trials if trial.state is TrialState.COMPLETE and trial is not best and trial.feasible
    ]
    broken = [trial for trial in trials if trial.state is TrialState.COMPLETE and not trial.feasible]
    leading = complete[: len(complete) // 10] if len(complete) > 60 else complete
    following = complete[len(leading) :]
    by_state = {state: [trial for trial in trials if trial.state is state] for state in TrialState}
    thick = 1.2 if len(trials) < 100 else 0.8
    others = "other complete" if best else "complete"
    for name, group, color, dash in (
        ("failed", by_state[TrialState.FAILED], WARN, "dot"),
        (INFEASIBLE, broken, GREY, "dot"),
        ("other complete", following, PALE, "solid"),
        ("pruned", by_state[TrialState.PRUNED], GREY, "dash"),
        ("running", by_state[TrialState.RUNNING], TINT, "dashdot"),
        ("the best tenth" if following else others, leading, TINT, "solid"),
    ):
        if group:
            style = {"line": {"color": color, "dash": dash, "width": thick}, "opacity": 0.5 if dash == "dash" else 0.9}
            _add_curves(figure, group, points, f"{name} ({len(group)})", style)
    if best:
        _add_curves(figure, [best], points, f"best: trial {best.number}", {"line": {"color": ACCENT, "width": 3}})
        at_best = [point for point in points[best.number] if point[0] == best.best_epoch and is_number(point[1])]
        ring = {"color": ACCENT, "size": 10, "line": {"color": "#ffffff", "width": 2}}
        figure.add_scatter(
            x=[epoch for epoch, _ in at_best],
            y=[value for _, value in at_best],
            mode="markers",
            marker=ring,
            showlegend=False,
            meta={"trials": [best.number] * len(at_best)},
            hovertemplate=f"{HOVER}best epoch %{{x}}: %{{y:.5~g}}<extra></extra>",
        )
    figure.update_layout(xaxis=count_axis("epoch, counted from 0", last), yaxis=axis.layout(metric))
    count = sum(map(len, points.values()))
    return Curves(figure, axis, len(trials), len(having), most if thinned else None, count)


def _add_curves(
    figure: Any,
    trials: list[TrialHistory],
    points: dict[int, list[tuple[int, float]]],
    name: str,
    style: dict[str, Any],
) -> None:
    """All the curves as one trace with a gap after each, which is many times quicker than a trace for each."""
    import numpy as np

    lengths = [len(points[trial.number]) + 1 for trial in trials]
    joined = [point for trial in trials for point in (*points[trial.number], (points[trial.number][-1][0], math.nan))]
    x = np.array([epoch for epoch, _ in joined], dtype=np.int32)
    y = np.array([value if abs(value) < LARGEST else math.nan for _, value in joined], dtype=np.float32)
    meta = {"trials": [trial.number for trial in trials], "lengths": lengths}
    template = HOVER + "epoch %{x}: %{y:.5~g}<extra></extra>"
    shared = {"name": name, "legendgroup": name, "hovertemplate": template}
    figure.add_scatter(x=x, y=y, mode="lines", meta=meta, **shared, **style)
    known = np.isfinite(y)
    alone = known & ~np.r_[False, known[:-1]] & ~np.r_[known[1:], False]
    if alone.any():  # a line of one point is not drawn
        owners = np.repeat(np.array(meta["trials"]), lengths)[alone]
        marker = {"color": style["line"]["color"], "size": 5}
        figure.add_scatter(
            x=x[alone],
            y=y[alone],
            mode="markers",
            marker=marker,
            showlegend=False,
            meta={"trials": owners.tolist()},
            opacity=style.get("opacity"),
            **shared,
        )
