"""`python -m tests.benchmarks [NAME] [FLAGS]`: one benchmark, or those that need neither a server nor a browser."""

from __future__ import annotations

import sys

from tests.benchmarks import (
    bench_gpu,
    bench_lanes,
    bench_many_trials,
    bench_mlflow_page,
    bench_scale,
    bench_serving,
    bench_tracking,
)

BENCHMARKS = {
    "many_trials": bench_many_trials.main,
    "tracking": bench_tracking.main,
    "mlflow_page": bench_mlflow_page.main,
    "scale": bench_scale.main,
    "lanes": bench_lanes.main,
    "serving": bench_serving.main,
    "gpu": bench_gpu.main,
}
UNASKED = ("many_trials", "tracking")


def main(given: list[str]) -> None:
    if given and given[0] in BENCHMARKS:
        BENCHMARKS[given[0]](given[1:])
        return
    if given:
        raise SystemExit(f"A benchmark is one of {', '.join(BENCHMARKS)}, got {given[0]!r}; its flags follow it.")
    for name in UNASKED:
        BENCHMARKS[name]([])
        print(flush=True)


if __name__ == "__main__":  # a worker process imports this module, too
    main(sys.argv[1:])
