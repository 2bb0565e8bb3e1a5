"""The report's page: its sections in order, each a function from the summary to HTML."""

from __future__ import annotations

from html import escape

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.report.acts import acts_table
from pipelines.report.curves import Curves, all_curves
from pipelines.report.figures import Axis, value_axis
from pipelines.report.overview import history_figure, importance_figure
from pipelines.report.parts import data, figure_html, plot, plural, section
from pipelines.report.script import JS
from pipelines.report.slices import slice_figure
from pipelines.report.style import CSS
from pipelines.report.summary import (
    Summary,
    duration_text,
    epochs_of,
    is_aside,
    is_number,
    number_text,
    params_lines,
)
from pipelines.report.surfaces import surfaces_of
from pipelines.report.tables import MOST_ROWS, facts_table, failures_list, link, trials_table

MOST_BYTES = 9_700_000
"""Of a page that opens on a phone; pictures are left out where they would not fit any more."""
MOST_SLICES = 24
MOST_NAMED = 12  # metrics that are not on the page
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAILED)
# The browser itself keeps the page from loading anything, whatever a trial's parameters contain.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


def to_html(history: StudyHistory) -> str:
    """The whole page as text: the style, plotly.js, the data and the script are inside."""
    from plotly.offline import get_plotlyjs

    summary = Summary(history)
    above = [_headline(summary), _best(summary)]
    below = [_history(summary), _importance(summary), _curves(summary), _slices(summary), _trials(summary)]
    below += [_savings(summary), _acts(summary), _failures(summary)]
    labels = data("labels", {trial.number: "<br>".join(_hover_lines(summary, trial)) for trial in history.trials})
    plotly = get_plotlyjs()
    room = MOST_BYTES - sum(len(part.encode("utf-8", "xmlcharrefreplace")) for part in (*above, *below, labels, plotly))
    sections = [*above, _surfaces(summary, room), *below]
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
{labels}
<script>{plotly}</script>
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
        lede += f"The best of {plural(counts[TrialState.COMPLETE], 'complete trial')} is trial {best.number}."
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
        reached = [f"{score.replace('_', ' ')} {number_text(value)}" for score, value in summary.scores.items()]
        tiles.append((alias, f"version {history.champion.get('version', '?')}", ", ".join([name, *reached[:1]])))
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
    if summary.scores:
        named = ", ".join(f"<code>{escape(name)}</code> {number_text(value)}" for name, value in summary.scores.items())
        parts.append(f'<p style="margin-top:18px">On the sealed test set the served model has {named}.</p>')
    if history.links:
        links = "".join(f"<li>{link(address, name)}</li>" for name, address in history.links.items())
        parts.append(f'<ul class="links">{links}</ul>')
    return "".join(parts) + "</header>"


def _best(summary: Summary) -> str:
    best = summary.best
    if not best:
        return section("best", "Best trial", "<p>No trial is complete with a value, so none can be the best.</p>")
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
        if name != summary.history.metric and not is_aside(name) and best.best_epoch in dict(best.curves.get(name, ()))
    ]
    params = [(path, number_text(best.params[path])) for path in summary.params if path in best.params]
    beaten = "".join(f"<p>{escape(sentence)}</p>" for sentence in summary.margins)
    run = f"<p>{link(address, f'Open the run of trial {best.number}')}</p>" if address else ""
    right = f"<div><h3>Parameters</h3>{facts_table(params)}</div>" if params else ""
    inside = f"<div><h3>Result</h3>{facts_table([*rows, *at_best[:6]])}</div>{right}"
    return section("best", f"Best trial: {best.number}", f'{beaten}{run}<div class="best">{inside}</div>')


def _surfaces(summary: Summary, most_bytes: int) -> str:
    surfaces = surfaces_of(summary, most_bytes)
    if surfaces is None:
        return ""
    told = "What each trial's model says of every place of the plane, at its best epoch or the nearest that was drawn; "
    told += "dots are training samples. Best first, pruned trials behind the complete ones. Click a picture to enlarge "
    told += "it, then go on with the arrow keys."
    missing = surfaces.of - surfaces.unreadable - len(surfaces.figures)
    if missing > 0:
        told += f" The {plural(len(surfaces.figures), 'best', 'best')} of {surfaces.of:,} are here; the other "
        told += f"{missing:,} would make the page too large, and are with their runs in MLflow."
    if surfaces.unreadable:
        told += f" {plural(surfaces.unreadable, 'picture is', 'pictures are')} gone from this disk."
    dialog = '<dialog id="enlarged" aria-label="A decision surface, enlarged"><figure></figure></dialog>'
    grid = f'<div class="scroll surfaces" tabindex="0">{"".join(surfaces.figures)}</div>{dialog}'
    return section("surfaces", "Decision surfaces", f'<p class="note">{told}</p>{grid}')


def _history(summary: Summary) -> str:
    if not summary.history.trials:
        return section("history", "How the search went", "<p>There is nothing to draw yet.</p>")
    axis = value_axis(summary)
    figure = history_figure(summary, axis)
    told = "Each dot is a trial; the line is the best complete trial so far. Pruned trials are rings at the best value "
    told += "they had reached, failed ones crosses at the foot."
    return section("history", "How the search went", figure_html("history", figure, told + _beyond(axis)))


