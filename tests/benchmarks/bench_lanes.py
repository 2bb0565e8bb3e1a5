"""What training many trials in one program gains: the trainer alone, a whole sweep, the search, time and memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.benchmarks import bench_lanes_quality, bench_lanes_sweep, bench_lanes_trainer, bench_lanes_widths
from tests.benchmarks.lanes_parts import CORES

PARTS = {
    "trainer": bench_lanes_trainer.main,
    "sweep": bench_lanes_sweep.main,
    "widths": bench_lanes_widths.main,
    "quality": bench_lanes_quality.main,
}


def main(given: Sequence[str] | None = None) -> None:
    """Runs the part that is named first, or all of them, on two cores of the CPU."""
    words = list(given or ())
    if words and words[0] not in PARTS:
        raise SystemExit(f"A part of the benchmark of lanes is one of {', '.join(PARTS)}, got {words[0]!r}.")
    on_a_few_cores()
    for name in words[:1] or PARTS:
        PARTS[name](words[1:])
        print(flush=True)


def on_a_few_cores(cores: int = CORES) -> None:
    """Keeps this process, and all that it starts, to so many cores, so that larger machines measure the same thing."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


if __name__ == "__main__":
    main()
