"""Who trains the trials of a sweep on a Ray cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipelines import devices
from pipelines.afar.executor import FarExecutor, variables_for_nodes
from pipelines.afar.record import NoRecord, Record
from pipelines.afar.words import NodeSettings
from pipelines.afar.worker import FarWorker, make_trial_worker
from pipelines.errors import ServiceError
from pipelines.executors.base import Executor
from pipelines.executors.ray.baggage import pack, pins
from pipelines.executors.ray.executor import RayExecutor
from pipelines.executors.ray.words import Connect
from pipelines.executors.reception import Reception
from pipelines.executors.slots import Recycling
from pipelines.home import StudyFolder
from pipelines.placing import Placement, most_at_once
from pipelines.recipe.config import SweepConfig
from pipelines.worker import WorkerSettings, environment

if TYPE_CHECKING:
    from pipelines.executors.ray.agency import RayAgency

ADDRESS = "RAY_ADDRESS"
_CONNECTED_IN_S = 120.0
_STATE_BYTES = 400 << 20
"""Of a state, at most: what is said to a worker must fit into a message."""
_NOT_SAID = {"CUDA_VISIBLE_DEVICES"}
"""Which Ray sets."""


@dataclass(frozen=True)
class Backing:
    """What trials on other machines need beside their config.

    Attributes:
        data: Folder with the prepared data.
        server: Address of the tracking server.
        record: Of the runs; none for trainings that have no runs.
    """

    data: Path
    server: str = ""
    record: Record = NoRecord()  # noqa: RUF009  # it has nothing that could change


def call_cluster(config: SweepConfig, folder: Path) -> RayAgency:
    """Begins to connect to the cluster of a recipe, which takes seconds; nobody waits for it.

    Args:
        config: The recipe.
        folder: For the code that nodes run, and for what Ray prints.

    Raises:
        ServiceError: Ray is not installed.
        ExecutorError: The code cannot be sent.
    """
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise ServiceError(
            "The executor 'ray' needs Ray, which is not installed here. Get it with: make setup-ray, or pip install "
            "-r requirements/ray.txt"
        )
    from pipelines.executors.ray.agency import DriverLine, RayAgency, own_address

    settings = config.execution.ray
    address = settings.address or os.environ.get(ADDRESS) or None
    address = None if address == "local" else address
    code = pack(folder / "code.zip", config.model_dump(mode="json"), Path.cwd())
    threads = max(1, int(settings.num_cpus))
    variables = {name: value for name, value in environment(threads, None).items() if name not in _NOT_SAID}
    if settings.node_home:
        variables["REGATTA_NODE_HOME"] = settings.node_home
    connect = Connect(
        address,
        str(code),
        settings.needs(),
        () if settings.packages == "there" else pins(),
        settings.packages == "install",
        settings.runtime_env,
        variables,
        devices.cores(),
        len(devices.gpus()),
        None if settings.object_store_mb is None else settings.object_store_mb << 20,
    )
    reception = Reception.at_port(settings.host or own_address(address))
    return RayAgency(DriverLine(connect, folder / "ray.log"), reception)


def place_on_cluster(config: SweepConfig, why: str | None, agency: RayAgency | None) -> Placement:
    """Where the trials of a recipe train.

    Args:
        config: The recipe.
        why: What is against training many trials at once in one program, or None.
        agency: Speaks with the cluster; None where nothing is to be trained.

    Raises:
        ServiceError: The cluster cannot be had, or has no room for a single worker.
    """
    execution = config.execution
    workers, told = 1, []
    if execution.workers != "auto":
        workers = execution.workers
    elif agency is not None:
        cluster = agency.connected(_CONNECTED_IN_S)
        if not cluster.places:
            wanted = ", ".join(f"{amount:g} {name}" for name, amount in execution.ray.needs().items())
            raise ServiceError(
                f"No node of the Ray cluster {cluster.name} has room for a worker with {wanted} (execution.ray). Its "
                f"nodes have: {'; '.join(cluster.nodes) or 'there are none'}. For a cluster that grows when it is "
                f"asked to, say how many workers there are to be with execution.workers."
            )
        workers = cluster.places
        nodes = f"{len(cluster.nodes)} node{'' if len(cluster.nodes) == 1 else 's'}"
        told.append(f"Trains on the Ray cluster {cluster.name}: {nodes}, {workers} workers.")
    lanes = "off" if why else execution.lanes
    if lanes == "off":
        if execution.lanes != "off":
            told.append(f"Trains one trial at a time: {why}.")
        return Placement(workers, "off", said=" ".join(told), why=why or "")
    most = most_at_once(config, workers)
    if most > 1:
        told.append(f"Trains up to {most} trials at once, in one program a worker.")
    return Placement(workers, lanes, most, " ".join(told))


def make_ray_executor(
    config: SweepConfig,
    folder: StudyFolder,
    place: Placement,
    agency: RayAgency,
    backing: Backing,
    *,
    trials: int,
) -> Executor:
    """The executor of a recipe, not started yet.

    Args:
        config: The recipe.
        folder: Of the study.
        place: Where its trials train.
        agency: Speaks with the cluster; it is closed with the executor.
        backing: What trials need beside their config.
        trials: Trials that are to come.

    Raises:
        ServiceError: The cluster cannot be had.
    """
    execution = config.execution
    lanes = place.lanes != "off"
    cap_mb = execution.memory_cap_mb
    settings = WorkerSettings(
        max(1, int(execution.ray.num_cpus)),
        execution.gpu_memory_mb,
        execution.data_memory_mb,
        place.lanes,
        place.most_each,
        max(1, trials // place.workers),
        min(execution.memory_limit_mb, cap_mb or execution.memory_limit_mb),
        "lanes" if lanes else "",
        place.why,
    )
    on_nodes = NodeSettings(
        backing.server if urlsplit(backing.server).scheme in {"http", "https"} else "",
        variables_for_nodes(os.environ),
        min(execution.ray.state_mb << 20, _STATE_BYTES),
    )
    agency.connected(_CONNECTED_IN_S)
    agency.factory = partial(FarWorker, on_nodes, partial(make_trial_worker, settings))
    agency.load(backing.data)
    recycling = Recycling(
        None if lanes else execution.recycle_after,
        execution.memory_limit_mb << 20,
        None if cap_mb is None else cap_mb << 20,
    )
    workers = RayExecutor(
        agency, place.workers, logs=folder.logs, recycling=recycling, follows=execution.workers == "auto"
    )
    return FarExecutor(workers, folder.root, backing.record)
