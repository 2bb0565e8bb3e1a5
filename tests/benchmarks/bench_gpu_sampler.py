"""What it costs to watch the GPU: the same trials with and without the sampler, in turns, in one process.

Lanes of a small model are where it would be seen first: their epochs take a millisecond.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.devices.watch import GpuWatch
from pipelines.training import gpu as watching
from pipelines.worker import TrialWorker, WorkerSettings
from tests.benchmarks.lanes_parts import Problem, gpu_or_none, memory_mb, module, run, settings_of, surroundings
from tests.benchmarks.parts import arguments, scratch, table, where
from tests.benchmarks.toy_desk import Drive

WAYS = ("without", "with")


class Blind:
    """A watch that sees nothing."""

    @staticmethod
    def of_this_process() -> None:
        return None


def measure(problem: Problem, root: Path, *, lanes: Any, trials: int, rounds: int, threads: int) -> dict[str, float]:
    """Milliseconds of an epoch of one trial, the median of some rounds, by way."""
    drives = {}
    for way in WAYS:
        vars(watching)["GpuWatch"] = Blind if way == "without" else GpuWatch
        settings = WorkerSettings(threads, lanes=lanes, most_lanes=trials, trials=trials, memory_mb=memory_mb())
        drives[way] = Drive(TrialWorker(settings))
    vars(watching)["GpuWatch"] = GpuWatch
    changes = {"optimizer": problem.config.training()["optimizer"], "callbacks": {}}
    if lanes == "off":
        changes["xla"] = "off"  # to compile each trial takes longer than all that is measured here
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(1 + rounds):
        for way in WAYS:
            trained = drives[way].train(
                problem.specs(trials, root / f"{way}-{turn}", first=turn * trials, changes=changes)
            )
            if turn:
                took[way].append(1000 * trained.seconds / len(trained.epochs))
    return {way: median(times) for way, times in took.items()}


def look_us(watch: GpuWatch | None, looks: int = 200, clock: Callable[[], float] = time.perf_counter) -> float | None:
    """Microseconds of one look at the GPU; None where there is nothing to look at."""
    if watch is None:
        return None
    began = clock()
    for _ in range(looks):
        watch.look()
    return 1e6 * (clock() - began) / looks


def told(found: dict[str, dict[str, float]]) -> str:
    """The table of ratios."""
    rows = [[way, one["without"], one["with"], 100 * (one["with"] / one["without"] - 1)] for way, one in found.items()]
    return table(["trained", "ms an epoch without", "with the sampler", "more, %"], rows)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--trials", type=int, default=32, help="in lanes; an eighth of them with fit")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that are measured, after one that compiles")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set one value of the recipe")
    parser.add_argument("--here", action="store_true", help="in this very process, whose environment is set already")
    chosen = parser.parse_args(given)
    if not chosen.here:
        command = module(
            "tests.benchmarks.bench_gpu_sampler", "--here", "--trials", str(chosen.trials), "--rounds",
            str(chosen.rounds), *settings_of(chosen.set),
        )  # fmt: skip
        with scratch() as root:
            print(run(command, surroundings(gpu_or_none()), root / "log")[0], end="", flush=True)
        return
    threads, rounds = int(os.environ["TF_NUM_INTRAOP_THREADS"]), chosen.rounds
    found = {}
    with scratch() as root:
        problem = Problem.prepared("digits", root / "data", chosen.set)
        for name, lanes, trials in (("in lanes", chosen.trials, chosen.trials), ("fit", "off", chosen.trials // 8)):
            found[name] = measure(
                problem, root / name, lanes=lanes, trials=max(1, trials), rounds=rounds, threads=threads
            )
    each = look_us(GpuWatch.of_this_process())
    print(f"The sampler, digits; {where()}")
    print(told(found))
    print("There is nothing to look at." if each is None else f"One look takes {each:.0f} us; there are two a second.")


if __name__ == "__main__":
    main()
