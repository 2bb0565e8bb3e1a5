"""The report's page: its sections in order, each a function from the summary to HTML."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.report.curves import Curves, curves_figure
from pipelines.report.figures import Axis, value_axis
from pipelines.report.overview import history_figure, importance_figure
from pipelines.report.script import JS
from pipelines.report.slices import slice_figure
from pipelines.report.style import CSS
from pipelines.report.summary import Summary, duration_text, epochs_of, is_number, number_text, params_lines
from pipelines.report.tables import MOST_ROWS, facts_table, failures_list, link, metrics_rows, trials_table

MOST_SLICES = 24
MOST_METRICS = 20
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAILED)
# The browser itself keeps the page from loading anything, whatever a trial's parameters contain.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def to_html(history: StudyHistory) -> str:
    """The whole page as text: the style, plotly.js, the data and the script are inside."""
    from plotly.offline import get_plotlyjs

    summary = Summary(history)
    sections = [_headline(summary), _best(summary), _history(summary), _importance(summary), _curves(summary)]
    sections += [_slices(summary), _trials(summary), _savings(summary), _failures(summary)]
    labels = {trial.number: "<br>".join(_hover_lines(summary, trial)) for trial in history.trials}
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(history.study)}: sweep report</title>
<style>{CSS}</style>
</head>
<body>
<main>
{"".join(sections)}
<footer>Epochs count from 0, as they do in MLflow. A pruned trial was stopped by the study and never wins.
Everything on this page is in this file.</footer>
</main>
{_data("labels", labels)}
<script>{get_plotlyjs()}</script>
<script>{JS}</script>
</body>
</html>
"""


def _headline(summary: Summary) -> str:
    history, best = summary.history, summary.best
    aim = "Maximizing" if summary.maximize else "Minimizing"
    counts = {state: len(summary.in_state(state)) for state in STATES}
    said = [f"{count:,} {state.value.lower()}" for state, count in counts.items() if count or state in STATES[:2]]
    lede = f"{aim} <code>{escape(history.metric)}</code>. "
    if best:
        lede += f"The best of {_plural(counts[TrialState.COMPLETE], 'complete trial')} is trial {best.number}."
    else:
        lede += "No trial is complete with a value yet." if history.trials else "No trial was run yet."
    tiles = [(f"best {history.metric}", number_text(summary.value(best)), f"trial {best.number}")] if best else []
    tiles.append(("trials", f"{len(history.trials):,}", ", ".join(said)))
    if history.seconds is not None:
        tiles.append(("wall time", duration_text(history.seconds), ""))
    if summary.saved and summary.saved.epochs:
        tiles.append(("saved by pruning", f"{summary.saved.share:.0%}", "of all epochs"))
    if history.champion:
        name, alias = str(history.champion.get("name", "")), str(history.champion.get("alias", "champion"))
        tiles.append((alias, f"version {history.champion.get('version', '?')}", name))
    boxes = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}<small>{escape(small)}</small></dd></div>"
        for name, text, small in tiles
    )
    parts = [
        '<header><p class="eyebrow">Sweep report</p>',
        f'<h1>{escape(history.study)}</h1><p class="lede">{lede}</p>',
        f'<dl class="tiles">{boxes}</dl>',
    ]
    present = [(state.value.lower(), count) for state, count in counts.items() if count]
    if present:
        bar = "".join(f'<i class="{name}" style="flex:{count}"></i>' for name, count in present)
        key = "".join(f'<li><i class="{name}"></i>{count:,} {name}</li>' for name, count in present)
        parts.append(f'<div class="bar" aria-hidden="true">{bar}</div><ul class="key">{key}</ul>')
    if history.champion:
        tests = metrics_rows(history.champion, "test_")
        if tests:
            named = ", ".join(f"<code>{escape(name)}</code> {escape(text)}" for name, text in tests)
            parts.append(f'<p style="margin-top:18px">On the sealed test set the served model has {named}.</p>')
    if history.links:
        links = "".join(f"<li>{link(address, name)}</li>" for name, address in history.links.items())
        parts.append(f'<ul class="links">{links}</ul>')
    return "".join(parts) + "</header>"


