"""Where the trials of a recipe train: with how many workers, one by one or many at once, and how many ahead. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipelines.devices.sharing import Need, Sharing, choose, share_between
from pipelines.recipe.config import SweepConfig

MOST_LANES = 256
"""Trials under way at once, over all workers, of a sampler that learns nothing from them."""
_FEWEST = 4
_SHARE = 8
_FEWEST_UNHEARD = 16
"""With 8 of them a sweep of the digits recipe took 17 s, not 16: most of them wait for programs that are being made."""


@dataclass(frozen=True)
class Placement:
    """Where trials train.

    Attributes:
        workers: How many there are.
        lanes: Trials that each trains at once: a number, `auto` for as many as are fastest, or `off`.
        most: Trials that may be under way over all workers; None where each has one.
        said: What there is to tell people about it, or nothing.
        judges: Whether a worker judges the best of them in the end, too: one on the CPU, where there is one only.
        gpu_memory_mb: Cap on what each worker's tensors may fill of its GPU, in MiB; None lets it grow as needed.
        probes: Whether a probe trial is to tell first how many workers share a GPU.
        why: Why they do not train in lanes, where that was not the recipe's own wish.
    """

    workers: int
    lanes: int | Literal["auto", "off"]
    most: int | None = None
    said: str = ""
    judges: bool = False
    gpu_memory_mb: int | None = None
    probes: bool = False
    why: str = ""

    @property
    def most_each(self) -> int:
        """Trials that one worker may have at once."""
        return 1 if self.most is None else -(-self.most // self.workers)


def placement(
    config: SweepConfig,
    obstacle: str | None,
    *,
    cores: int,
    gpus: int,
    free_mb: int | None = None,
    need: Need | None = None,
) -> Placement:
    """Decides it.

    Args:
        config: The recipe.
        obstacle: Why trials of this recipe cannot, or had better not, be trained at once in one program; None where
            they are.
        cores: That may be used.
        gpus: How many there are.
        free_mb: MiB that are free on the fullest of them; None where nobody knows.
        need: What a probe trial took of one; None where there was none.
    """
    execution = config.execution
    lanes = "off" if obstacle else execution.lanes
    sharing, probes = _sharing(config, lanes != "off", cores, gpus, free_mb, need)
    if execution.executor == "inline":
        workers = 1
    elif execution.workers != "auto":
        workers = execution.workers
    elif gpus:
        workers = gpus * sharing.workers
    else:
        workers = cores if lanes == "off" else 1  # one program uses all cores by itself
    words = [sharing.why]
    if not gpus and execution.workers_per_gpu != "auto":
        words = [f"There is no GPU, so execution.workers_per_gpu: {execution.workers_per_gpu} does nothing."]
    if lanes == "off":
        why = "" if execution.lanes == "off" else str(obstacle)
        words.insert(0, f"Trains one trial at a time: {why}." if why else "")
        return Placement(workers, "off", said=_joined(words), gpu_memory_mb=sharing.cap_mb, probes=probes, why=why)
    most = most_at_once(config, workers)
    words.insert(0, f"Trains up to {most} trials at once, in one program." if most > 1 else "")
    judges = workers == 1 and not gpus and execution.executor == "processes"
    return Placement(workers, lanes, most, _joined(words), judges, sharing.cap_mb)


def _sharing(
    config: SweepConfig, in_lanes: bool, cores: int, gpus: int, free_mb: int | None, need: Need | None
) -> tuple[Sharing, bool]:
    """How each GPU is shared, and whether a probe trial is to tell that first."""
    execution, cap = config.execution, config.execution.gpu_memory_mb
    if not gpus:
        return Sharing(1, cap), False
    if execution.executor == "inline":
        return share_between(1, free_mb=free_mb, cap_mb=cap), False
    if execution.workers != "auto":
        return share_between(-(-execution.workers // gpus), free_mb=free_mb, cap_mb=cap), False
    if execution.workers_per_gpu != "auto":
        return share_between(execution.workers_per_gpu, free_mb=free_mb, cap_mb=cap), False
    # one program fills a GPU; and where nobody knows its memory, nobody can share it out
    if in_lanes or execution.executor != "processes" or free_mb is None or cores < 2 * gpus:
        return share_between(1, free_mb=free_mb, cap_mb=cap), False
    if need is None:
        return share_between(1, free_mb=free_mb, cap_mb=cap), config.budget.trials > gpus
    return choose(need, free_mb=free_mb, cores=cores, gpus=gpus, trials=config.budget.trials, cap_mb=cap), False


def _joined(words: Iterable[str]) -> str:
    return " ".join(word for word in words if word)


def most_at_once(config: SweepConfig, workers: int) -> int:
    """How many trials may be under way at once, over all workers, where a worker trains many at once.

    A sampler that learns from results knows nothing of those that are still under way: with all trials of a budget at
    once, it would be random search. An eighth of the budget costs it little: at the end it has seen what came of at
    least seven eighths of the trials before the last ones were drawn. That is so for a study that goes on, too, where
    the budget counts the trials of earlier starts. A number of lanes in the recipe is somebody's own choice, and is
    kept.

    Args:
        config: The recipe.
        workers: How many there are.
    """
    lanes, trials = config.execution.lanes, config.budget.trials
    if isinstance(lanes, int):
        most = lanes * workers
    elif config.sampler.learns:
        most = max(_FEWEST, trials // _SHARE)
    else:
        most = MOST_LANES
    return min(most, trials)


def most_unheard(heard: int, workers: int) -> int:
    """How many trials under way may have ended no epoch yet, where a worker trains many at once and the sampler learns.

    Trials that begin together are drawn from the same knowledge. Those that last equally long end together, too, and
    all that come after them are drawn as blindly. So a sweep begins with a few, and more of them begin at each epoch,
    by half of all that it has heard of: the lanes are full some epochs later, and those in them at different epochs.

    Args:
        heard: Trials of the study that are over, or have ended an epoch.
        workers: How many there are.
    """
    return max(_FEWEST_UNHEARD, heard // 2, 2 * workers)
