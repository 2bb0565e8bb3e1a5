"""Who trains the trials of a sweep: worker processes, the first of them started before the sweep has its data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import devices
from pipelines.computing import remarks
from pipelines.datasets.prepared import PreparedData
from pipelines.devices.sharing import LEAST_MB, equal_share_mb
from pipelines.executors.base import Executor
from pipelines.executors.inline import InlineExecutor
from pipelines.executors.processes import ProcessesExecutor, Recycling
from pipelines.executors.recruits import Recruits
from pipelines.home import StudyFolder
from pipelines.judging import JudgeWorker
from pipelines.laneable import obstacle
from pipelines.placing import Placement, placement
from pipelines.probe import Needs, ProbeRequest, ProbeWorker, candidates, probe
from pipelines.programs import too_many
from pipelines.readying import get_ready, modules_for
from pipelines.recipe.config import SweepConfig
from pipelines.warm import TrainAndJudge
from pipelines.worker import TrialWorker, WorkerSettings, environment, shares

if TYPE_CHECKING:
    from pipelines.afar.staffing import Backing
    from pipelines.executors.docker.containers import Containers
    from pipelines.executors.ray.agency import RayAgency

_CUDA_MB = 8 << 10
"""What CUDA's libraries and the driver may fill of the host's memory in a process with a GPU: no leak of a training."""


@dataclass(frozen=True)
class Ahead:
    """Processes that were started before it was certain where the trials of a sweep train.

    Attributes:
        place: Where they probably do: where they would if nothing about the data is against it.
        recruits: The processes for that.
        cluster: Who speaks with the Ray cluster, where they train on one.
        containers: Where they wait, where they train in containers.
    """

    place: Placement | None = None
    recruits: Recruits = field(default_factory=Recruits)
    cluster: RayAgency | None = None
    containers: Containers | None = None

    def fits(self, place: Placement) -> bool:
        """Whether the processes are for this place, whatever is said of it."""
        mine = self.place
        return mine is not None and (mine.workers, mine.lanes, mine.judges) == (
            place.workers,
            place.lanes,
            place.judges,
        )

    def dismiss(self) -> None:
        """Lets go of what nobody has taken. Calling it twice is fine."""
        self.recruits.dismiss()
        if self.cluster is not None:
            self.cluster.close()
        if self.containers is not None:
            self.containers.dismiss()


def recruit(config: SweepConfig, *, cache: Path, early: Recruits | None = None) -> Ahead:
    """Starts the processes of a sweep's workers, which import what they need while its data is prepared.

    Args:
        config: The recipe.
        cache: Folder for what is worth keeping between sweeps.
        early: Processes that were started before the recipe was known, for trials in lanes; taken where they fit.
    """
    if config.execution.executor == "ray":
        from pipelines.afar.staffing import call_cluster

        return Ahead(cluster=call_cluster(config, _ray_folder(config, cache)))
    if config.execution.executor not in ("processes", "docker"):
        return Ahead()
    found, cores = devices.gpus(), devices.cores()
    place = _placed(config, None, cache)
    lanes = place.lanes != "off"
    programs = str(cache) if lanes and not found else ""
    modules = modules_for(lanes=lanes)
    if config.execution.executor == "docker":
        from pipelines.docking.staffing import open_containers

        return Ahead(
            place, containers=open_containers(config, place, (f"{get_ready.__module__}:get_ready", (modules, programs)))
        )
    preparation = partial(get_ready, modules, programs)
    return Ahead(place, Recruits(shares(cores, place.workers, found), preparation, early if lanes else None))


def make_sure(config: SweepConfig, *, cache: Path) -> None:
    """Makes sure that workers of this recipe can be had, where that is not certain: before anything is prepared.

    To be called with the study's lock.

    Args:
        config: The recipe.
        cache: Folder for what is worth keeping between sweeps.

    Raises:
        ServiceError: They cannot be had.
    """
    if config.execution.executor == "docker":
        from pipelines.docking.staffing import check_containers

        check_containers(config, _placed(config, None, cache).workers)


def find_place(
    config: SweepConfig, data: PreparedData, *, cache: Path | None = None, ahead: Ahead | None = None
) -> Placement:
    """Where the trials of a recipe train: on this machine, unless it names a cluster.

    Args:
        config: The recipe.
        data: What they train on.
        cache: Folder for what is worth keeping between sweeps, such as what probe trials found; None for nowhere.
        ahead: What was started before.
    """
    why = None
    if config.execution.lanes != "off":
        why = obstacle(*data.read(), config.execution.data_memory_mb << 20)
    if config.execution.executor == "ray":
        from pipelines.afar.staffing import place_on_cluster

        if why is None and not config.execution.ray.num_gpus:
            why = too_many(config, cores=1, samples=data.counts["train"])
        return place_on_cluster(config, why, ahead.cluster if ahead is not None else None)
    place = _placed(config, why, cache, data.counts["train"])
    stock = devices.inventory()
    about = [*stock.remarks, *remarks(_precisions(config), [device.capability for device in stock.devices])]
    return replace(place, said=" ".join(word for word in (place.said, *about) if word))


def settle(
    config: SweepConfig, folder: StudyFolder, data: PreparedData, place: Placement, *, cache: Path, ahead: Ahead
) -> Placement:
    """The place, with the number of workers that share a GPU: where nobody knows it, a probe trial is watched first.

    Args:
        config: The recipe.
        folder: Of the study.
        data: What its trials train on.
        place: Where they train, as far as is known.
        cache: Folder for what is worth keeping between sweeps.
        ahead: Processes that were started before.
    """
    stock = devices.inventory()
    if not place.probes or not stock.devices:
        return place
    cores, first = devices.cores(), stock.devices[0]
    settings = WorkerSettings(
        max(1, cores // place.workers),
        equal_share_mb(first.free_mb or 0, 2) or LEAST_MB,  # as much as half of it is more than one trial should need
        config.execution.data_memory_mb,
    )
    environments = shares(cores, place.workers, stock.names)[:1]
    executor = ProcessesExecutor(
        partial(ProbeWorker, settings), environments, logs=folder.logs / "probe", recruits=ahead.recruits
    )
    objective = config.objective
    probed = probe(ProbeRequest(candidates(config), str(data.folder), (objective.metric, objective.sense)), executor)
    if probed.need is None:
        told = f"The probe trial came to nothing ({probed.problem}), so there is one worker a GPU."
        return replace(place, probes=False, said=f"{place.said} {told}".strip())
    Needs(cache).keep(config, first, probed.need)
    found = find_place(config, data, cache=cache)
    return replace(found, probes=False)


def _placed(config: SweepConfig, why: str | None, cache: Path | None, samples: int | None = None) -> Placement:
    """Where they train, by what is known now of this machine and of the data, if anything."""
    stock = devices.inventory()
    need = None if cache is None or not stock.devices else Needs(cache).recall(config, stock.devices[0])
    gpus = len(devices.gpus())
    if why is None and not gpus:  # what it takes to compile for one was not measured
        why = too_many(config, cores=devices.cores(), samples=samples)
    return placement(config, why, cores=devices.cores(), gpus=gpus, free_mb=stock.free_mb, need=need)


def _precisions(config: SweepConfig) -> list[str]:
    """All that trials may have."""
    drawn = getattr(config.search_space.get("precision"), "choices", None)
    return [config.precision] if drawn is None else [str(choice) for choice in drawn]


def _ray_folder(config: SweepConfig, cache: Path) -> Path:
    """Where the code for a cluster's nodes is laid: no part of the study, which may be set aside while it is sent."""
    return cache.parent / "ray" / config.study


