"""An engine that can house the workers of a recipe on this machine, and how they live there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.docking.code import code_folders
from pipelines.errors import ServiceError
from pipelines.executors.docker.base import ContainerPlan, Engine, EngineFacts, EngineGone, EngineRefused, Mount
from pipelines.executors.docker.berth import Berth
from pipelines.executors.docker.containers import COMMAND
from pipelines.executors.docker.engine import DockerEngine, engine_address, is_elsewhere
from pipelines.executors.docker.settings import parts_of
from pipelines.home import Home, StudyFolder
from pipelines.recipe.config import SweepConfig

_SHARE = 0.9
_SURROUNDINGS = {"HOME": "/tmp", "USER": "regatta", "LOGNAME": "regatta", "PYTHONUNBUFFERED": "1"}
"""Variables of every container: some library always asks who the user is, and where that lives."""
INSTEAD = "Or let trials train in processes: --executor processes."


@dataclass(frozen=True)
class Dock:
    """An engine that can house workers.

    Attributes:
        engine: It.
        address: Where it is.
        facts: What it is like.
        image: The training image.
        home: Regatta's state.
        folder: Of the study.
        config: The recipe.
    """

    engine: Engine
    address: str
    facts: EngineFacts
    image: str
    home: Home
    folder: StudyFolder
    config: SweepConfig

    def memory_mb(self, workers: int) -> int:
        """What a worker may use, in MiB."""
        execution = self.config.execution
        own = execution.docker.memory_mb or execution.memory_cap_mb
        return own or max(256, int(_SHARE * (self.facts.memory_bytes >> 20) / workers))

    def berth(self, environments: Sequence[Mapping[str, str]], *, cores: int) -> Berth:
        """Where so many workers live.

        Args:
            environments: One a worker.
            cores: Of the machine.
        """
        docker, workers = self.config.execution.docker, len(environments)
        code = list(code_folders(self.config))
        plan = ContainerPlan(
            image=self.image,
            command=COMMAND,
            name="",  # each has its own
            environment={**_SURROUNDINGS, **docker.environment},
            mounts=[*self._mounts(code), *map(_mount, docker.volumes)],
            folder=str(Path.cwd()) if code else "",
            user="0:0" if self.facts.rootless else f"{os.getuid()}:{os.getgid()}",
            cpus=docker.cpus or max(1, cores // workers),
            memory_bytes=self.memory_mb(workers) << 20,
            shm_bytes=docker.shm_mb << 20,
            network=docker.network,
            user_namespace="host" if self.facts.maps_users else "",
        )
        path = [str(folder) for folder in code]
        return Berth(self.config.study, self.folder.root, self.folder.logs, plan, environments, path)

    def _mounts(self, code: Sequence[Path]) -> Iterator[Mount]:
        """The study's folder, what trains and what is kept; code, which is only read."""
        for folder in code:
            yield Mount(str(folder), str(folder), read_only=True)
        for folder, read_only in ((self.home.data, True), (self.home.lanes, False), (self.folder.root, False)):
            folder.mkdir(parents=True, exist_ok=True)
            yield Mount(str(folder), str(folder), read_only)


def dock(
    config: SweepConfig, home: Home, folder: StudyFolder, *, gpu: bool = False, engine: Engine | None = None
) -> Dock:
    """Finds the engine, and which image workers are made from.

    Args:
        config: The recipe.
        home: Regatta's state.
        folder: Of the study.
        gpu: Whether workers have GPUs.
        engine: In place of this machine's.

    Raises:
        ServiceError: There is no engine that could be used.
    """
    address = engine_address()
    if engine is None and is_elsewhere(address):
        raise ServiceError(
            f"The Docker engine at {address} is on another machine, and the executor docker needs one that sees this "
            f"machine's files. Unset DOCKER_HOST, or have other machines train with --executor ray."
        )
    try:
        engine = engine or DockerEngine()
        image = config.execution.docker.image_for(gpu=gpu)
        return Dock(engine, address, engine.facts(), image, home, folder, config)
    except EngineGone as problem:
        raise no_engine(address, problem) from None
    except EngineRefused as problem:
        raise ServiceError(f"The Docker engine at {address} cannot be used: {problem}. {INSTEAD}") from None


def _mount(volume: str) -> Mount:
    source, target, mode = parts_of(volume)
    return Mount(source, target, mode == "ro")


def no_engine(address: str, problem: EngineGone) -> ServiceError:
    """What to say of an engine that does not answer."""
    if problem.forbidden:
        return ServiceError(
            f"This user may not use the Docker engine at {address} ({problem}). Have somebody add the user to the "
            f"group docker. {INSTEAD}"
        )
    return ServiceError(
        f"No Docker engine answers at {address} ({problem}). Start Docker, or set DOCKER_HOST. {INSTEAD}"
    )
