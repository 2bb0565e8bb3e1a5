"""Two figures of the whole study: how the search went, and what mattered."""

from __future__ import annotations

from html import escape
from typing import Any

from pipelines.records import TrialState
from pipelines.report.figures import ACCENT, HOVER, WARN, Axis, add_dots, blank_figure, count_axis, label
from pipelines.report.summary import Summary, is_number


def history_figure(summary: Summary, axis: Axis) -> Any:
    """Each trial's value over its number, with the best so far; failed trials are crosses at the foot."""
    import plotly.graph_objects as go

    figure = blank_figure(go, height=340)
    valued = [trial for trial in summary.history.trials if summary.value(trial) is not None]
    best_so_far: list[tuple[int, float]] = []
    for trial in sorted(summary.ranking, key=lambda trial: trial.number):
        value = summary.value(trial)
        if value is not None and (not best_so_far or (value > best_so_far[-1][1]) == summary.maximize):
            best_so_far.append((trial.number, value))
    if best_so_far:
        best_so_far.append((max(trial.number for trial in summary.history.trials), best_so_far[-1][1]))
        xs, ys = zip(*best_so_far, strict=True)
        line = {"color": ACCENT, "width": 2, "shape": "hv"}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="best so far", hoverinfo="skip")
    add_dots(figure, summary, valued, axis, lambda trial: trial.number)
    failed = summary.in_state(TrialState.FAILED)
    if failed:
        marker = {"symbol": "x-thin", "size": 8, "line": {"color": WARN, "width": 2}}
        figure.add_scatter(
            x=[trial.number for trial in failed],
            y=[0.03] * len(failed),
            yaxis="y2",
            mode="markers",
            marker=marker,
            name=f"failed ({len(failed)})",
            meta={"trials": [t.number for t in failed]},
            hovertemplate=f"{HOVER}<extra></extra>",
        )
    figure.update_layout(
        xaxis=count_axis("trial", max(trial.number for trial in summary.history.trials)),
        yaxis=axis.layout(summary.history.metric),
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    )
    return figure


def importance_figure(summary: Summary) -> Any:
    """Bars of the share of the objective's variance that each parameter explains, the largest on top."""
    import plotly.graph_objects as go

    shares = [(path, summary.history.importances.get(path)) for path in summary.params]
    bars = [(path, share) for path, share in shares if share is not None and is_number(share)][:20]
    figure = blank_figure(go, height=60 + 30 * len(bars))
    figure.add_bar(
        x=[share for _, share in bars],
        y=[label(summary.params[path], 34) for path, _ in bars],
        orientation="h",
        marker={"color": ACCENT},
        text=[f"{share:.0%}" for _, share in bars],
        textposition="outside",
        cliponaxis=False,
        customdata=[escape(path, quote=False) for path, _ in bars],
        hovertemplate="%{customdata}: %{x:.1%}<extra></extra>",
    )
    figure.update_layout(
        xaxis={
            "tickformat": ".0%",
            "range": [0, 1.16 * max(share for _, share in bars)],
            "title": {"text": "share of the objective's variance"},
        },
        yaxis={"autorange": "reversed", "showgrid": False, "automargin": True},
        bargap=0.4,
    )
    return figure
