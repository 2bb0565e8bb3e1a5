"""Time of an epoch by precision, or with and without XLA: with `fit` and in lanes, for a small and for a wide model.

Each combination has a process of its own. Its first trials compile and are not counted; the ratio is to the first row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from pipelines.worker import TrialWorker, WorkerSettings
from tests.benchmarks.bench_lanes_widths import after_the_first
from tests.benchmarks.lanes_parts import Problem, gpu_or_none, memory_mb, module, run, settings_of, surroundings
from tests.benchmarks.parts import arguments, scratch, table, where
from tests.benchmarks.toy_desk import Drive

SWITCHES = {"precision": ("float32", "mixed_bfloat16", "mixed_float16"), "xla": ("off", "on")}
MODELS = {
    "small": ("model.units=[100, 30]", "batch_size=128"),
    "wide": ("model.units=[4096, 4096]", "batch_size=1024"),
}
LANES = {"small": 32, "wide": 2}


def measure(problem: Problem, folder: Any, *, lanes: int | str, epochs: int, threads: int) -> dict[str, Any]:
    """Milliseconds of an epoch of one trial, the first epoch of each left out, and what the trials came to."""
    many = lanes if isinstance(lanes, int) else 1
    settings = WorkerSettings(threads, lanes=lanes, most_lanes=many, trials=many, memory_mb=memory_mb())  # type: ignore[arg-type]
    drive = Drive(TrialWorker(settings))
    changes = {"optimizer": problem.config.training()["optimizer"], "callbacks": {}, "epochs": 1 + epochs}
    drive.train(problem.specs(many, folder / "first", changes={**changes, "epochs": 1}))
    trained = drive.train(problem.specs(many, folder / "second", first=many, changes=changes))
    steady, lane_epochs = after_the_first(trained)
    return {
        "epoch_ms": 1000 * steady / lane_epochs,
        "first_s": trained.first_epoch,
        "value": sum(trained.values.values()) / len(trained.values),
        "trainer": trained.facts.get("regatta.trainer", ""),
    }


def told(switch: str, model: str, found: Sequence[tuple[str, str, dict[str, Any]]]) -> str:
    """The table of ratios of one model."""
    first: dict[str, float] = {}
    rows = []
    for way, value, one in found:
        usual = first.setdefault(way, one["epoch_ms"])
        rows.append([way, value, one["epoch_ms"], usual / one["epoch_ms"], one["first_s"], one["value"]])
    head = [f"{model} model", switch, "ms an epoch", "times the first", "s to first epoch", "val_loss"]
    return table(head, rows)


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--switch", choices=SWITCHES, default="precision", help="what is compared")
    parser.add_argument("--model", choices=MODELS, help="both if left out")
    parser.add_argument("--epochs", type=int, default=4, help="epochs that are measured")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set one value of the recipe")
    parser.add_argument("--lanes", help="a number, or off; both ways if left out")
    parser.add_argument("--here", action="store_true", help="in this very process, whose environment is set already")
    chosen = parser.parse_args(given)
    if chosen.here:
        with scratch() as root:
            problem = Problem.prepared("images", root / "data", chosen.set)
            lanes = int(chosen.lanes) if chosen.lanes.isdigit() else chosen.lanes
            threads = int(os.environ["TF_NUM_INTRAOP_THREADS"])
            print(json.dumps(measure(problem, root, lanes=lanes, epochs=chosen.epochs, threads=threads)))
        return
    gpu = gpu_or_none()
    print(f"{chosen.switch} on {'the GPU' if gpu else 'the CPU'}; {where()}", flush=True)
    for model in [chosen.model] if chosen.model else MODELS:
        found = []
        for lanes in [chosen.lanes] if chosen.lanes else ("off", str(LANES[model])):
            for value in SWITCHES[chosen.switch]:
                settings = [*MODELS[model], f"{chosen.switch}={value}", *chosen.set]
                with scratch() as root:
                    command = module(
                        "tests.benchmarks.bench_gpu_switches", "--here", "--lanes", lanes, "--epochs",
                        str(chosen.epochs), *settings_of(settings),
                    )  # fmt: skip
                    printed, _, _ = run(command, surroundings(gpu), root / "log")
                way = "fit" if lanes == "off" else f"{lanes} lanes"
                found.append((way, value, json.loads(printed.splitlines()[-1])))
                one = found[-1][2]
                print(f"{way}, {value}: {one['epoch_ms']:.1f} ms an epoch; {one['trainer']}", flush=True)
        print(told(chosen.switch, model, found), flush=True)


if __name__ == "__main__":
    main()
