"""What the report's figures share: colours, axes, and trials drawn as dots.

Every figure keeps to one accent colour: the best is in it, complete trials are in a paler tint of it, pruned ones are
grey. Hover texts are not in the figures, for a thousand trials times fifty epochs would repeat them fifty times: a
trace's `meta` names the trial of each point (or, with `lengths`, of each stretch of points) and the page fills in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pipelines.records import TrialHistory, TrialState
from pipelines.report.summary import Summary, is_number

ACCENT, TINT, PALE = "#0b7285", "#74aebb", "#cfe3e7"
GREY, WARN, INK, MUTED, GRID = "#9aa4ae", "#b4452f", "#1c2530", "#66717d", "#e6e9ed"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
HOVER = "%{text}<br>"
INFEASIBLE = "breaks a constraint"
WIDE, WIDE_LOSS = 100.0, 30.0  # a loss nears 0, where what matters is by which factor; an accuracy does not


@dataclass(frozen=True)
class Axis:
    """How a value axis is cut: `span` in the axis's own units (powers of ten where `log`), None where it fits all."""

    log: bool = False
    span: tuple[float, float] | None = None
    hidden: int = 0

    def layout(self, title: str) -> dict[str, Any]:
        """The axis as Plotly wants it."""
        kind = {"type": "log", "tickformat": "~g"} if self.log else {"type": "linear"}
        cut = {"range": list(self.span)} if self.span else {}
        return {"title": {"text": escape(title, quote=False)}} | kind | cut

    def inside(self, value: float) -> tuple[float, int]:
        """The value, or the edge that it lies beyond and which one that is: 1 above, -1 below, 0 for neither."""
        if not self.span:
            return value, 0
        low, high = self.span
        place = math.log10(value) if self.log else value
        if low <= place <= high:
            return value, 0
        edge = low + (high - low) * (0.02 if place < low else 0.98)
        return (10.0**edge if self.log else edge), (1 if place > high else -1)


def axis_for(values: Sequence[float], core: Sequence[float] = (), worse: int = 0, ratio: float = WIDE) -> Axis:
    """Takes a log axis where values span more than `ratio` times, and cuts off what would flatten all the rest.

    Args:
        values: What is drawn.
        core: The values that set the scale; all of them, if fewer than three are given.
        worse: 1 or -1 to leave some room above or below the core, for values that are worse.
        ratio: Of the largest value of the core to the smallest, above which the axis is logarithmic unless something
            drawn is 0 or below.
    """
    drawn = sorted(value for value in values if is_number(value))
    if not drawn:
        return Axis()
    ordered = sorted(value for value in core if is_number(value)) if len(core) > 2 else drawn
    log = drawn[0] > 0 and ordered[-1] / ordered[0] > ratio
    if log:
        drawn, ordered = [math.log10(value) for value in drawn], [math.log10(value) for value in ordered]
    last = len(ordered) - 1
    low, high = ordered[round(0.03 * last)], ordered[round(0.97 * last)]
    low, high = (ordered[0] if worse > 0 else low), (ordered[-1] if worse < 0 else high)  # the best is never cut off
    if drawn[-1] / 4 - drawn[0] / 4 <= high - low:
        return Axis(log=log)
    room = (high - low) or abs(high) * 0.05 or 1.0
    span = (low - room * (0.5 if worse < 0 else 0.14), high + room * (0.5 if worse > 0 else 0.14))
    return Axis(log, span, hidden=sum(not span[0] <= value <= span[1] for value in drawn))


def value_axis(summary: Summary) -> Axis:
    """The axis of all figures that show trials' values: complete trials set its scale."""
    values = value_list(summary, summary.history.trials)
    core, ratio = value_list(summary, summary.ranking), WIDE if summary.maximize else WIDE_LOSS
    return axis_for(values, core, worse=-1 if summary.maximize else 1, ratio=ratio)


def add_dots(
    figure: Any, summary: Summary, trials: list[TrialHistory], axis: Axis, x: Callable[[TrialHistory], float]
) -> None:
    """One trace for each state, the best on top with a name of its own; what lies beyond the axis is a triangle.

    Complete trials that break a constraint are crosses.
    """
    groups: list[tuple[str, list[TrialHistory], dict[str, Any]]] = []
    size = 7 if len(trials) < 200 else 5
    broken = {trial.number for trial in summary.infeasible}
    for name, among, color, form in (
        ("pruned", TrialState.PRUNED, GREY, "circle-open"),
        ("running", TrialState.RUNNING, WARN, "circle-open"),
        (INFEASIBLE, TrialState.COMPLETE, GREY, "x-thin-open"),
        ("complete", TrialState.COMPLETE, TINT, "circle"),
    ):
        group = [trial for trial in trials if trial.state is among and trial is not summary.best]
        group = [t for t in group if among is not TrialState.COMPLETE or (t.number in broken) == (name == INFEASIBLE)]
        group.sort(key=lambda trial: abs(axis.inside(summary.value(trial) or 0.0)[1]))  # the legend shows the first
        edges = [axis.inside(value)[1] for value in value_list(summary, group)]
        hollow = "-open" if form.endswith("-open") else ""
        symbols = [(form, f"triangle-up{hollow}", f"triangle-down{hollow}")[edge] for edge in edges]
        style = {"color": color, "symbol": symbols, "size": size, "line": {"color": color, "width": 1.3}}
        told = "other complete" if name == "complete" and summary.best in trials else name
        groups.append((f"{told} ({len(group)})", group, style))
    best = [trial for trial in trials if trial is summary.best]
    ring = {"symbol": "circle", "color": ACCENT, "size": 12, "line": {"color": "#ffffff", "width": 2}}
    groups.append((f"best: trial {best[0].number}" if best else "", best, ring))
    for name, group, marker in groups:
        if group:
            figure.add_scatter(
                x=[x(trial) for trial in group],
                y=[axis.inside(value)[0] for value in value_list(summary, group)],
                mode="markers",
                marker=marker,
                name=name,
                meta={"trials": [trial.number for trial in group]},
                hovertemplate=f"{HOVER}<extra></extra>",
            )


def value_list(summary: Summary, trials: Sequence[TrialHistory]) -> list[float]:
    """The values of those trials that have one."""
    return [value for value in map(summary.value, trials) if value is not None]


def count_axis(title: str, largest: int) -> dict[str, Any]:
    """An axis of whole numbers from 0 to `largest`."""
    every = {"dtick": 1, "range": [-0.5, largest + 0.5]} if largest < 10 else {}
    return {"title": {"text": title}, "tickformat": "d"} | every


def label(text: str, most: int) -> str:
    """`text` for a figure, at most `most` letters of it, so that Plotly takes nothing in it for markup."""
    return escape(text if len(text) <= most else text[: most - 1] + "…", quote=False)


def blank_figure(go: Any, height: int) -> Any:
    """A figure without data, `height` pixels high and as wide as the page lets it be."""
    figure = go.Figure()
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "title": {"font": {"color": MUTED, "size": 12}},
        "tickfont": {"color": MUTED, "size": 11.5},
        "exponentformat": "power",
        "minexponent": 6,
        "separatethousands": True,
        "automargin": True,
    }
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 62, "r": 12, "t": 8, "b": 44},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": MUTED, "size": 12}},
        hoverlabel={
            "align": "left",
            "bgcolor": "#ffffff",
            "bordercolor": GRID,
            "font": {"family": FONT, "color": INK, "size": 12},
        },
        hovermode="closest",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": ACCENT},
        xaxis=axis,
        yaxis=axis,
    )
    return figure
