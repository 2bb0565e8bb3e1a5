"""Workers in containers of a real engine: what every executor promises, and what befalls containers."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.executors.base import Loss, LossKind
from pipelines.executors.docker.adrift import Adrift, labels_of
from pipelines.executors.docker.base import ContainerPlan, Mount
from pipelines.executors.docker.berth import Berth
from pipelines.executors.docker.containers import COMMAND, Containers
from pipelines.executors.docker.engine import DockerEngine
from pipelines.executors.slots import Recycling, SlotsExecutor
from pipelines.executors.staff import Agency
from tests.contracts.test_executors import DialledContract, Recorder, pump, run, task
from tests.contracts.workers import make_steps
from tests.sites import ROOT
from tests.stack.composed import docker

MEMORY_MB = 256
Hire = Callable[..., Containers]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the workers see of this machine beside the repository, in a place too deep for the address of a socket."""
    folder = tmp_path_factory.mktemp("docker") / ("deep" * 25)
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def hires(sweep_image: str, folder: Path) -> Iterator[Hire]:
    """Opens agencies for workers in containers; none of these is left in the end."""
    engine, study = DockerEngine(), f"regatta-test-{secrets.token_hex(3)}"
    mounts = [Mount(str(ROOT), str(ROOT), read_only=True), Mount(str(folder), str(folder))]
    plan = ContainerPlan(
        sweep_image, COMMAND, "", mounts=mounts, user=f"{os.getuid()}:{os.getgid()}", cpus=1,
        memory_bytes=MEMORY_MB << 20, network="none",
    )  # fmt: skip

    def hire(factory: Any = make_steps, workers: int = 1, **more: Any) -> Containers:
        logs = folder / secrets.token_hex(3)
        return Containers(engine, Berth(study, folder, logs, plan, [{}] * workers, [str(ROOT)]), factory, **more)

    yield hire
    left = engine.labelled(labels_of(study, folder))
    for container in left:
        engine.remove(container)
    assert left == {}


class TestContainersOfARealEngine(DialledContract):
    @pytest.fixture(scope="class")
    @classmethod
    def hire(cls, hires: Hire) -> Callable[[Any], Agency]:
        return hires

    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, folder: Path) -> Path:
        return folder

    @pytest.fixture
    def tmp_path(self, folder: Path) -> Path:
        """A folder that the workers see, too."""
        path = folder / secrets.token_hex(3)
        path.mkdir()
        return path


Make = Callable[..., tuple[SlotsExecutor, Recorder, Containers]]


@pytest.fixture
def make(hires: Hire) -> Iterator[Make]:
    made: list[SlotsExecutor] = []

    def start(
        workers: int = 1, recycling: Recycling | None = None, change: Any = None, **more: Any
    ) -> tuple[SlotsExecutor, Recorder, Containers]:
        agency = hires(workers=workers, **more)
        if change:
            agency.berth = replace(agency.berth, plan=replace(agency.berth.plan, **change))
        executor, handler = SlotsExecutor(agency, workers, logs=agency.berth.logs, recycling=recycling), Recorder()
        made.append(executor)
        executor.start(handler)
        pump(executor, lambda: handler.room == workers)
        return executor, handler, agency

    yield start
    for executor in made:
        executor.close()


def running(agency: Containers) -> list[str]:
    found = DockerEngine().labelled(labels_of(agency.berth.study, agency.berth.folder))
    return [container for container, runs in found.items() if runs]


