"""Trials a second of the trainer alone: lanes against `Model.fit` in a loop, in one process.

No controller and no tracking server: a toy desk hands out trials, and writes down what is said. The loop is plain Keras
(`peers/plain_keras.py`). Both train trials of the same recipe, drawn at random; the loop, being slow, only the first
ones, half of them before the lanes and half after.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import devices
from pipelines.records import TrialSpec
from pipelines.worker import TrialWorker, WorkerSettings
from tests.benchmarks.lanes_parts import (
    CORES,
    PROBLEMS,
    Problem,
    as_choice,
    gpu_or_none,
    memory_mb,
    module,
    run,
    settings_of,
    surroundings,
)
from tests.benchmarks.parts import arguments, scratch, table, where
from tests.benchmarks.peers import plain_keras
from tests.benchmarks.toy_desk import Drive, Trained

TRIALS = {"digits": 1024, "images": 64}
FITS = {"digits": 12, "images": 6}


@dataclass
class Fitted:
    """What `Model.fit` in a loop took: seconds, seconds computed by all threads, and epochs of each trial."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    @property
    def a_trial(self) -> float:
        return sum(self.seconds) / len(self.seconds)


def fit(problem: Problem, specs: Sequence[TrialSpec], fitted: Fitted, *, arrays: bool) -> None:
    """Trains each of `specs` with plain Keras, and adds what it took to `fitted`."""
    for spec in specs:
        begun, computed = time.perf_counter(), time.process_time()
        choice = as_choice(spec.config)
        history = plain_keras.train(problem.for_peers, choice, spec.config["seed"], [], arrays=arrays)
        plain_keras.forget()
        fitted.seconds.append(time.perf_counter() - begun)
        fitted.cpu.append(time.process_time() - computed)
        fitted.epochs.append(len(history.epoch))


def measure(
    problem: Problem, folder: Path, *, trials: int, fits: int, lanes: str, threads: int
) -> tuple[dict[str, Fitted], Trained, Trained]:
    """Trains with plain Keras fed both ways, and twice with lanes: from nothing, and with what was compiled then."""
    chosen = lanes if lanes in {"auto", "off"} else int(lanes)
    settings = WorkerSettings(
        threads,
        lanes=chosen,  # type: ignore[arg-type]
        most_lanes=trials,
        trials=trials,
        memory_mb=memory_mb(),
    )
    worker = Drive(TrialWorker(settings))  # before Keras is used: it sets TensorFlow up
    specs = problem.specs(trials, folder / "first")
    ways = {"tf.data": Fitted(), "arrays": Fitted()}
    once_before = problem.specs(1, folder, first=10**6)
    for way in ways:  # what is read or imported late is no trial's
        fit(problem, once_before, Fitted(), arrays=way == "arrays")
    half = max(1, fits // 2)
    for way, fitted in ways.items():
        fit(problem, specs[:half], fitted, arrays=way == "arrays")
    cold = worker.train(specs)
    warm = worker.train(problem.specs(trials, folder / "second", first=trials))
    for way, fitted in ways.items():
        fit(problem, specs[half:fits], fitted, arrays=way == "arrays")
    return ways, cold, warm


def told(ways: dict[str, Fitted], cold: Trained, warm: Trained, trials: int, lanes: str) -> str:
    """The table of ratios, and what the lanes' time went to."""
    best = min(fitted.a_trial for fitted in ways.values())
    rows = [
        [f"Model.fit, {way}", len(fitted.seconds), fitted.a_trial, 1 / fitted.a_trial, best / fitted.a_trial,
         sum(fitted.cpu) / len(fitted.cpu), 1000 * sum(fitted.seconds) / sum(fitted.epochs)]
        for way, fitted in ways.items()
    ]  # fmt: skip
    rows += [
        [name, trials, found.seconds / trials, trials / found.seconds, best * trials / found.seconds,
         found.cpu / trials, 1000 * found.seconds / len(found.epochs)]
        for name, found in ((f"lanes {lanes}, compiling counted", cold), (f"lanes {lanes}, compiled before", warm))
    ]  # fmt: skip
    lines = [
        table(["way", "trials", "s a trial", "trials a s", "times Model.fit", "cpu s a trial", "ms an epoch"], rows)
    ]
    lines.append(
        f"The lanes took {cold.seconds:.2f} s, and {warm.seconds:.2f} s when all was compiled: the difference is what "
        f"compiling and trying widths took. Their first epoch ended after {cold.first_epoch:.2f} s, and after "
        f"{warm.first_epoch:.2f} s."
    )
    for name, found in (("compiling counted", cold), ("compiled before", warm)):
        lines.append(f"What trials took by their own account, {name}: {_listed(found.phases, trials)}")
    lines += [f"{fact}: {text}" for fact, text in sorted(cold.facts.items()) if "lane" in f"{fact} {text}".lower()]
    return "\n".join(lines)


def _listed(phases: dict[str, float], trials: int) -> str:
    each = sorted(phases.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {1000 * seconds / trials:.1f} ms" for name, seconds in each) + " a trial"


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--problem", choices=PROBLEMS, help="both if left out")
    parser.add_argument("--trials", type=int, help=f"in lanes; {TRIALS} if left out")
    parser.add_argument("--fits", type=int, help=f"with Model.fit; {FITS} if left out")
    parser.add_argument("--lanes", default="auto", help="a number, auto, or off")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set one value of the recipe")
    parser.add_argument("--gpu", action="store_true", help="on the first GPU instead of the CPU")
    parser.add_argument("--here", action="store_true", help="in this very process, whose environment is set already")
    chosen = parser.parse_args(given)
    if chosen.here:
        _measure_here(chosen.problem, chosen.set, chosen.trials, chosen.fits, chosen.lanes)
        return
    gpu = gpu_or_none() if chosen.gpu else None
    for name in [chosen.problem] if chosen.problem else PROBLEMS:
        trials, fits = chosen.trials or TRIALS[name], chosen.fits or FITS[name]
        with scratch() as root:
            command = module(
                "tests.benchmarks.bench_lanes_trainer", "--here", "--problem", name, "--trials", str(trials),
                "--fits", str(fits), "--lanes", chosen.lanes, *settings_of(chosen.set),
            )  # fmt: skip
            printed, _, _ = run(command, surroundings(gpu), root / "log")
            print(printed, flush=True)


def _measure_here(name: str, settings: Sequence[str], trials: int, fits: int, lanes: str) -> None:
    threads = int(os.environ["TF_NUM_INTRAOP_THREADS"])
    on = "the GPU" if devices.gpus() else f"{threads} threads of the CPU (of {CORES} at most)"
    with ExitStack() as opened:
        root = opened.enter_context(scratch())
        problem = Problem.prepared(name, root / "data", settings)
        counts, config = problem.data.counts, problem.config
        print(
            f"The trainer alone on {name}: {counts['train']} samples, batches of {config.batch_size}, {config.epochs} "
            f"epochs; on {on}; {where()}"
        )
        found = measure(problem, root / "files", trials=trials, fits=fits, lanes=lanes, threads=threads)
        print(told(*found, trials, lanes))


if __name__ == "__main__":
    main()
