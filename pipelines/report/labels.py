"""What the page says about a trial when somebody points at it."""

from __future__ import annotations

from html import escape

from pipelines.records import TrialHistory, TrialState
from pipelines.report.failures import kind_name
from pipelines.report.summary import Summary, broken, number_text, params_lines

LONGEST, LONGEST_REASON = 70, 90


def hover_lines(summary: Summary, trial: TrialHistory) -> list[str]:
    """Lines of HTML in which nothing but the first one's `b` is markup."""
    value = summary.value(trial)
    words = f"trial {trial.number}, {trial.state.value.lower()}"
    first = f"<b>{words}</b>" + ("" if value is None else f": {number_text(value)}")
    lines = [f"{name}: {number_text(trial.values[name])}" for name in others(summary, trial)]
    lines += [f"breaks {bound}" for bound in broken(trial)]
    if trial.state is TrialState.FAILED or trial.failure:
        lines += [f"{kind_name(trial.failure)}"] if trial.failure else []
        lines += [trial.reason.splitlines()[0][:LONGEST_REASON]] if trial.reason and trial.reason.strip() else []
    lines += [_shortened(line) for line in params_lines(trial.params, summary.params)]
    return [first, *(escape(line, quote=False) for line in lines)]


def others(summary: Summary, trial: TrialHistory) -> list[str]:
    """The objectives beside the first that the trial has a value of."""
    return [name for name, _ in summary.history.objectives[1:] if name in trial.values]


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
