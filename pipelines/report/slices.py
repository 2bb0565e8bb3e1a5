"""One figure for each parameter: the value over its settings."""

from __future__ import annotations

from statistics import median
from typing import Any

from pipelines.records import TrialHistory, TrialState
from pipelines.report.figures import INK, Axis, add_dots, blank_figure, label, value_list
from pipelines.report.scales import by_factors, tick_text
from pipelines.report.summary import Summary, is_number, sample

MOST_DOTS, MOST_CATEGORIES = 3_000, 12


def slice_figure(summary: Summary, path: str, axis: Axis) -> Any:
    """The value over one parameter, for the trials that have it. Categories are columns, with a bar at the median."""
    import plotly.graph_objects as go

    trials = [t for t in summary.history.trials if path in t.params and summary.value(t) is not None]
    trials = sample(sorted(trials, key=summary.merit), MOST_DOTS)
    figure = blank_figure(go, height=270)
    settings = [trial.params[path] for trial in trials]
    if all(is_number(setting) for setting in settings):
        add_dots(figure, summary, trials, axis, lambda trial: float(trial.params[path]))
        few = sorted(set(settings)) if len(set(settings)) <= 6 else []
        ticks = {"tickvals": few, "ticktext": [tick_text(tick) for tick in few]} if few else {}
        log = path in summary.history.logarithmic or by_factors(settings)
        figure.update_xaxes(**({"type": "log", "tickformat": "~g", "dtick": 1} if log else {}) | ticks)
    else:
        groups = _categories(summary, trials, path)
        places = {trial.number: place for place, (_, group) in enumerate(groups) for trial in group}
        add_dots(figure, summary, trials, axis, lambda trial: places[trial.number] + _scatter(trial.number))
        xs: list[float | None] = []
        ys: list[float | None] = []
        for place, (_, group) in enumerate(groups):
            values = value_list(summary, [trial for trial in group if trial.state is TrialState.COMPLETE])
            if len(values) > 2:
                xs += [place - 0.32, place + 0.32, None]
                ys += [median(values)] * 2 + [None]
        figure.add_scatter(x=xs, y=ys, mode="lines", line={"color": INK, "width": 2}, hoverinfo="skip", name="median")
        names = [label(name, 14) for name, _ in groups]
        figure.update_xaxes(
            tickvals=list(range(len(names))), ticktext=names, range=[-0.6, len(names) - 0.4], showgrid=False
        )
    figure.update_layout(
        showlegend=False, yaxis=axis.layout(summary.history.metric), margin={"l": 62, "r": 8, "t": 8, "b": 40}
    )
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    return figure


def _categories(summary: Summary, trials: list[TrialHistory], path: str) -> list[tuple[str, list[TrialHistory]]]:
    """The trials by the parameter's choice, the choice with the best trial first; rare ones beyond the room joined."""
    groups: dict[str, list[TrialHistory]] = {}
    for trial in trials:
        groups.setdefault(str(trial.params[path]), []).append(trial)
    ordered = sorted(groups.items(), key=lambda item: min(summary.merit(trial) for trial in item[1]))
    if len(ordered) <= MOST_CATEGORIES:
        return ordered
    rest = [trial for _, group in ordered[MOST_CATEGORIES - 1 :] for trial in group]
    return [*ordered[: MOST_CATEGORIES - 1], (f"{len(ordered) - MOST_CATEGORIES + 1} others", rest)]


def _scatter(number: int) -> float:
    """A place in a column, -0.22 to 0.22, that is always the same for the same trial."""
    return (number * 0.618034 % 1 - 0.5) * 0.44
