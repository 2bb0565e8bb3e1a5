"""What there is to tell of a promotion that was decided, in the forms in which its run keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.inputs import InputFacts
from pipelines.packaging.scoring import Scores
from pipelines.promotion.comparison import Comparison, losses_of
from pipelines.promotion.evidence import Evidence
from pipelines.promotion.judge import Answers
from pipelines.promotion.policy import Decision, Measured
from pipelines.promotion.reigns import spoken
from pipelines.promotion.seeds import Repeated
from pipelines.recipe.promotion_rules import Promotion
from pipelines.records import TrialHistory
from pipelines.tasks import Task


@dataclass(frozen=True)
class Story:
    """What there is to tell of a promotion that was decided.

    Attributes:
        study: Its name, which is the model's.
        task: What is learned.
        facts: The form of a sample, and the names of things.
        policy: The rules.
        trial: The candidate that was chosen.
        version: Its number in the registry.
        champion: Version of the champion that it met, or None.
        decision: What the rules said, and what was done.
        measured: Of the candidate.
        champion_scores: Of the champion, or None.
        comparison: Of the two, or None.
        outputs: File with what both say of each sample.
        others: Of each other candidate that was judged, its scores and what the rules said, by trial.
        at: When it was decided, in UTC.
        repeated: The candidates' trainings with other seeds.
        twin: Whether it was found to be the very model that was the champion, and nothing was registered.
    """

    study: str
    task: Task
    facts: InputFacts
    policy: Promotion
    trial: TrialHistory
    version: str
    champion: str | None
    decision: Decision
    measured: Measured
    champion_scores: Scores | None
    comparison: Comparison | None
    outputs: Path
    others: Mapping[int, Mapping[str, Any]]
    at: str
    repeated: tuple[Repeated, ...] = ()
    twin: bool = False

    @property
    def outcome(self) -> str:
        """What became of the candidate, as it stays true: another may have its place by the time that this is read."""
        decision, when = self.decision, spoken(self.at)
        if self.twin:
            return f"was the champion on {when}, and the candidate the same model"
        if decision.challenges:
            return f"was made the challenger on {when}" if decision.promoted else f"was registered on {when}, no more"
        if decision.promoted:
            return f"was made the champion{' by force' if decision.forced else ''} on {when}"
        return f"was registered on {when}; {'there was no champion' if decision.vacant else 'the champion stayed'}"

    @property
    def verdict(self) -> str:
        """The same in a few words, by which the runs of promotions can be told apart."""
        if self.twin:
            return f"is version {self.version} again"
        if not self.decision.promoted:
            return "refused"
        if self.decision.challenges:
            return f"challenges as version {self.version}"
        return f"{'forced' if self.decision.forced else 'promoted'} as version {self.version}"


def mistakes_of(story: Story, answers: Answers) -> list[dict[str, Any]]:
    """The worst mistakes in words: what it is, what the model says, how sure it is, and of a table the row itself."""
    labels, rows = story.facts.labels, []
    costs = losses_of(story.task, answers.truth, answers.mine)
    for rank, place in enumerate(answers.mistakes.tolist()):
        said, truth = answers.mine[place], answers.truth[place]
        if labels:
            named = int(said.argmax()) if len(said) > 1 else int(said[0] > 0.5)
            sure = float(said[named]) if len(said) > 1 else float(max(said[0], 1.0 - said[0]))
            row: dict[str, Any] = {"truth": labels[int(truth)], "answer": labels[named], "sure": sure}
        else:
            row = {"truth": f"{float(truth):.5g}", "answer": f"{float(said[0]):.5g}", "sure": None}
        row |= {"sample": place, "cost": float(costs[place])}
        if story.facts.kind != "image":
            row["row"] = _cells(answers.samples[rank], story.facts)
        rows.append(row)
    return rows


def _cells(row: Any, facts: InputFacts) -> dict[str, Any]:
    """A row of a table as people have it: words for the numbers that stand for them."""
    cells: dict[str, Any] = {}
    for place, value in enumerate(row.reshape(-1).tolist()):
        column = facts.columns[place] if place < len(facts.columns) else None
        if column is not None and column.words is not None:
            cells[column.name] = column.words[int(value) - 1] if 1 <= int(value) <= len(column.words) else ""
        else:
            cells[column.name if column is not None else f"column {place}"] = value if math.isfinite(value) else None
    return cells


def metrics_of(story: Story, evidence: Evidence) -> dict[str, float]:
    """What the run's metrics are; without what is no number."""
    comparison, measured = story.comparison, story.measured
    found: dict[str, float | None] = {
        **measured.scores.to_json(),
        "calibration_error": evidence.calibration.ece,
        "brier": evidence.calibration.brier,
        "bytes": measured.bytes,
        "latency_ms": measured.latency_ms,
        "parity": measured.parity,
    }
    if story.champion_scores is not None:
        found |= {f"champion.{name}": value for name, value in story.champion_scores.to_json().items()}
    if comparison is not None:
        found |= {"gain": comparison.gain, "gain.low": comparison.low, "gain.high": comparison.high, "p": comparison.p}
    for each in story.repeated:
        if each.trial == story.trial.number:
            found |= {"seeds.mean": each.mean, "seeds.spread": each.spread}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def note_of(story: Story) -> str:
    """The run's description in MLflow, in Markdown."""
    decision = story.decision
    lines = [
        f"**{story.study} version {story.version}** (trial {story.trial.number}) {story.outcome}.",
        "",
        decision.reason,
        "",
    ]
    if decision.rulings:
        lines += ["| rule | holds | |", "|---|---|---|"]
        lines += [f"| {each.rule} | {'yes' if each.held else '**no**'} | {each.text} |" for each in decision.rulings]
    lines += ["", "`report.html` among the artifacts shows all of it."]
    return "\n".join(lines)


def table_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows in the form in which MLflow's page shows tables."""
    columns = list(rows[0])
    return {"columns": columns, "data": [[row[column] for column in columns] for row in rows]}


def as_json(told: Any) -> bytes:
    """A JSON file; numbers that JSON has no word for are null."""
    return (json.dumps(_plain(told), indent=1) + "\n").encode()


def _plain(told: Any) -> Any:
    """The same with null for numbers that JSON has no word for."""
    if isinstance(told, Mapping):
        return {key: _plain(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return [_plain(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told
