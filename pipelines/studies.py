"""What `regatta list studies` tells: the studies of a home, the newest first, read from their own journals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from pipelines.errors import ConfigError, HomeError
from pipelines.facts import StudyFacts
from pipelines.front import best_trial
from pipelines.history import RunHistory, read_runs
from pipelines.home import Home, StudyFolder
from pipelines.recipe.config import SweepConfig
from pipelines.records import TrialHistory, TrialState
from pipelines.tracking.journal import read_all

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


def told_studies(home: Home, names: Collection[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Of each of these studies its name, a sentence of what it has come to, and what else there is to know.

    One that cannot be read says so, and the others are told all the same.
    """
    for name in names:
        folder = home.study(name)
        try:
            sentence, more = _told(folder)
        except (ConfigError, HomeError) as error:
            sentence, more = f"cannot be read: {error}", []
        yield name, sentence, [*more, str(folder.root)]


def _told(folder: StudyFolder) -> tuple[str, list[str]]:
    config = StudyFacts.read(folder).recipe()
    metrics = [each.metric for each in config.objectives]
    runs = list(read_runs(read_all(folder.journal)).values()) if folder.journal.exists() else []
    trials = [run.as_trial(metrics[0], None, objectives=metrics) for run in runs if run.number is not None]
    touched = time.strftime("%Y-%m-%d %H:%M", time.localtime(_touched_s(folder, runs)))
    ended = next((run.tags.get("regatta.ended") for run in runs if run.tags.get("regatta.kind") == "sweep"), None)
    return f"{come_to(trials, config)}; last touched {touched}", [aims(config, ended)]


def come_to(trials: Sequence[TrialHistory], config: SweepConfig) -> str:
    """What the trials of a study have come to: `3 complete, 1 pruned, 0 failed; best val_loss 0.25 (trial 2)`."""
    objectives = [(each.metric, each.sense) for each in config.objectives]
    several = objectives if len(objectives) > 1 else []
    states = Counter(trial.state for trial in trials)
    counted = ", ".join(f"{states[state]} {state.value.lower()}" for state in _ENDED)
    open_trials = f", {states[TrialState.RUNNING]} not over" if states[TrialState.RUNNING] else ""
    best = best_trial(trials, config.objective.sense, several, config.promotion.pick)
    return f"{counted}{open_trials}; {_best(best, [metric for metric, _ in objectives])}"


def aims(config: SweepConfig, ended: str | None) -> str:
    """What a study looks for, and what ended its last sweep, where something has."""
    looked_for = " and ".join(f"{each.sense} {each.metric}" for each in config.objectives)
    return f"{looked_for}{f'; {ended}' if ended else ''}"


def _best(best: TrialHistory | None, metrics: list[str]) -> str:
    if best is None:
        return "no best trial"
    values = {metrics[0]: best.value, **best.values}
    told = ", ".join(f"{metric} {values[metric]:.4g}" for metric in metrics if values.get(metric) is not None)
    return f"best {told} (trial {best.number})"


def _touched_s(folder: StudyFolder, runs: list[RunHistory]) -> float:
    """Seconds since the epoch at which something was recorded last; a copy of the files is no touch."""
    return max((run.last_ms / 1000 for run in runs), default=folder.facts.stat().st_mtime)
