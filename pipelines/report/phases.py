"""Where the time went: of the sweep as a whole, and of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from statistics import median

from pipelines.report.parts import plural, section
from pipelines.report.summary import Summary, duration_text, is_number

NAMES = {
    "workers": "getting workers ready",
    "trials": "running trials",
    "delivery": "delivering to MLflow",
    "promotion": "judging and promoting",
    "report": "writing this report",
    "build": "building models",
    "fit": "training",
    "states": "saving states to go on from",
    "checkpoints": "writing checkpoints",
    "tracking": "telling the controller",
}
REST = "everything else"
SHADES = 6  # how many the style sheet has


def phases_section(summary: Summary) -> str:
    """The section; empty where the record does not say."""
    history = summary.history
    sweep = _known(history.phases)
    trials = [found for trial in history.trials if (found := _known(trial.phases))]
    parts: list[str] = []
    if sweep:
        rows: dict[str, tuple[float, float | None]] = {name: (seconds, None) for name, seconds in sweep.items()}
        if history.seconds is not None and is_number(history.seconds):
            rows |= _rest(history.seconds - sum(sweep.values()), history.seconds)
        parts.append(f"<h3>The sweep, by the clock</h3>{_stack(rows)}")
    if trials:
        phases = dict.fromkeys(name for found in trials for name in found)
        listed = {name: [found.get(name, 0.0) for found in trials] for name in phases}
        each: dict[str, tuple[float, float | None]] = {
            name: (sum(values), median(values)) for name, values in listed.items()
        }
        whole = sum(t.seconds for t in history.trials if t.seconds and is_number(t.seconds) and _known(t.phases))
        each |= _rest(whole - sum(total for total, _ in each.values()), whole)
        parts.append(f"<h3>All trials together, {plural(len(trials), 'trial')}</h3>{_stack(each)}")
    if not parts:
        return ""
    told = "Trials that run at the same time add up to more than the clock shows." if sweep and trials else ""
    note = f'<p class="note">{told}</p>' if told else ""
    return section("time", "Where the time went", f'{note}<div class="best">{_boxes(parts)}</div>')


def _boxes(parts: list[str]) -> str:
    return "".join(f"<div>{part}</div>" for part in parts)


def _known(phases: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds for name, seconds in phases.items() if is_number(seconds) and seconds >= 0}


def _rest(left: float, whole: float) -> dict[str, tuple[float, float | None]]:
    """What no phase accounts for, where it is more than a rounding."""
    return {REST: (left, None)} if left > 0.01 * whole else {}


def _stack(rows: Mapping[str, tuple[float, float | None]]) -> str:
    """A bar of the phases, and a table of them: seconds, share, and the median of a trial where it is given."""
    whole = sum(total for total, _ in rows.values())
    shades = {name: "rest" if name == REST else f"shade-{rank % SHADES}" for rank, name in enumerate(rows)}
    bar = "".join(
        f'<i class="{shades[name]}" style="flex:{total / whole if whole else 1:.5f}"></i>'
        for name, (total, _) in rows.items()
    )
    medians = any(middle is not None for _, middle in rows.values())
    heads = "".join(f"<th>{head}</th>" for head in ("", "time", "share", *(["median of a trial"] if medians else [])))
    lines = ""
    for name, (total, middle) in rows.items():
        cells = [duration_text(total), f"{total / whole:.1%}" if whole else "–"]
        cells += ([duration_text(middle) if middle is not None else "–"]) if medians else []
        mark = f'<i class="{shades[name]}"></i>{escape(NAMES.get(name, name.replace("_", " ")))}'
        lines += f"<tr><th scope=row>{mark}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    table = f"<table class=phases><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="bar" aria-hidden="true">{bar}</div>{table}'