def _importance(summary: Summary) -> str:
    title = "Which parameters mattered"
    if not any(is_number(share) for share in summary.history.importances.values()):
        count = len(summary.ranking)
        told = f"Too few trials to tell: {plural(count, 'trial is', 'trials are')} complete with a value. "
        return section("importance", title, f"<p>{told}More trials, or more variation in them, would show it.</p>")
    told = (
        "The share of the objective's variance that each parameter explains. It says what mattered within the ranges "
    )
    told += "that were searched, not which way to turn it."
    return section("importance", title, figure_html("importance", importance_figure(summary), told))


def _curves(summary: Summary) -> str:
    drawn, missing = all_curves(summary)
    if not drawn:
        return section("curves", "Curves of all trials", "<p>No trial has finished an epoch yet.</p>")
    parts, notes = [], []
    options: dict[str, list[str]] = {}
    for place, (metric, curves) in enumerate(drawn.items()):
        name = f"curves-{place}"
        parts.append(data(name, curves.figure))
        group, _, short = metric.partition("/") if is_aside(metric) and place else ("", "", metric)
        options.setdefault(group, []).append(f'<option value="{name}">{escape(short)}</option>')
        hidden = "" if place == 0 else " hidden"
        notes.append(f'<figcaption data-note-of="{name}"{hidden}>{_thinned(curves)}{_hidden(curves.axis)}</figcaption>')
    if missing:
        named = ", ".join(escape(name) for name in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        notes.append(f"<figcaption>Not on this page: {named}{more}.</figcaption>")
    groups = [
        f'<optgroup label="{escape(group)}">{"".join(items)}</optgroup>' if group else "".join(items)
        for group, items in options.items()
    ]
    chooser = f'<label for="metric">Metric</label><select id="metric" autocomplete="off">{"".join(groups)}</select>'
    height = 'style="height:430px" data-from="metric" role="img" aria-label="Curves of all trials"'
    body = f'<div class="controls">{chooser}</div><figure><div class="plot" {height}></div>{"".join(notes)}</figure>'
    return section("curves", "Curves of all trials", body + "".join(parts))


def _slices(summary: Summary) -> str:
    paths = list(summary.params)
    drawn = [p for p in paths if any(p in t.params and summary.value(t) is not None for t in summary.history.trials)]
    if not drawn or sum(summary.value(trial) is not None for trial in summary.history.trials) < 2:
        return section(
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
        boxes.append(f"<figure>{head}{plot(f'slice-{place}', slice_figure(summary, path, axis), path)}</figure>")
    told = "One dot a trial, the important parameters first. A parameter that exists only in one branch of the search "
    told += "space shows the trials of that branch; bars mark the median of complete trials."
    if len(drawn) > MOST_SLICES:
        told += f" {len(drawn) - MOST_SLICES} more parameters are in the table below."
    body = f'<p class="note">{told}{_beyond(axis)}</p><div class="slices">{"".join(boxes)}</div>'
    return section("slices", "Value by parameter", body)


def _trials(summary: Summary) -> str:
    if not summary.history.trials:
        return section("trials", "All trials", "<p>There are none yet.</p>")
    count = len(summary.history.trials)
    told = f"The {MOST_ROWS:,} best of {count:,} trials. " if count > MOST_ROWS else ""
    told += "Click a heading to sort by it, once more to turn the order around."
    search = '<input type="search" id="search" placeholder="Filter: pruned, adam, …" aria-label="Filter the trials">'
    controls = f'<div class="controls">{search}<span id="found" class="note" role="status"></span></div>'
    body = f'<p class="note">{told}</p>{controls}<div class="scroll" tabindex="0">{trials_table(summary)}</div>'
    return section("trials", "All trials", body)


def _savings(summary: Summary) -> str:
    saved, pruned = summary.saved, len(summary.in_state(TrialState.PRUNED))
    if not saved:
        why = "No trial was pruned." if not pruned else "No trial is complete, so there is no length to compare with."
        return section("pruning", "What pruning saved", f"<p>{why}</p>")
    told = f"{plural(pruned, 'trial')} stopped early. Had each gone on for {plural(saved.usual, 'epoch')}, the median "
    told += f"of the complete trials, {plural(saved.epochs, 'more epoch')} would have been trained: "
    told += f"{saved.share:.0%} of the work was saved"
    told += f", about {duration_text(saved.seconds)} of training." if saved.seconds else "."
    trained, spared = max(saved.trained, 1), max(saved.epochs, 0)
    bar = f'<i class="complete" style="flex:{trained}"></i>' + (f'<i style="flex:{spared}"></i>' if spared else "")
    key = f'<li><i class="complete"></i>{saved.trained:,} epochs trained</li><li><i></i>{saved.epochs:,} saved</li>'
    body = f'<p>{told}</p><div class="bar" aria-hidden="true">{bar}</div><ul class="key">{key}</ul>'
    return section("pruning", "What pruning saved", body)


def _acts(summary: Summary) -> str:
    table = acts_table(summary.history.trials)
    if table is None:
        return ""
    told = "Counted over the last attempt of every trial; of one trial, at most 400 acts are known."
    return section("acts", "What callbacks did", f'<p class="note">{told}</p><div class="scroll">{table}</div>')


def _failures(summary: Summary) -> str:
    failed = summary.in_state(TrialState.FAILED)
    if not failed:
        return ""
    return section("failed", f"Failed trials: {len(failed)}", failures_list(failed))


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
        told += f" {plural(axis.hidden, 'point lies', 'points lie')} outside the axis; a double click shows all."
    return told


def _beyond(axis: Axis) -> str:
    told = " The axis is logarithmic." if axis.log else ""
    if axis.hidden:
        told += f" {plural(axis.hidden, 'trial')} beyond the axis: drawn at its edge, as triangles."
    return told