def make_executor(
    config: SweepConfig,
    folder: StudyFolder,
    place: Placement,
    *,
    cache: Path,
    trials: int,
    ahead: Ahead | None = None,
    backing: Backing | None = None,
) -> Executor:
    """The executor of a recipe, not started yet.

    Args:
        config: The recipe.
        folder: Of the study.
        place: Where its trials train.
        cache: Folder for what is worth keeping between sweeps.
        trials: Trials that are to come.
        ahead: Processes that were started before; those for another place are let go.
        backing: What trials need that train on other machines.
    """
    execution = config.execution
    if execution.executor == "ray":
        from pipelines.afar.staffing import call_cluster, make_ray_executor

        assert backing is not None, "trials on other machines need their data brought there"
        taken = ahead.cluster if ahead is not None else None
        agency = taken or call_cluster(config, _ray_folder(config, cache))
        return make_ray_executor(config, folder, place, agency, backing, trials=trials)
    found, cores = devices.gpus(), devices.cores()
    lanes = place.lanes != "off"
    limit_mb = execution.memory_limit_mb + (_CUDA_MB if found else 0)
    settings = WorkerSettings(
        max(1, cores // place.workers),
        place.gpu_memory_mb,
        execution.data_memory_mb,
        place.lanes,
        place.most_each,
        max(1, trials // place.workers),
        min(limit_mb, execution.memory_cap_mb or limit_mb),
        str(cache) if lanes else "",
        place.why,
    )
    if execution.executor == "inline":
        os.environ.update(environment(cores, found[0] if found else None))
        return InlineExecutor(partial(TrialWorker, settings))
    recycling = Recycling(
        None if lanes else execution.recycle_after,
        limit_mb << 20,
        None if execution.memory_cap_mb is None else execution.memory_cap_mb << 20,
    )
    if ahead is not None and not ahead.fits(place):
        ahead.dismiss()
        ahead = None
    if execution.executor == "docker":
        from pipelines.docking.staffing import make_docker_executor, open_containers

        containers = ahead.containers if ahead is not None else None
        return make_docker_executor(folder, place, containers or open_containers(config, place), settings, recycling)
    environments = shares(cores, place.workers, found)
    worker = TrainAndJudge if place.judges else TrialWorker
    recruits = ahead.recruits if ahead is not None else Recruits()
    return ProcessesExecutor(
        partial(worker, settings),
        environments,
        logs=folder.logs,
        recycling=recycling,
        recruits=recruits,
        rotation=devices.Rotation.of(environments) if found else None,
    )


def make_judge_executor(folder: StudyFolder) -> Executor:
    """One process, on the CPU, for the judge."""
    return ProcessesExecutor(JudgeWorker, [environment(devices.cores(), None)], logs=folder.logs / "judge")
