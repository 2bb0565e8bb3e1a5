"""What went wrong, by kind: how often, what it means, and the reasons behind it."""

from __future__ import annotations

from html import escape

from pipelines.records import Failure, TrialHistory, TrialState
from pipelines.report.parts import plural, section
from pipelines.report.summary import Summary, params_lines
from pipelines.report.tables import failures_list

KINDS = {
    Failure.ERROR.value: ("error", "The trial's own code raised. The traceback is with its run in MLflow."),
    Failure.MEMORY.value: (
        "out of memory",
        "The memory of the host or of the GPU was too small for these parameters; the study keeps away from them.",
    ),
    Failure.NOT_FINITE.value: (
        "loss not finite",
        "The loss or the objective became NaN or infinite, so the trial was pruned; the learning rate may be too high.",
    ),
    Failure.LOST.value: ("lost worker", "Its process died, again and again, without getting on by an epoch."),
    Failure.HUNG.value: ("hung", "It made no step for too long, twice. The log of its worker says where it was."),
    Failure.DISK.value: ("disk full", "There was no room to write. That is the sweep's trouble and not the trial's."),
    Failure.INVALID.value: ("invalid config", "What was sampled makes no valid training config; nothing was trained."),
}
UNKNOWN = ("not recorded", "The record is of a version that did not tell failures apart.")
MOST_NAMED = 12
FEW_REASONS = 3


def by_kind(trials: tuple[TrialHistory, ...]) -> dict[str | None, list[TrialHistory]]:
    """The trials that failed or were pruned for a failure, by kind, the commonest kind first; None for one untold."""
    groups: dict[str | None, list[TrialHistory]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.failure is not None or trial.state is TrialState.FAILED:
            groups.setdefault(trial.failure, []).append(trial)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def kind_name(kind: str | None) -> str:
    """A kind of failure for people; one of another version is told as it is written."""
    return (UNKNOWN if kind is None else KINDS.get(kind, (kind.replace("_", " "), "")))[0]


def failures_section(summary: Summary) -> str:
    """The section; empty where nothing failed."""
    groups = by_kind(summary.history.trials)
    if not groups:
        return ""
    most = max(map(len, groups.values()))
    rows = "".join(_row(summary, kind, trials, most) for kind, trials in groups.items())
    heads = "".join(f"<th>{head}</th>" for head in ("kind", "trials", "what it means, and the reasons"))
    count = sum(map(len, groups.values()))
    failed = len(summary.in_state(TrialState.FAILED))
    told = f"{plural(count, 'trial')} of {len(summary.history.trials):,}"
    told += f", {count - failed} of them pruned for it." if count > failed else "."
    table = f"<table class=kinds><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return section("failed", "Failures by kind", f'<p class="note">{told}</p>{table}')


def _row(summary: Summary, kind: str | None, trials: list[TrialHistory], most: int) -> str:
    name, meaning = UNKNOWN if kind is None else KINDS.get(kind, (kind_name(kind), ""))
    bar = f'<i style="width:{max(4, round(100 * len(trials) / most))}%"></i>'
    reasons = len({trial.reason for trial in trials})
    inside = failures_list(trials)
    unfolded = " open" if reasons <= FEW_REASONS else ""
    folded = f"<details{unfolded}><summary>{plural(reasons, 'reason')}</summary>{inside}</details>"
    if kind == Failure.MEMORY.value:
        folded += _settings(summary, trials)
    told = f"<p>{escape(meaning)}</p>" if meaning else ""
    example = trials[0].number
    return (
        f"<tr><td><b>{escape(name)}</b></td><td><b>{len(trials):,}</b> {bar}<small>such as trial {example}</small></td>"
        f"<td>{told}{folded}</td></tr>"
    )


def _settings(summary: Summary, trials: list[TrialHistory]) -> str:
    """The parameters of each trial, as they tell what is too large."""
    lines = [
        f"trial {trial.number}: {', '.join(params_lines(trial.params, summary.params)) or 'no parameters'}"
        for trial in trials[:MOST_NAMED]
    ]
    lines += [f"and {len(trials) - MOST_NAMED} more" for _ in range(len(trials) > MOST_NAMED)]
    items = "".join(f"<li class=mono>{escape(line)}</li>" for line in lines)
    unfolded = " open" if len(trials) <= FEW_REASONS else ""
    return f"<details{unfolded}><summary>their parameters</summary><ul class=settings>{items}</ul></details>"
