"""What a sweep came to in a few lines of Markdown: the parent run's description in MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from pipelines.records import StudyHistory, TrialHistory, TrialState
from pipelines.report.again import command_again
from pipelines.report.failures import by_kind, kind_name
from pipelines.report.front import picked_how
from pipelines.report.summary import Summary, duration_text, number_text

MOST = 1_900
"""Letters; MLflow shows the description above everything else."""
LONGEST_TEXT, LONGEST_SETTING, LONGEST_ADDRESS = 240, 80, 700
_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAILED)


def describe(history: StudyHistory, best: TrialHistory | None) -> str:
    """The description: the best trial and by how much it won, counts, what ended it, failures, champion, links.

    Args:
        history: The sweep.
        best: The trial that is taken for the best, or None.

    Returns:
        Markdown of less than 2,000 letters; parameters are left out, the least important first, where it gets longer.
    """
    told = Summary(replace(history, picked=best.number) if best is not None else history)
    best = told.best if best is not None else None
    parts = {
        "headline": [_headline(told)],
        "ended": [f"Ended: {_plain(history.ended)}"] if history.ended else [],
        "best": _best(told, best) if best is not None else [],
        "params": [],
        "command": _command(best),
        "failures": _failures(history),
        "champion": _champion(told),
        "links": _links(history),
    }
    for spared in ("command", "champion", "failures", "ended", "links"):
        if _room(parts) < 0:
            parts[spared] = []
    parts["params"] = _params(told, best, _room(parts) - 2) if best is not None else []
    return "\n\n".join(text for texts in parts.values() for text in texts)


def _room(parts: Mapping[str, list[str]]) -> int:
    return MOST - sum(len(text) + 2 for texts in parts.values() for text in texts)


def _headline(told: Summary) -> str:
    history = told.history
    counts = [(len(told.in_state(state)), state.value.lower()) for state in _STATES]
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    aims = [
        f"{'maximizing' if direction == 'maximize' else 'minimizing'} {_code(name)}"
        for name, direction in history.objectives or ((history.metric, history.direction),)
    ]
    time = f" in {duration_text(history.seconds)}" if history.seconds is not None else ""
    count = len(history.trials)
    trials = f"{count:,} trial{'' if count == 1 else 's'}" + (f" ({said})" if said else "")
    return f"**{history.study}**: {trials}{time}, {' and '.join(aims)}."


def _best(told: Summary, best: TrialHistory) -> list[str]:
    at = f" at epoch {best.best_epoch}" if best.best_epoch is not None else ""
    values = [f"{_code(told.history.metric)} {number_text(told.value(best))}{at}"]
    values += [
        f"{_code(name)} {number_text(best.values[name])}"
        for name, _ in told.history.objectives[1:]
        if name in best.values
    ]
    how = picked_how(told)
    said = [f"**Best: trial {best.number}**, {', '.join(values)}.", *([how] if how else []), *told.margins]
    return [_line(" ".join(said), 3 * LONGEST_TEXT)]


def _params(told: Summary, best: TrialHistory, room: int) -> list[str]:
    """A list of as many parameters as there is room for, the important ones first."""
    lines = []
    named = [path for path in told.params if path in best.params]
    for place, path in enumerate(named):
        line = f"- {_code(path)}: {_code(number_text(best.params[path]), LONGEST_SETTING)}"
        left_out = f"- and {len(named) - place} more"
        if room - len(line) - 1 < len(left_out) + 2:
            lines.append(left_out)
            break
        room -= len(line) + 1
        lines.append(line)
    return ["\n".join(lines)] if lines else []


def _command(best: TrialHistory | None) -> list[str]:
    command = command_again(best) if best is not None else None
    return [f"Train it again: {_code(command, LONGEST_TEXT)}"] if command else []


def _failures(history: StudyHistory) -> list[str]:
    groups = by_kind(history.trials)
    said = [f"{len(trials):,} {kind_name(kind)}" for kind, trials in groups.items()]
    return [f"Failures: {_plain(', '.join(said))}."] if said else []


def _champion(told: Summary) -> list[str]:
    champion = told.history.champion
    if not champion:
        return []
    scores = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in told.scores.items() if math.isfinite(value)]
    judged = f", {', '.join(scores)} on sealed data" if scores else ""
    return [_line(f"Champion: version {champion.get('version', '?')}{judged}.")]


def _links(history: StudyHistory) -> list[str]:
    return [
        f"[{name}: all trials, best first]({address})"
        for name, address in history.links.items()
        if len(address) <= LONGEST_ADDRESS and not set(address) & set(" ()<>\n")
    ]


def _code(text: str, most: int = LONGEST_SETTING) -> str:
    """Text as code, in which nothing is Markdown."""
    return f"`{_line(text, most).replace('`', chr(39))}`"


def _plain(text: str) -> str:
    """Text in which nothing is Markdown, on one line."""
    return re.sub(r"([\\`*<>\[\]])", r"\\\1", _line(text))


def _line(text: str, most: int = LONGEST_TEXT) -> str:
    """Text on one line, shortened."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