def _best(summary: Summary) -> str:
    best = summary.best
    if not best:
        return _section("best", "Best trial", "<p>No trial is complete with a value, so none can be the best.</p>")
    address = summary.run_address(best)
    rows = [
        (summary.history.metric, number_text(summary.value(best), 7)),
        ("best epoch", f"{best.best_epoch if best.best_epoch is not None else '–'} of {epochs_of(best)} trained"),
        *([("time", duration_text(best.seconds))] if best.seconds is not None else []),
        *([("run", best.run_id)] if best.run_id else []),
    ]
    at_best = [
        (name, number_text(dict(best.curves[name]).get(best.best_epoch)))
        for name in summary.metrics
        if name != summary.history.metric and best.best_epoch in dict(best.curves.get(name, ()))
    ]
    params = [(path, number_text(best.params[path])) for path in summary.params if path in best.params]
    beaten = "".join(f"<p>{escape(sentence)}</p>" for sentence in summary.margins)
    run = f"<p>{link(address, f'Open the run of trial {best.number}')}</p>" if address else ""
    right = f"<div><h3>Parameters</h3>{facts_table(params)}</div>" if params else ""
    inside = f"<div><h3>Result</h3>{facts_table([*rows, *at_best[:6]])}</div>{right}"
    return _section("best", f"Best trial: {best.number}", f'{beaten}{run}<div class="best">{inside}</div>')


def _history(summary: Summary) -> str:
    if not summary.history.trials:
        return _section("history", "How the search went", "<p>There is nothing to draw yet.</p>")
    axis = value_axis(summary)
    figure = history_figure(summary, axis)
    told = "Each dot is a trial; the line is the best complete trial so far. Pruned trials are rings at the best value "
    told += "they had reached, failed ones crosses at the foot."
    return _section("history", "How the search went", _figure_html("history", figure, told + _beyond(axis)))


def _importance(summary: Summary) -> str:
    title = "Which parameters mattered"
    if not any(is_number(share) for share in summary.history.importances.values()):
        count = len(summary.ranking)
        told = f"Too few trials to tell: {_plural(count, 'trial is', 'trials are')} complete with a value. "
        return _section("importance", title, f"<p>{told}More trials, or more variation in them, would show it.</p>")
    told = (
        "The share of the objective's variance that each parameter explains. It says what mattered within the ranges "
    )
    told += "that were searched, not which way to turn it."
    return _section("importance", title, _figure_html("importance", importance_figure(summary), told))


def _curves(summary: Summary) -> str:
    metrics = summary.metrics[:MOST_METRICS]
    if not metrics:
        return _section("curves", "Curves of all trials", "<p>No trial has finished an epoch yet.</p>")
    parts, options, notes = [], [], []
    for place, metric in enumerate(metrics):
        curves = curves_figure(summary, metric)
        name = f"curves-{place}"
        parts.append(_data(name, curves.figure))
        options.append(f'<option value="{name}">{escape(metric)}</option>')
        hidden = "" if place == 0 else " hidden"
        notes.append(f'<figcaption data-note-of="{name}"{hidden}>{_thinned(curves)}{_hidden(curves.axis)}</figcaption>')
    left_out = ", ".join(escape(name) for name in summary.metrics[MOST_METRICS:])
    if left_out:
        notes.append(f"<figcaption>Not on this page: {left_out}.</figcaption>")
    chooser = f'<label for="metric">Metric</label><select id="metric" autocomplete="off">{"".join(options)}</select>'
    height = 'style="height:430px" data-from="metric" role="img" aria-label="Curves of all trials"'
    body = f'<div class="controls">{chooser}</div><figure><div class="plot" {height}></div>{"".join(notes)}</figure>'
    return _section("curves", "Curves of all trials", body + "".join(parts))


def _slices(summary: Summary) -> str:
    paths = list(summary.params)
    drawn = [p for p in paths if any(p in t.params and summary.value(t) is not None for t in summary.history.trials)]
    if not drawn or sum(summary.value(trial) is not None for trial in summary.history.trials) < 2:
        return _section(
            "slices", "Value by parameter", "<p>It takes two trials with parameters and values to compare.</p>"
        )
    axis = value_axis(summary)
    boxes = []
    for place, path in enumerate(drawn[:MOST_SLICES]):
        having = sum(path in trial.params for trial in summary.history.trials)
        some = (
            f" in {having:,} of {len(summary.history.trials):,} trials" if having < len(summary.history.trials) else ""
        )
        head = f'<h3 title="{escape(path)}">{escape(summary.params[path])} <span class="note">{some}</span></h3>'
        boxes.append(f"<figure>{head}{_plot(f'slice-{place}', slice_figure(summary, path, axis), path)}</figure>")
    told = "One dot a trial, the important parameters first. A parameter that exists only in one branch of the search "
    told += "space shows the trials of that branch; bars mark the median of complete trials."
    if len(drawn) > MOST_SLICES:
        told += f" {len(drawn) - MOST_SLICES} more parameters are in the table below."
    body = f'<p class="note">{told}{_beyond(axis)}</p><div class="slices">{"".join(boxes)}</div>'
    return _section("slices", "Value by parameter", body)


