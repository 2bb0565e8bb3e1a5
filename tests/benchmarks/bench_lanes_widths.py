"""Time and memory against the number of lanes: each number in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pipelines.worker import TrialWorker, WorkerSettings
from tests.benchmarks.lanes_parts import PROBLEMS, Problem, gpu_or_none, memory_mb, module, run, surroundings
from tests.benchmarks.parts import arguments, scratch, table, where
from tests.benchmarks.toy_desk import Drive, Trained

WIDTHS = tuple(2**power for power in range(9))
EPOCHS = {"digits": 20, "images": 4}


def measure(problem: Problem, folder: Path, *, lanes: int, epochs: int, threads: int) -> dict[str, float]:
    """Trains `lanes` trials at once for `epochs` epochs, after an epoch in which all is compiled.

    All have one optimizer and no callback of their own, so that all go on to the end side by side.
    """
    settings = WorkerSettings(threads, lanes=lanes, most_lanes=lanes, trials=lanes, memory_mb=memory_mb())
    worker = Drive(TrialWorker(settings))
    base = problem.config.training()["optimizer"]
    changes = {"optimizer": base, "callbacks": {}, "epochs": 1 + epochs}
    before = psutil.Process().memory_info().rss
    trained = worker.train(problem.specs(lanes, folder, changes=changes))
    steady, lane_epochs = after_the_first(trained)
    return {
        "lanes": lanes,
        "first_epoch_s": trained.first_epoch,
        "lane_epoch_ms": 1000 * steady / lane_epochs,
        "before_mib": before / 2**20,
        "resident_mib": psutil.Process().memory_info().rss / 2**20,
        "peak_mib": peak_bytes() / 2**20,
        **_gpu_memory(),
    }


def after_the_first(trained: Trained) -> tuple[float, int]:
    """Seconds from when all trials had ended their first epoch to the end of the last one, and epochs in between."""
    seen: set[int] = set()
    everyone = {trial for _, trial in trained.epochs}
    for place, (at, trial) in enumerate(trained.epochs):
        seen.add(trial)
        if seen == everyone:
            return trained.epochs[-1][0] - at, len(trained.epochs) - place - 1
    raise RuntimeError("no trial ended an epoch")


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _gpu_memory() -> dict[str, float]:
    import tensorflow as tf

    with suppress(ValueError):  # there is none
        return {"gpu_mib": tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20}
    return {}


def told(found: Sequence[Mapping[str, float]]) -> str:
    """A row for each number of lanes."""
    one = found[0]["lane_epoch_ms"]
    gpu = any("gpu_mib" in each for each in found)
    columns = ["lanes", "ms a lane-epoch", f"times {int(found[0]['lanes'])} lane", "s to the first epoch"]
    columns += ["resident MiB", "peak MiB", "peak MiB for lanes", *(["peak GPU MiB"] if gpu else [])]
    rows = [
        [
            int(each["lanes"]), each["lane_epoch_ms"], one / each["lane_epoch_ms"], each["first_epoch_s"],
            round(each["resident_mib"]), round(each["peak_mib"]), round(each["peak_mib"] - each["before_mib"]),
            *([round(each["gpu_mib"])] if gpu else []),
        ]
        for each in found
    ]  # fmt: skip
    return table(columns, rows)


def draw(found: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Time of a lane-epoch, and memory, against the number of lanes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (time, memory) = plt.subplots(1, 2, figsize=(12, 4.5), sharex=True, layout="constrained")
    for name, rows in found.items():
        lanes = [each["lanes"] for each in rows]
        time.plot(lanes, [each["lane_epoch_ms"] for each in rows], marker="o", label=name)
        memory.plot(lanes, [each["peak_mib"] for each in rows], marker="o", label=f"{name}, peak")
        memory.plot(lanes, [each["before_mib"] for each in rows], linestyle=":", label=f"{name}, before lanes")
        if all("gpu_mib" in each for each in rows):
            memory.plot(lanes, [each["gpu_mib"] for each in rows], marker="s", label=f"{name}, on the GPU")
    time.set_title("An epoch of one lane")
    time.set_ylabel("milliseconds")
    time.set_yscale("log")
    memory.set_title("Memory of the process")
    memory.set_ylabel("MiB")
    memory.set_ylim(bottom=0)
    for axes in (time, memory):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("lanes")
        axes.grid(alpha=0.3)
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--problem", choices=PROBLEMS, help="both if left out")
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="numbers of lanes, separated by commas")
    parser.add_argument("--epochs", type=int, help=f"that are timed; {EPOCHS} if left out")
    parser.add_argument("--gpu", action="store_true", help="on the first GPU instead of the CPU")
    parser.add_argument("--here", type=Path, help="measure one width in this very process, with data prepared there")
    chosen = parser.parse_args(given)
    widths = [int(width) for width in chosen.widths.split(",")]
    if chosen.here:
        with scratch() as root:
            threads = int(os.environ["TF_NUM_INTRAOP_THREADS"])
            problem = Problem.prepared(chosen.problem, chosen.here)
            print(json.dumps(measure(problem, root, lanes=widths[0], epochs=chosen.epochs, threads=threads)))
        return
    gpu = gpu_or_none() if chosen.gpu else None
    names = [chosen.problem] if chosen.problem else list(PROBLEMS)
    found = {name: measure_each(name, widths, chosen.epochs or EPOCHS[name], gpu) for name in names}
    picture = chosen.out / ("lanes_widths_gpu.png" if gpu else "lanes_widths.png")
    draw(found, picture)
    print(f"The curves: {picture}")


def measure_each(name: str, widths: Sequence[int], epochs: int, gpu: str | None) -> list[dict[str, Any]]:
    """Measures each number of lanes in a process of its own, and prints the table."""
    print(f"Time and memory against the number of lanes, {name}, {epochs} epochs; {where()}", flush=True)
    found = []
    with scratch() as root:
        Problem.prepared(name, root / "data")
        for width in widths:
            command = module(
                "tests.benchmarks.bench_lanes_widths", "--here", str(root / "data"), "--problem", name,
                "--widths", str(width), "--epochs", str(epochs),
            )  # fmt: skip
            printed, _, _ = run(command, surroundings(gpu), root / "log")
            found.append(json.loads(printed.splitlines()[-1]))
    print(f"{told(found)}\n", flush=True)
    return found


if __name__ == "__main__":
    main()