def of(agency: Containers) -> list[dict[str, Any]]:
    """What the engine says of its containers."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", *running(agency)).stdout)
    return found


def test_a_container_has_the_limits_and_the_user_that_were_asked_for_and_nothing_more(make: Make) -> None:
    _, _, agency = make()
    (told,) = of(agency)

    host = told["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["MemorySwap"]) == (10**9, MEMORY_MB << 20, MEMORY_MB << 20)
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert told["Config"]["User"] == f"{os.getuid()}:{os.getgid()}"
    assert told["Name"].startswith(f"/regatta-{agency.berth.study}-0-")
    assert {mount["Source"]: mount["RW"] for mount in told["Mounts"] if mount["Type"] == "bind"} == {
        str(ROOT): False,
        str(agency.berth.folder): True,
    }


def test_a_kill_from_outside_is_a_loss_and_the_log_goes_on(make: Make, folder: Path) -> None:
    executor, handler, agency = make()
    run(executor, handler, ("print", "before"))
    executor.assign(0, task(("say", "begun"), ("wait for", folder / "never")))
    pump(executor, lambda: handler.said() == ["begun"])

    docker("kill", *running(agency))
    pump(executor, lambda: handler.count("lost") == 1 and handler.room == 3)
    run(executor, handler, ("print", "after"))

    assert handler.losses() == [Loss("its container was ended by SIGKILL")]
    log = agency.berth.logs / "worker-0.log"
    assert log.read_text() == "before\nafter\n"
    assert log.stat().st_uid == os.getuid()


def test_a_container_that_somebody_removes_is_lost_too(make: Make) -> None:
    executor, handler, agency = make()
    docker("rm", "--force", *running(agency))
    pump(executor, lambda: handler.count("lost") == 1 and handler.room == 2)
    assert handler.losses() == [Loss("its container was ended by SIGKILL")]


def test_a_worker_that_fills_more_than_its_container_may_is_out_of_memory(make: Make, folder: Path) -> None:
    executor, handler, _ = make()
    executor.assign(0, task(("fill MiB", 2 * MEMORY_MB), ("wait for", folder / "never")))
    pump(executor, lambda: handler.count("lost") == 1)

    (loss,) = handler.losses()
    assert loss.kind is LossKind.MEMORY
    assert f"it may use {MEMORY_MB} MiB" in loss.reason


def test_a_worker_that_crashes_is_lost_with_the_signal_and_one_that_raises_with_its_code(make: Make) -> None:
    executor, handler, _ = make()
    executor.assign(0, task(("kill yourself", None)))
    pump(executor, lambda: handler.room == 2)
    executor.assign(0, task(("raise", "out of ideas")))
    pump(executor, lambda: handler.room == 3)

    assert handler.losses() == [
        Loss("its container was ended by SIGKILL"),
        Loss("its container exited with code 1"),
    ]
    assert "RuntimeError: out of ideas" in executor.log_tail(0)


def test_one_that_does_not_get_on_is_ended(make: Make) -> None:
    executor, handler, agency = make()
    docker("pause", *running(agency))
    executor.end(0, "it hangs")
    pump(executor, lambda: handler.room == 2)
    assert handler.losses() == [Loss("it hangs", LossKind.ENDED)]


def test_a_replacement_is_warm_before_the_old_one_goes_and_that_is_removed(make: Make) -> None:
    executor, handler, agency = make(recycling=Recycling(after_tasks=1))
    first = running(agency)
    run(executor, handler, ("say", 1))
    pump(executor, lambda: executor._slots[0].replaceable or executor._slots[0].successor is None)
    run(executor, handler, ("say", 2))
    pump(executor, lambda: not set(first) & set(running(agency)))

    assert handler.said() == [1, 2]
    assert handler.losses() == []


def test_recruits_get_ready_and_are_hired(hires: Hire) -> None:
    agency = hires(None, prepare=("importlib:import_module", ("wave",)))
    agency.recruit(0)
    agency.factory = make_steps
    executor, handler = SlotsExecutor(agency, 1, logs=agency.berth.logs), Recorder()
    with closing(executor):
        executor.start(handler)
        pump(executor, lambda: handler.room == 1)
        assert len(running(agency)) == 1
    assert running(agency) == []


def test_what_a_dead_controller_left_is_found_by_others_and_not_by_itself(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, handler, agency = make(workers=2)
    place = (agency.berth.study, agency.berth.folder, agency.berth.logs)
    assert Adrift.of(*place).containers == {}

    monkeypatch.setattr("pipelines.executors.docker.adrift.CONTROLLER", "another")
    adrift = Adrift.of(*place)
    assert adrift.running == 2
    adrift.remove()
    assert running(agency) == []
    pump(executor, lambda: handler.count("lost") == 2)
