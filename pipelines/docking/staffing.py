"""Who trains the trials of a sweep in containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pipelines import devices
from pipelines.docking.check import make_sure
from pipelines.docking.dock import Dock, dock
from pipelines.executors.base import Executor
from pipelines.executors.docker.base import Engine
from pipelines.executors.docker.containers import Containers
from pipelines.executors.slots import Recycling, SlotsExecutor
from pipelines.home import Home, StudyFolder
from pipelines.placing import Placement
from pipelines.recipe.config import SweepConfig
from pipelines.worker import TrialWorker, WorkerSettings, shares

_SAFE = 0.85
"""The part of a container's memory above which its worker is replaced, rather than ended by the system."""


def check_containers(config: SweepConfig, workers: int, engine: Engine | None = None) -> None:
    """Makes sure that so many workers of a recipe can live in containers. To be called with the study's lock.

    Args:
        config: The recipe.
        workers: How many there are.
        engine: In place of this machine's.

    Raises:
        ServiceError: They cannot.
    """
    cores, found = devices.cores(), devices.gpus()
    make_sure(_docked(config, engine), shares(cores, workers, found), cores=cores)


def open_containers(
    config: SweepConfig,
    place: Placement,
    prepare: tuple[str, Sequence[object]] | None = None,
    engine: Engine | None = None,
) -> Containers:
    """Where the workers of a place are to live. With something to prepare, all of them are started.

    Args:
        config: The recipe.
        place: Where its trials train.
        prepare: What each does until it is hired: a function, as `module:name`, and its arguments.
        engine: In place of this machine's.

    Raises:
        ServiceError: There is no engine that could be used.
    """
    found, cores = devices.gpus(), devices.cores()
    docked, environments = _docked(config, engine), shares(cores, place.workers, found)
    rotation = devices.Rotation.of(environments) if found else None
    berth = docked.berth(environments, cores=cores)
    containers = Containers(docked.engine, berth, prepare=prepare, rotation=rotation)
    if prepare is not None:
        for number in range(place.workers):
            containers.recruit(number)
    return containers


def make_docker_executor(
    folder: StudyFolder, place: Placement, containers: Containers, settings: WorkerSettings, recycling: Recycling
) -> Executor:
    """The executor of a recipe whose trials train in containers, not started yet.

    Args:
        folder: Of the study.
        place: Where its trials train.
        containers: Where the workers live; some may wait there already.
        settings: Of a worker, as far as its container does not say more.
        recycling: When a worker is replaced, likewise.
    """
    may_mb = int(_SAFE * containers.berth.memory_mb)
    containers.factory = partial(TrialWorker, replace(settings, memory_mb=min(settings.memory_mb, may_mb)))
    recycling = replace(recycling, above_bytes=min(recycling.above_bytes, may_mb << 20), cap_bytes=None)
    return SlotsExecutor(containers, place.workers, logs=folder.logs, recycling=recycling)


def _docked(config: SweepConfig, engine: Engine | None) -> Dock:
    home = Home.from_environment()
    return dock(config, home, home.study(config.study), gpu=bool(devices.gpus()), engine=engine)
