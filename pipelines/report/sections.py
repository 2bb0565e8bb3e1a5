"""The sections of the page that show all trials, each a function from the summary to HTML."""

from __future__ import annotations

from collections import Counter
from html import escape

from pipelines.records import TrialState
from pipelines.report.acts import acts_table
from pipelines.report.curves import Curves, all_curves
from pipelines.report.figures import Axis, value_axis
from pipelines.report.overview import history_figure, importance_figure
from pipelines.report.parallel import parallel_of, parallel_told
from pipelines.report.parts import data, figure_html, plot, plural, section
from pipelines.report.slices import slice_figure
from pipelines.report.summary import Summary, duration_text, is_aside, is_number
from pipelines.report.surfaces import surfaces_of
from pipelines.report.tables import MOST_ROWS, trials_table

MOST_SLICES = 24
MOST_NAMED = 12  # metrics that are not on the page


def surfaces_section(summary: Summary, most_bytes: int) -> str:
    """Every trial's picture of the plane; nothing where there are none."""
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


def history_section(summary: Summary) -> str:
    """Value over trials."""
    if not summary.history.trials:
        return section("history", "How the search went", "<p>There is nothing to draw yet.</p>")
    axis = value_axis(summary)
    figure = history_figure(summary, axis)
    told = "Each dot is a trial; the line is the best complete trial so far. Pruned trials are rings at the best value "
    told += "they had reached, failed ones crosses at the foot."
    return section("history", "How the search went", figure_html("history", figure, told + _beyond(axis)))


def importance_section(summary: Summary) -> str:
    """Which parameters explain the objective."""
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


def curves_section(summary: Summary) -> str:
    """All trials' curves of every metric."""
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
        told = f"{_thinned(curves)}{_hidden(curves.axis)}"
        notes.append(f'<figcaption data-note-in="metric" data-note-of="{name}"{hidden}>{told}</figcaption>')
    if missing:
        named = ", ".join(escape(name) for name in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        notes.append(f"<figcaption>Not on this page: {named}{more}.</figcaption>")
    groups = [
        f'<optgroup label="{escape(group)}">{"".join(items)}</optgroup>' if group else "".join(items)
        for group, items in options.items()
    ]
    chooser = '<label for="metric">Metric</label><select id="metric" data-chooses autocomplete="off">'
    chooser += f"{''.join(groups)}</select>"
    height = 'style="height:430px" data-from="metric" role="img" aria-label="Curves of all trials"'
    body = f'<div class="controls">{chooser}</div><figure><div class="plot" {height}></div>{"".join(notes)}</figure>'
    return section("curves", "Curves of all trials", body + "".join(parts))


def slices_section(summary: Summary) -> str:
    """Value over each parameter."""
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


def trials_section(summary: Summary) -> str:
    """The table of all trials."""
    if not summary.history.trials:
        return section("trials", "All trials", "<p>There are none yet.</p>")
    count = len(summary.history.trials)
    told = f"The {MOST_ROWS:,} best of {count:,} trials. " if count > MOST_ROWS else ""
    told += "Click a heading to sort by it, once more to turn the order around. The command in the last column trains "
    told += "a trial again from what its run in MLflow logged; where that is not the server that regatta finds by "
    told += "itself, name it in MLFLOW_TRACKING_URI."
    told += _dropped(summary)
    search = '<input type="search" id="search" placeholder="Filter: pruned, adam, …" aria-label="Filter the trials">'
    controls = f'<div class="controls">{search}<span id="found" class="note" role="status"></span></div>'
    body = f'<p class="note">{told}</p>{controls}<div class="scroll" tabindex="0">{trials_table(summary)}</div>'
    return section("trials", "All trials", body)


def savings_section(summary: Summary) -> str:
    """What pruning saved."""
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


def acts_section(summary: Summary) -> str:
    """What callbacks did; nothing where they did nothing."""
    table = acts_table(summary.history.trials)
    if table is None:
        return ""
    told = "Counted over the last attempt of every trial; of one trial, at most 400 acts are known."
    return section("acts", "What callbacks did", f'<p class="note">{told}</p><div class="scroll">{table}</div>')


def parallel_section(summary: Summary) -> str:
    """All trials as lines through their parameters; nothing where there is nothing to tell apart."""
    parallel = parallel_of(summary)
    if parallel is None:
        return ""
    hint = "Drag along an axis to keep the trials in that range, click a choice to keep those that have it. The table "
    hint += "of all trials below shows the kept ones alone."
    controls = (
        f'<div class="controls"><span id="chosen" class="note" role="status" data-hint="{hint}">{hint}</span>'
        "<button type=button id=choose-all hidden>all trials again</button></div>"
    )
    told = "All trials as lines through their parameters"
    canvas = "<canvas></canvas><canvas></canvas><div class=tip hidden></div>"
    lines = f'<div id="lines" role="img" aria-label="{told}">{canvas}</div>'
    drawing = f'<div class="across" tabindex="0">{lines}</div>'
    body = (
        f'<p class="note">{parallel_told(parallel)}</p>{controls}{drawing}{data("parallel-data", parallel.as_data())}'
    )
    return section("parallel", "All parameters at once", body)


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


def _dropped(summary: Summary) -> str:
    """How many checkpoints are not kept any more, by reason, as HTML."""
    reasons = Counter(trial.dropped for trial in summary.history.trials if trial.dropped)
    if not reasons:
        return ""
    said = ", ".join(f"{escape(reason)} ({count:,})" for reason, count in reasons.most_common(4))
    return f" {plural(reasons.total(), 'checkpoint was', 'checkpoints were')} dropped: {said}."
