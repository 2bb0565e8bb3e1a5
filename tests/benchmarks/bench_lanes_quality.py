"""Whether lanes buy speed with worse search: the best value of a sweep with lanes against the same one at a time.

A sampler that learns from results knows less when many trials are under way. So the same recipe is swept both ways from
several seeds, with the same number of trials, and the best values are compared. Nothing is sent to a server.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from tests.benchmarks.lanes_parts import module, recipe_path, run, settings_of
from tests.benchmarks.parts import arguments, scratch, table, where

SEEDS = (11, 23, 37, 51, 73)


def best_value(
    problem: str, seed: int, root: Path, *, trials: int, lanes: str, workers: str, settings: Sequence[str] = ()
) -> float:
    """The best value of one sweep."""
    home = root / f"{seed}-{lanes}-{workers}"
    environ = {**os.environ, "REGATTA_HOME": str(home), "MLFLOW_TRACKING_URI": "memory:"}
    command = module(
        "pipelines", "sweep", str(recipe_path(problem)), "--json", "--no-promote", "--set", f"seed={seed}",
        "--trials", str(trials), "--lanes", lanes, "--workers", workers, *settings_of(settings),
    )  # fmt: skip
    printed, _, _ = run(command, environ, home / "log")
    return float(json.loads(printed)["best"]["value"])


def told(alone: Mapping[int, float], lanes: Mapping[int, float]) -> str:
    """A row for each seed, and the medians; and how far the mean of the ratios is certain. Smaller is better."""
    rows: list[list[Any]] = [[seed, alone[seed], lanes[seed], lanes[seed] / alone[seed]] for seed in alone]
    middle = median(alone.values()), median(lanes.values())
    rows.append(["median", *middle, middle[1] / middle[0]])
    rows_told = table(["seed", "one at a time", "lanes", "lanes / one at a time"], rows)
    ratios = [lanes[seed] / alone[seed] for seed in alone]
    if len(ratios) < 2:
        return rows_told
    error = stdev(ratios) / math.sqrt(len(ratios))
    mean = f"The mean of the {len(ratios)} ratios is {fmean(ratios):.3f}, with a standard error of {error:.3f}."
    return f"{rows_told}\n{mean}"


def main(given: Sequence[str] | None = None) -> None:
    parser = arguments(str(__doc__).split("\n", 1)[0])
    parser.add_argument("--problem", default="digits", choices=("digits",))
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="separated by commas")
    parser.add_argument("--lanes", default="auto", help="of the sweep with lanes: a number or auto")
    parser.add_argument(
        "--quick", action="store_true", help="one at a time is a program of a single lane, which is faster than fit"
    )
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="set one value of the recipe")
    parser.add_argument("--at-once", type=int, default=2, help="sweeps that run at the same time: values, not times")
    chosen = parser.parse_args(given)
    single = "1" if chosen.quick else "off"
    how = "one lane" if chosen.quick else "Model.fit"
    print(
        f"Best val_loss of {chosen.trials} trials on {chosen.problem}, one at a time ({how}) and with lanes "
        f"({chosen.lanes}); {where()}",
        flush=True,
    )
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    with scratch() as root, ThreadPoolExecutor(chosen.at_once) as pool:
        sweep = partial(best_value, chosen.problem, root=root, trials=chosen.trials, settings=chosen.set)
        alone = {seed: pool.submit(sweep, seed, lanes=single, workers="1") for seed in seeds}
        lanes = {seed: pool.submit(sweep, seed, lanes=chosen.lanes, workers="auto") for seed in seeds}
        values = [{seed: each.result() for seed, each in way.items()} for way in (alone, lanes)]
    print(told(*values))


if __name__ == "__main__":
    main()