def _trials(summary: Summary) -> str:
    if not summary.history.trials:
        return _section("trials", "All trials", "<p>There are none yet.</p>")
    count = len(summary.history.trials)
    told = f"The {MOST_ROWS:,} best of {count:,} trials. " if count > MOST_ROWS else ""
    told += "Click a heading to sort by it, once more to turn the order around."
    search = '<input type="search" id="search" placeholder="Filter: pruned, adam, …" aria-label="Filter the trials">'
    controls = f'<div class="controls">{search}<span id="found" class="note" role="status"></span></div>'
    body = f'<p class="note">{told}</p>{controls}<div class="scroll" tabindex="0">{trials_table(summary)}</div>'
    return _section("trials", "All trials", body)


def _savings(summary: Summary) -> str:
    saved, pruned = summary.saved, len(summary.in_state(TrialState.PRUNED))
    if not saved:
        why = "No trial was pruned." if not pruned else "No trial is complete, so there is no length to compare with."
        return _section("pruning", "What pruning saved", f"<p>{why}</p>")
    told = (
        f"{_plural(pruned, 'trial')} stopped early. Had each gone on for {_plural(saved.usual, 'epoch')}, the median "
    )
    told += f"of the complete trials, {_plural(saved.epochs, 'more epoch')} would have been trained: "
    told += f"{saved.share:.0%} of the work was saved"
    told += f", about {duration_text(saved.seconds)} of training." if saved.seconds else "."
    trained, spared = max(saved.trained, 1), max(saved.epochs, 0)
    bar = f'<i class="complete" style="flex:{trained}"></i>' + (f'<i style="flex:{spared}"></i>' if spared else "")
    key = f'<li><i class="complete"></i>{saved.trained:,} epochs trained</li><li><i></i>{saved.epochs:,} saved</li>'
    body = f'<p>{told}</p><div class="bar" aria-hidden="true">{bar}</div><ul class="key">{key}</ul>'
    return _section("pruning", "What pruning saved", body)


def _failures(summary: Summary) -> str:
    failed = summary.in_state(TrialState.FAILED)
    if not failed:
        return ""
    return _section("failed", f"Failed trials: {len(failed)}", failures_list(failed))


def _section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>\n'


def _figure_html(name: str, figure: Any, caption: str) -> str:
    return f"<figure>{_plot(name, figure, caption)}<figcaption>{caption}</figcaption></figure>"


def _plot(name: str, figure: Any, told: str) -> str:
    place = f'class="plot" data-figure="figure-{name}" style="height:{figure.layout.height}px"'
    return f'<div {place} role="img" aria-label="{escape(told)}"></div>{_data(f"figure-{name}", figure)}'


def _data(name: str, content: Any) -> str:
    """JSON inside the page; no `<` of it can end the script element."""
    text = json.dumps(content) if isinstance(content, dict) else content.to_json(engine="json")
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _hover_lines(summary: Summary, trial: TrialHistory) -> list[str]:
    value = summary.value(trial)
    words = f"trial {trial.number}, {trial.state.value.lower()}"
    first = f"<b>{words}</b>" + ("" if value is None else f": {number_text(value)}")
    reason = [trial.reason.splitlines()[0][:90]] if trial.reason and trial.state is TrialState.FAILED else []
    lines = [line if len(line) <= 70 else line[:69] + "…" for line in params_lines(trial.params, summary.params)]
    return [first, *(escape(line, quote=False) for line in [*reason, *lines])]


def _thinned(curves: Curves) -> str:
    told = "The thick line is the best trial; dashed grey ones were pruned."
    if curves.drawn < curves.of:
        told += f" {curves.drawn:,} of {curves.of:,} curves are drawn: the best, and an even choice of the others."
    if curves.most_points:
        told += f" Curves are thinned to {curves.most_points} points each; the best trial's is whole."
    return told


def _hidden(axis: Axis) -> str:
    told = " The axis is logarithmic." if axis.log else ""
    if axis.hidden:
        told += f" {_plural(axis.hidden, 'point lies', 'points lie')} outside the axis; a double click shows all."
    return told


def _beyond(axis: Axis) -> str:
    told = " The axis is logarithmic." if axis.log else ""
    if axis.hidden:
        told += f" {_plural(axis.hidden, 'trial')} beyond the axis: drawn at its edge, as triangles."
    return told


def _plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
