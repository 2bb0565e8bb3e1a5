"""What callbacks did over all trials, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from statistics import median

from pipelines.records import CallbackAct, TrialHistory

SAID = {
    "stopped": "ended the training",
    "restored": "put weights back",
    "reduced": "lowered the learning rate",
    "raised": "raised the learning rate",
    "moved": "moved the learning rate",
    "saved": "saved files",
    "note": "left a note",
}
LONGEST = 160


@dataclass
class _Deed:
    """One thing that one callback did, wherever it did it."""

    first: tuple[int, CallbackAct]
    trials: set[int] = field(default_factory=set)
    epochs: list[int] = field(default_factory=list)


def acts_table(trials: tuple[TrialHistory, ...]) -> str | None:
    """A row for each thing that a callback did, in how many trials and at which epochs; None where none did any."""
    deeds: dict[tuple[str, str], _Deed] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        for act in trial.acts:
            deed = deeds.setdefault((act.callback, act.action), _Deed((trial.number, act)))
            deed.trials.add(trial.number)
            deed.epochs.append(act.epoch)
    if not deeds:
        return None
    labels = list(dict.fromkeys(label for label, _ in deeds))
    ordered = sorted(deeds.items(), key=lambda item: labels.index(item[0][0]))
    rows = "".join(_row(label, action, deed, len(trials)) for (label, action), deed in ordered)
    heads = "".join(f"<th>{head}</th>" for head in ("callback", "what it did", "trials", "times", "at epoch", "first"))
    return f"<table class=acts><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(label: str, action: str, deed: _Deed, trials: int) -> str:
    number, act = deed.first
    text = act.text if len(act.text) <= LONGEST else act.text[: LONGEST - 1] + "…"
    cells = (
        escape(label),
        escape(SAID.get(action, action)),
        f"{len(deed.trials):,} of {trials:,}",
        f"{len(deed.epochs):,}",
        _epochs_text(deed.epochs),
        f"trial {number}: {escape(text)}",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _epochs_text(epochs: list[int]) -> str:
    low, high = min(epochs), max(epochs)
    return str(low) if low == high else f"{low} to {high}, median {median(epochs):g}"
