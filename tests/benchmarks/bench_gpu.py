"""What a GPU gains and costs: lanes, precision, XLA, several workers with caps, and the sampler that watches it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pipelines import devices
from tests.benchmarks import (
    bench_gpu_sampler,
    bench_gpu_switches,
    bench_gpu_workers,
    bench_lanes_trainer,
    bench_lanes_widths,
)

Part = Callable[[Sequence[str]], None]
PARTS: dict[str, Part] = {
    "trainer": lambda given: bench_lanes_trainer.main(["--gpu", *given]),
    "widths": lambda given: bench_lanes_widths.main(["--gpu", *given]),
    "precision": lambda given: bench_gpu_switches.main(["--switch", "precision", *given]),
    "xla": lambda given: bench_gpu_switches.main(["--switch", "xla", *given]),
    "workers": bench_gpu_workers.main,
    "sampler": bench_gpu_sampler.main,
}


def main(given: Sequence[str] | None = None) -> None:
    """Runs the part that is named first, or all of them, on the first GPU; flags are those of the part named."""
    stock = devices.inventory()
    if not stock.devices:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = f" CUDA_VISIBLE_DEVICES={visible} hides what there may be." if visible is not None else ""
        raise SystemExit(
            " ".join(["This machine has no NVIDIA GPU that could be used.", *stock.remarks])
            + f"{hidden} On the CPU: make bench-lanes"
        )
    words = list(given or ())
    if words and words[0] not in PARTS:
        raise SystemExit(f"A part of the benchmark of GPUs is one of {', '.join(PARTS)}, got {words[0]!r}.")
    print("; ".join(device.title for device in stock.devices), flush=True)
    for remark in stock.remarks:
        print(remark, flush=True)
    for name in words[:1] or PARTS:
        PARTS[name](words[1:])
        print(flush=True)


if __name__ == "__main__":
    main()
