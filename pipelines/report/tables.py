"""The report's tables, as HTML. Whatever comes from a trial is escaped here, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from html import escape

from pipelines.records import TrialHistory
from pipelines.report.again import command_again, why_not
from pipelines.report.parts import copyable
from pipelines.report.summary import Summary, broken, epochs_of, is_number, number_text

MOST_ROWS = 2_000
NOTHING = "–"  # the page's script sorts it last


def trials_table(summary: Summary) -> str:
    """All trials, or the best `MOST_ROWS` of them: complete ones first, the best on top."""
    import pandas as pd

    trials = summary.table[:MOST_ROWS]
    columns: list[tuple[str, Callable[[TrialHistory], str]]] = [
        (_head("trial"), lambda trial: _number(trial.number)),
        (_head("state"), _state),
        (_head(summary.history.metric), partial(_value, summary)),
        *((_head(name), partial(_other, name)) for name, _ in summary.history.objectives[1:]),
        (_head("best epoch"), lambda trial: _number(trial.best_epoch)),
        (_head("epochs"), lambda trial: _number(epochs_of(trial))),
        (_head("seconds"), lambda trial: _number(trial.seconds)),
        *((_head(short, path), partial(_setting, path)) for path, short in summary.params.items()),
        (_head("run"), partial(_run, summary)),
        (_head("train again"), _again),
    ]
    if any(trial.attempt > 1 for trial in trials):
        columns.insert(-2, (_head("attempt"), lambda trial: _number(trial.attempt)))
    if any(trial.dropped for trial in trials):
        columns.insert(-2, (_head("checkpoint"), lambda trial: "dropped" if trial.dropped else NOTHING))
    rows = [[cell(trial) for _, cell in columns] for trial in trials]
    frame = pd.DataFrame(rows, columns=pd.Index([head for head, _ in columns], dtype="object"), dtype="object")
    with pd.option_context("display.max_colwidth", None):
        # every cell and head is escaped above, and some of them hold a link or a button
        return str(frame.to_html(index=False, escape=False, border=0, classes="trials", justify="unset"))


def facts_table(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, names and what they are; both are plain text."""
    cells = "".join(
        f"<tr><th scope=row>{escape(name).replace('.', '.<wbr>')}</th><td>{escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table class=facts>{cells}</table>"


def failures_list(failed: Iterable[TrialHistory], most: int = 40) -> str:
    """The reasons why trials failed, each once, with the trials that share it; the commonest first."""
    groups: dict[str, list[int]] = {}
    for trial in failed:
        groups.setdefault(trial.reason or "No reason was recorded.", []).append(trial.number)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[1]))
    items = [
        f"<li>{_trials_text(numbers)}<span class=mono>{escape(_shortened(reason))}</span></li>"
        for reason, numbers in ordered[:most]
    ]
    if len(ordered) > most:
        items.append(f"<li>and {len(ordered) - most} other reasons</li>")
    return f"<ul class=reasons>{''.join(items)}</ul>"


def link(address: str, text: str) -> str:
    """A link for the reader to click; what is not a web address or a file beside the page is shown as text."""
    scheme, colon, _ = address.partition(":")
    if colon and scheme.lower() not in {"http", "https"}:
        return f"{escape(text)}: {escape(address)}"
    return f'<a href="{escape(address)}" rel="noopener noreferrer">{escape(text)}</a>'


def _head(short: str, path: str | None = None) -> str:
    title = f' title="{escape(path)}"' if path and path != short else ""
    return f"<button type=button{title}>{escape(short)}</button>"


def _number(value: float | None) -> str:
    return str(round(value, 1)) if value is not None and is_number(value) else NOTHING


def _state(trial: TrialHistory) -> str:
    name = trial.state.value.lower()
    told = f'<span class="state-{name}">{name}</span>'
    if bounds := broken(trial):
        told += f' <span class="state-failed">breaks {escape(_shortened(", ".join(bounds), 80))}</span>'
    return told


def _value(summary: Summary, trial: TrialHistory) -> str:
    value = summary.value(trial)
    if value is None:
        return NOTHING
    return f"<span class=winner>{number_text(value, 6)}</span>" if trial is summary.best else number_text(value, 6)


def _other(name: str, trial: TrialHistory) -> str:
    value = trial.values.get(name)
    return NOTHING if value is None or not is_number(value) else number_text(value, 6)


def _again(trial: TrialHistory) -> str:
    command = command_again(trial)
    return copyable(command) if command else f'<span class="note">{escape(why_not(trial))}</span>'


def _setting(path: str, trial: TrialHistory) -> str:
    return escape(_shortened(number_text(trial.params[path], 4), 200)) if path in trial.params else NOTHING


def _run(summary: Summary, trial: TrialHistory) -> str:
    if not trial.run_id:
        return NOTHING
    address = summary.run_address(trial)
    return link(address, trial.run_id) if address else escape(trial.run_id)


def _shortened(text: str, most: int = 600) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _trials_text(numbers: list[int], most: int = 12) -> str:
    named = ", ".join(map(str, numbers[:most])) + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
    return f"trial{'' if len(numbers) == 1 else 's'} {named}"
