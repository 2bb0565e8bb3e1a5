"""Parts of the benchmarks: a sweep whose workers answer at once, and words about the machine that it ran on."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.controller import painting
from pipelines.controller.budgets import Ending, Meter
from pipelines.controller.failures import Remedy
from pipelines.executors.base import Executor
from pipelines.home import StudyFolder
from pipelines.lineage.machine import this_machine
from pipelines.recipe.config import SweepConfig
from pipelines.records import EpochEnded, TrialResult, TrialSpec
from pipelines.study import Counts, Study
from pipelines.sweep import Outcome, Sweep
from pipelines.tracking.journal import Journal
from tests.pipelines.scripted import ScriptedExecutor, prepared, recipe, trains

UID = "benchmark"
SPACE: dict[str, Any] = {
    "optimizer.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": [16, 32, 64, 128],
    "model.dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "model.activation": ["relu", "tanh", "gelu"],
}


def trivial_recipe(trials: int, *, sampler: str = "random", pruner: str = "median", epochs: int = 5) -> SweepConfig:
    """A recipe of four parameters. Its trials are not trained: their curves follow from the learning rate alone."""
    return recipe(trials, sampler=sampler, pruner=pruner, epochs=epochs, search_space=SPACE)


class Follower:
    """A watcher that calls back at the end of each trial."""

    def __init__(self, on_ended: Callable[[TrialResult], None] = lambda result: None) -> None:
        self._on_ended = on_ended

    def began(self, workers: int, wanted: int, counts: Counts) -> None:
        pass

    def working(self, worker: int, spec: TrialSpec, params: Mapping[str, Any]) -> None:
        pass

    def epoch(self, worker: int, event: EpochEnded) -> None:
        pass

    def ended(self, result: TrialResult, counts: Counts) -> None:
        self._on_ended(result)

    def trouble(self, worker: int, text: str, remedies: Mapping[int, Remedy]) -> None:
        raise RuntimeError(f"trials {list(remedies)}: {text}")

    def ending(self, ending: Ending) -> None:
        pass


@contextmanager
def opened_sweep(
    config: SweepConfig,
    folder: StudyFolder,
    data: Path,
    executor: Executor,
    *,
    study: Callable[[SweepConfig, Path], Study] = Study,
    follower: Follower | None = None,
) -> Iterator[tuple[Sweep, Journal]]:
    """The real controller with a real study and journal, ready to run on the executor, and the journal."""
    with closing(study(config, folder.storage)) as opened, closing(Journal(folder.journal)) as journal:
        sweep = Sweep(
            config,
            study=opened,
            data=data,
            executor=executor,
            journal=journal,
            folder=folder,
            uid=UID,
            tags={"regatta.study_uid": UID},
            earlier={},
            meter=Meter(config.budget, config.objective.sense, opened.counts(), combinations=opened.combinations),
            watcher=follower or Follower(),
        )
        yield sweep, journal


def sweep_at_once(
    config: SweepConfig,
    root: Path,
    *,
    study: Callable[[SweepConfig, Path], Study] = Study,
    follower: Follower | None = None,
) -> tuple[StudyFolder, Outcome]:
    """Runs a sweep with one worker that answers at once."""
    folder = StudyFolder(root / "studies" / config.study)
    executor = ScriptedExecutor(trains)
    data = prepared(root / "data").folder
    with opened_sweep(config, folder, data, executor, study=study, follower=follower) as (sweep, _):
        executor.start(sweep)
        return folder, sweep.run(1)


def arguments(about: str) -> argparse.ArgumentParser:
    """A parser with what all benchmarks have in common."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    home = Path(os.environ.get("REGATTA_HOME") or ".regatta")
    parser.add_argument("--out", type=Path, default=home / "benchmarks", help="folder for pictures")
    return parser


def draw_nothing() -> None:
    """Keeps trials from having their curves drawn: that is done beside the controller, and takes longer than it."""
    vars(painting)["loss_curve"] = lambda *curves, **words: b"not drawn"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="regatta-benchmark-") as folder:
        yield Path(folder)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows of words and numbers, right-aligned below their columns."""
    cells = [
        list(columns),
        *([f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows),
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def where() -> str:
    """The machine, in a line: a number means nothing without it."""
    machine = this_machine()
    return f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so many percent lie."""
    return float(np.percentile(np.asarray(values, np.float64), share))
