"""The top of the page: what the sweep came to, and its best trial."""

from __future__ import annotations

from html import escape

from pipelines.records import StudyHistory, TrialState
from pipelines.report.again import command_again
from pipelines.report.front import picked_how
from pipelines.report.labels import others
from pipelines.report.parts import copyable, plural, section
from pipelines.report.summary import Summary, duration_text, epochs_of, is_aside, number_text
from pipelines.report.tables import facts_table, link

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAILED)


def headline(summary: Summary) -> str:
    """The top of the page."""
    history, best = summary.history, summary.best
    counts = {state: len(summary.in_state(state)) for state in STATES}
    said = [f"{count:,} {state.value.lower()}" for state, count in counts.items() if count or state in STATES[:2]]
    lede = f"{_aim(history)}. "
    if best and picked_how(summary):
        lede += escape(picked_how(summary))
    elif best:
        lede += f"The best of {plural(counts[TrialState.COMPLETE], 'complete trial')} is trial {best.number}."
    elif summary.infeasible:
        lede += "No complete trial keeps all constraints, so none is the best."
    else:
        lede += "No trial is complete with a value yet." if history.trials else "No trial was run yet."
    if best and summary.infeasible:
        broken = plural(len(summary.infeasible), "complete trial breaks", "complete trials break")
        lede += f" {broken} a constraint and cannot win."
    tiles: list[tuple[str, str, str]] = []
    if best:  # the knee of a front is seldom the best by the first objective
        name = f"best {history.metric}" if best is summary.ranking[0] else history.metric
        tiles.append((name, number_text(summary.value(best)), f"trial {best.number}"))
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
        f"<p>Ended: {escape(history.ended)}</p>" if history.ended else "",
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


def best_section(summary: Summary) -> str:
    """The best trial: by how much it won, its result, its parameters, the command that trains it again."""
    best = summary.best
    if not best:
        return section("best", "Best trial", "<p>No trial is complete with a value, so none can be the best.</p>")
    address = summary.run_address(best)
    rows = [
        (summary.history.metric, number_text(summary.value(best), 7)),
        *((name, number_text(best.values[name], 7)) for name in others(summary, best)),
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
    command = command_again(best)
    again = f"<p>Train it again: {copyable(command)}</p>" if command else ""
    run = f"<p>{link(address, f'Open the run of trial {best.number}')}</p>" if address else ""
    right = f"<div><h3>Parameters</h3>{facts_table(params)}</div>" if params else ""
    inside = f"<div><h3>Result</h3>{facts_table([*rows, *at_best[:6]])}</div>{right}"
    return section("best", f"Best trial: {best.number}", f'{beaten}{run}{again}<div class="best">{inside}</div>')


def _aim(history: StudyHistory) -> str:
    """`Minimizing val_loss and parameters`, as HTML."""
    aims: list[str] = []
    for name, direction in history.objectives or [(history.metric, history.direction)]:
        word = "maximizing" if direction == "maximize" else "minimizing"
        aims.append(f"{word} <code>{escape(name)}</code>")
    said = ", ".join(aims[:-1]) + (" and " if len(aims) > 1 else "") + aims[-1]
    return said[0].upper() + said[1:]
