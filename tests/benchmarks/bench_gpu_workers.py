"""Trials a second against the number of workers that share one GPU, each with an equal share of its memory as its cap.

The real controller, real worker processes, `fit`, no tracking server. The time counts from when as many trials have
ended as there are workers, so that importing is nobody's. Without XLA, unless `--set xla=auto` says otherwise: to
compile each trial takes the CPU longer than all that is measured here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipelines import devices
from pipelines.devices.sharing import share_between
from pipelines.executors.processes import ProcessesExecutor, Recycling
from pipelines.home import StudyFolder
from pipelines.records import TrialResult
from pipelines.worker import TrialWorker, WorkerSettings, shares
from tests.benchmarks.lanes_parts import PROBLEMS, Problem, memory_mb
from tests.benchmarks.parts import Follower, arguments, draw_nothing, opened_sweep, scratch, table, where

NUMBERS = "1,2,4,8"


def rate(problem: Problem, root: Path, workers: int, *, each: int, cap_mb: int | None, gpu: str | None) -> float:
    """Trials a second of so many workers: `each` trials a worker, after the first one of each."""
    config, folder = problem.config, StudyFolder(root / f"{workers}" / problem.config.study)
    cores = devices.cores()
    settings = WorkerSettings(max(1, cores // workers), cap_mb, memory_mb=memory_mb())
    executor = ProcessesExecutor(
        partial(TrialWorker, settings),
        shares(cores, workers, [gpu] if gpu else []),
        logs=folder.logs,
        recycling=Recycling(None, memory_mb() << 20),
    )
    ended: list[float] = []

    def on_ended(result: TrialResult) -> None:
        ended.append(time.perf_counter())

    config = config.model_copy(update={"budget": config.budget.model_copy(update={"trials": workers * (1 + each)})})
    try:
        with opened_sweep(config, folder, problem.data.folder, executor, follower=Follower(on_ended)) as (sweep, _):
            executor.start(sweep)
            outcome = sweep.run(workers)
    finally:
        executor.close()
    if outcome.counts.failed:
        raise SystemExit(f"{outcome.counts.failed} trials failed with {workers} workers; see {folder.logs}")
    return steady_rate(ended, workers)


def steady_rate(ended: Sequence[float], workers: int) -> float:
    """Trials a second from when as many have ended as there are workers."""
    return (len(ended) - workers) / (ended[-1] - ended[workers - 1])


def told(found: Sequence[tuple[int, int | None, float]]) -> str:
    """The table of ratios."""
    one = found[0][2]
    rows = [
        [workers, "grows" if cap is None else cap, trials, trials / one, 100 * trials / one / workers]
        for workers, cap, trials in found
    ]
    return table(["workers", "cap MiB", "trials a s", "times the first", "% of linear"], rows)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--problem", choices=PROBLEMS, default="digits", help="what is trained")
    parser.add_argument("--numbers", default=NUMBERS, help="of workers, each measured by itself")
    parser.add_argument("--each", type=int, default=4, help="trials a worker that are measured")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set one value of the recipe")
    chosen = parser.parse_args(given)
    stock = devices.inventory()
    gpu = stock.names[0] if stock.names else None
    free = stock.devices[0].free_mb if stock.devices else None
    draw_nothing()
    print(f"Workers that share {'the GPU' if gpu else 'the CPU'}, {chosen.problem}; {where()}", flush=True)
    found = []
    with scratch() as root:
        problem = Problem.prepared(chosen.problem, root / "data", ["sampler.name=random", "xla=off", *chosen.set])
        for workers in map(int, chosen.numbers.split(",")):
            cap = share_between(workers, free_mb=free).cap_mb if gpu else None
            found.append((workers, cap, rate(problem, root, workers, each=chosen.each, cap_mb=cap, gpu=gpu)))
            print(f"{workers}: {found[-1][2]:.3f} trials a second", flush=True)
    print(told(found), flush=True)


if __name__ == "__main__":
    main()
