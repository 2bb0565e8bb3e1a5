"""What an epoch pays for being recorded and for being able to go on after a crash, beside the same epoch without.

A real sweep on a worker process, which trains each of its trials three ways: with Keras alone, with our trainer that
nobody listens to, and as a trial of the sweep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines import devices
from pipelines.datasets.prepared import PreparedData, prepare
from pipelines.executors.processes import ProcessesExecutor, Recycling
from pipelines.home import StudyFolder, user_data_folder
from pipelines.recipe.config import SweepConfig
from pipelines.recipe.reading import read_recipe
from pipelines.tracking import make_tracker
from pipelines.tracking.run import Run
from pipelines.tracking.sender import Sender
from pipelines.worker import WorkerSettings, environment
from tests.benchmarks.parts import UID, arguments, draw_nothing, opened_sweep, percentile, scratch, table, where
from tests.benchmarks.timed_worker import TIMES, WAYS, TimedWorker


def train(config: SweepConfig, data: PreparedData, root: Path, server: str | None) -> list[dict[str, Any]]:
    """Runs the sweep; returns what each trial's worker wrote down."""
    folder = StudyFolder(root / "studies" / config.study)
    cores = max(1, devices.cores() - 1)  # one is the controller's, as it is where there are more workers
    executor = ProcessesExecutor(
        partial(TimedWorker, WorkerSettings(cores)),
        [environment(cores, next(iter(devices.gpus()), None))],
        logs=folder.logs,
        recycling=Recycling(),
    )
    with closing(executor), opened_sweep(config, folder, data.folder, executor) as (sweep, journal):
        Run(journal, UID).begin(config.study, "benchmark", tags={}, params={})
        sender = None
        if server is not None:
            sender = Sender(folder.journal, make_tracker(server), server)
            sender.start()
        executor.start(sweep)
        sweep.run(1)
        if sender is not None:
            sender.close()
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.root.glob(f"trials/*/{TIMES}"))]


def epochs_ms(ends: Sequence[float]) -> list[float]:
    """Milliseconds from one epoch's end to the next one's. The first epoch is left out: Keras compiles in it."""
    return [1000 * (after - before) for before, after in pairwise(ends)]


def means(trials: Sequence[Mapping[str, Any]], phase: str) -> list[float]:
    """Milliseconds an epoch of each trial, as its worker tells them in `Ended`."""
    return [1000 * trial["phases"].get(phase, 0.0) / len(trial["tracking"]) for trial in trials]


def told(trials: Sequence[Mapping[str, Any]]) -> str:
    """Two tables: what an epoch takes each way, and what of it goes to the record and to states."""
    found = {way: [ms for trial in trials for ms in epochs_ms(trial[way])] for way in WAYS}
    base = percentile(found["alone"], 50)
    ways = table(
        ["an epoch", "median ms", "p99 ms", "/ alone"],
        [[way, percentile(each, 50), percentile(each, 99), percentile(each, 50) / base] for way, each in found.items()],
    )
    whole = percentile(found["whole"], 50)
    spent = {
        "tracking": [1000 * seconds for trial in trials for seconds in trial["tracking"]],
        "tracking, CPU alone": [1000 * seconds for trial in trials for seconds in trial["computing"]],
        "tracking, a trial's mean": means(trials, "tracking"),
        "states, a trial's mean": means(trials, "states"),
        "checkpoints, a trial's mean": means(trials, "checkpoints"),
    }
    costs = table(
        ["of it", "median ms", "p99 ms", "share of an epoch"],
        [
            [name, percentile(each, 50), percentile(each, 99), percentile(each, 50) / whole]
            for name, each in spent.items()
        ],
    )
    return f"{ways}\n\n{costs}"


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--recipe", type=Path, default=Path("configs/sweeps/digits.yaml"))
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--server", help="an MLflow server to send the record to meanwhile; none if left out")
    chosen = parser.parse_args(given)
    settings = [f"budget.trials={chosen.trials}", f"epochs={chosen.epochs}", "pruner=none", "callbacks={}"]
    config = read_recipe(chosen.recipe, settings)
    print(f"{chosen.trials} trials of {chosen.epochs} epochs of {chosen.recipe}; {where()}", flush=True)
    draw_nothing()
    with scratch() as root:
        data = prepare(config.dataset, user_data_folder(), root / "data", config.task)
        print(told(train(config, data, root, chosen.server)))


if __name__ == "__main__":
    main()
