"""How many workers share a GPU, and how much of its memory each may have: arithmetic, with its reasons in words."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

CONTEXT_MB = 768
"""What a process takes of a GPU beside its tensors, where it was not measured: CUDA's context and libraries."""
SPARE = 0.05
"""Share of the free memory that nobody is given, as others may come and the driver rounds up."""
LEAST_MB = 256
"""The smallest cap that is worth a worker."""
ROOM = 3.0
"""A worker's cap is so many times what the probe trial took at most: other trials are larger."""
TIGHT = 1.5
"""The same where there is less memory: below it, there are fewer workers instead."""
MOST = 8
"""Workers of one GPU, at most. Without MPS the driver lets processes take turns, which costs time itself."""
_STEP_MB = 64


@dataclass(frozen=True)
class Need:
    """What a probe trial took of a fresh GPU.

    Attributes:
        peak_mb: MiB of tensors, at the most.
        beside_mb: MiB that its process held beside them; None where nobody could tell.
        busy: The share of the time, 0 to 1, in which it kept the GPU busy; None where nobody could tell.
        parameters: Of its model.
        seconds: That it took.
    """

    peak_mb: float
    beside_mb: float | None = None
    busy: float | None = None
    parameters: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    @property
    def context_mb(self) -> float:
        """What a process takes beside its tensors, measured or as it usually is."""
        return CONTEXT_MB if self.beside_mb is None else max(self.beside_mb, 1.0)


@dataclass(frozen=True)
class Sharing:
    """How a GPU is shared.

    Attributes:
        workers: On each GPU.
        cap_mb: MiB of tensors that each may hold, and takes at once; None lets one grow as needed.
        why: For people; empty where there is nothing to say.
    """

    workers: int = 1
    cap_mb: int | None = None
    why: str = ""


def equal_share_mb(free_mb: int, workers: int, context_mb: float = CONTEXT_MB) -> int:
    """MiB of tensors for each of so many workers: an equal share of what is free, less what each takes beside."""
    each = free_mb * (1 - SPARE) / workers - context_mb
    return max(0, int(each) // _STEP_MB * _STEP_MB)


def share_between(workers: int, *, free_mb: int | None, cap_mb: int | None = None) -> Sharing:
    """How so many workers share a GPU, where somebody wants so many of them.

    Args:
        workers: On each GPU.
        free_mb: MiB that are free on the fullest GPU; None where nobody knows.
        cap_mb: MiB of tensors for each, where somebody wants that, too.

    Returns:
        The sharing. Where they do not fit, its words say so; the cap is never below `LEAST_MB`.
    """
    if cap_mb is not None:
        needed = workers * (cap_mb + CONTEXT_MB)
        if free_mb is None or needed <= free_mb:
            return Sharing(workers, cap_mb)
        most = max(1, int(free_mb // (cap_mb + CONTEXT_MB)))
        fits = f"{most} would fit" if most > 1 else f"the cap of one may be {equal_share_mb(free_mb, 1)}"
        text = (
            f"{_workers(workers)} with {cap_mb} MiB each (execution.gpu_memory_mb) and about {CONTEXT_MB} beside need "
            f"{needed} MiB of a GPU that has {free_mb} free: they may run out of memory, {fits}."
        )
        return Sharing(workers, cap_mb, text)
    if workers == 1:
        return Sharing()
    if free_mb is None:
        text = (
            f"{_workers(workers)} share each GPU, and nobody can say how much memory it has: each takes what it needs. "
            "A cap for each: execution.gpu_memory_mb."
        )
        return Sharing(workers, None, text)
    share = equal_share_mb(free_mb, workers)
    if share < LEAST_MB:
        most = max(1, int(free_mb * (1 - SPARE) // (LEAST_MB + CONTEXT_MB)))
        text = (
            f"{_workers(workers)} are too many for a GPU with {free_mb} MiB free: each gets {LEAST_MB} MiB, and they "
            f"may run out of memory. With execution.workers_per_gpu: {most} they would fit."
        )
        return Sharing(workers, LEAST_MB, text)
    text = f"{_workers(workers)} share each GPU, each with at most {share} MiB of its {free_mb} that are free."
    return Sharing(workers, share, text)


def choose(
    need: Need, *, free_mb: int | None, cores: int, gpus: int, trials: int, cap_mb: int | None = None
) -> Sharing:
    """How many workers are to share each GPU, by what a probe trial took of one.

    One that keeps a GPU busy is enough for it. Otherwise there are as many as fill its time, its memory and the cores:
    each of them also keeps a core busy, which feeds the GPU.

    Args:
        need: What the probe took.
        free_mb: MiB that are free on the fullest GPU; None where nobody knows.
        cores: That may be used, for all GPUs together.
        gpus: How many there are.
        trials: Trials that are to come.
        cap_mb: MiB of tensors for each worker, where somebody wants that; None has it follow from the need.
    """
    limits = {
        f"there {_are(cores, 'core')}": max(1, cores // gpus),
        f"there {_are(trials, 'trial')} to come": max(1, math.ceil(trials / gpus)),
        f"more than {MOST} would only wait for each other": MOST,
    }
    if need.busy is not None:
        # a share that was hardly to be seen is not to be divided by
        limits[f"one kept the GPU busy {100 * need.busy:.0f} % of the time"] = max(1, round(1 / max(need.busy, 0.05)))
    tight = max(LEAST_MB, TIGHT * need.peak_mb) if cap_mb is None else float(cap_mb)
    if free_mb is not None:
        limits[f"{free_mb} MiB are free"] = max(1, int(free_mb * (1 - SPARE) // (tight + need.context_mb)))
    workers = min(limits.values())
    because = " and ".join(text for text, most in limits.items() if most == workers)
    took = f"the probe trial took {need.peak_mb:.0f} MiB and {need.context_mb:.0f} beside"
    if workers == 1:
        return Sharing(1, cap_mb, f"One worker a GPU, as {because}; {took}.")
    wanted = max(LEAST_MB, ROOM * need.peak_mb)
    cap = cap_mb if cap_mb is not None else math.ceil(wanted / _STEP_MB) * _STEP_MB
    if free_mb is not None and cap_mb is None:
        cap = min(cap, max(LEAST_MB, equal_share_mb(free_mb, workers, need.context_mb)))
    return Sharing(workers, cap, f"{_workers(workers)} share each GPU, each with at most {cap} MiB: {took}; {because}.")


def _workers(count: int) -> str:
    return "One worker" if count == 1 else f"{count} workers"


def _are(count: int, thing: str) -> str:
    return f"is 1 {thing}" if count == 1 else f"are {count} {thing}s"
