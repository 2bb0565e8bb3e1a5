"""What `regatta trials` tells: the trials of one study as a table, for a person or for a program.

It is read from the study's own journal alone, which has all that Optuna and MLflow have, and has it before them. So it
needs no server and no database, takes no lock, writes nothing, and may be asked for while the sweep runs.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import ConfigError, HomeError, Mistake
from pipelines.facts import StudyFacts
from pipelines.history import gather
from pipelines.home import Home, StudyFolder
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.search_space import SearchSpace
from pipelines.records import TrialHistory, TrialState
from pipelines.report.parts import plural
from pipelines.report.summary import Summary, epochs_of
from pipelines.studies import aims, come_to
from pipelines.telling import say
from pipelines.terminal.trials import show_trials
from pipelines.tracking.delivery import read_delivery

if TYPE_CHECKING:
    from rich.console import Console

_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.RUNNING)


@dataclass(frozen=True)
class TrialsTable:
    """The trials of one study, the best first and those that cannot win last.

    Attributes:
        config: The study's recipe.
        summary: All of its trials.
        top: How many of them are listed, the best ones; None for all.
    """

    config: SweepConfig
    summary: Summary
    top: int | None = None

    @cached_property
    def trials(self) -> Sequence[TrialHistory]:
        """Those that are listed, in their order."""
        return self.summary.table[: self.top]

    def show(self, console: Console) -> None:
        """Shows the table to a person, and below it what the study has come to and what it looks for."""
        show_trials(self.summary, self.trials, console)
        said = [come_to(self.summary.history.trials, self.config), aims(self.config, self.summary.history.ended)]
        if len(self.trials) < len(self.summary.table):
            said.append(
                f"{len(self.trials)} of {len(self.summary.table)} trials are listed; without --top, all of them"
            )
        for line in [*([""] if self.trials else []), f"{self.config.study}: {said[0]}", *said[1:]]:
            say(console, line)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain types, numbers in full; one that is not finite is null."""
        history, best = self.summary.history, self.summary.best
        return {
            "study": self.config.study,
            "objectives": [{"metric": each.metric, "direction": each.sense} for each in self.config.objectives],
            "counts": {state.value.lower(): len(self.summary.in_state(state)) for state in _STATES},
            "best": None if best is None else best.number,
            "front": list(history.front),
            "ended": history.ended,
            "trials": [self._row(trial) for trial in self.trials],
        }

    def to_csv(self) -> str:
        """A line a trial, with the names that `to_json` has: `value`, `params.batch_size`; what is not there is empty.

        Which columns there are depends on the study alone, and on no trial that has yet to come.
        """
        written = io.StringIO()
        writer = csv.DictWriter(written, self._columns(), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(self._row(trial)) for trial in self.trials)
        return written.getvalue()

    def write_csv(self, path: str) -> str:
        """Writes it to a file, or nowhere where the path is `-`; returns what is to be printed.

        Raises:
            ConfigError: The file cannot be written.
        """
        if path == "-":
            return self.to_csv()
        try:
            Path(path).write_text(self.to_csv(), encoding="utf-8")
        except OSError as error:
            wrong = f"cannot write {path} ({error.strerror or error}); name a file that can be written, or - to print"
            raise ConfigError("trials", [Mistake("--csv", wrong)]) from None
        return f"{plural(len(self.trials), 'trial')} of study '{self.config.study}' in {path}\n"

    def _columns(self) -> list[str]:
        trials = self.summary.table
        drawn = [parameter.name for parameter in SearchSpace(self.config.search_space).parameters()]
        parts: dict[str, Iterable[str]] = {
            "values": [metric for metric, _ in self.summary.history.objectives],
            "violations": [*self.config.constraints, *(name for trial in trials for name in trial.violations)],
            "params": [*drawn, *(name for trial in trials for name in trial.params)],  # of an older recipe, too
        }
        return [
            column
            for name in self._row(_NOBODY)
            for column in (dict.fromkeys(f"{name}.{each}" for each in parts[name]) if name in parts else [name])
        ]

    def _row(self, trial: TrialHistory) -> dict[str, Any]:
        value = self.summary.value(trial)
        several = [metric for metric, _ in self.summary.history.objectives]
        values = {} if value is None or not several else {several[0]: value, **trial.values}
        return {
            "trial": trial.number,
            "state": trial.state.value,
            "value": value,
            "values": _finite(values),
            "epoch": None if value is None else trial.best_epoch,
            "epochs": epochs_of(trial),
            "seconds": trial.seconds,
            "attempt": trial.attempt,
            "run_id": trial.run_id,
            "failure": trial.failure,
            "reason": trial.reason,
            "violations": _finite(trial.violations),
            "params": _finite(trial.params),
        }


_NOBODY = TrialHistory(0, 1, TrialState.FAILED, {}, None, None, {})
"""A trial of which nothing is known, for the names of what there is to know."""


def read_table(name: str | None, top: int | None = None) -> TrialsTable:
    """The table of a study, or of the newest one where none is named.

    Args:
        name: Of the study; one that was set aside has the name of its folder, as in `digits/earlier/20260131-120000`.
        top: See `TrialsTable`.

    Raises:
        HomeError: There is no such study, or its files cannot be read.
        KeptConfigError: Another version of Regatta has made it.
    """
    folder = _folder(Home.from_environment(), name)
    facts = StudyFacts.read(folder)
    config = facts.recipe()
    run_ids = read_delivery(folder.journal, facts.server).runs
    history = gather(folder, config, run_ids.get, importances={}, champion=None, links={}, seconds=None)
    return TrialsTable(config, Summary(history), top)


def _folder(home: Home, name: str | None) -> StudyFolder:
    if name is not None:
        return home.known_study(name)
    newest = next(iter(home.studies()), None)
    if newest is None:
        raise HomeError(f"There is no study under {home.root} yet. Begin with: make sweep")
    return home.study(newest)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as the text of its cells, numbers in full; what is a mapping has a cell an entry."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        cells |= {f"{name}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in cells.items()
        if value is not None
    }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values; JSON has no number that is not finite."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
