"""Trials in containers of a real engine: to the same results as in processes, and whatever befalls a container."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.places import Place, made_place
from tests.faults.scenarios import curves_of, own, paced
from tests.faults.servers import Server
from tests.faults.watching import SweepAt
from tests.faults.whole import assert_whole
from tests.stack.composed import IMAGES, Composition, docker

IN_CONTAINERS = ("--executor", "docker", "--no-promote", "--lanes", "off")
EPOCHS = 12
LONG = ("--trials", "2", "--set", f"epochs={EPOCHS}", *paced(0.3))
Named = Callable[[str], Place]


@pytest.fixture(scope="module")
def first(composition: Composition, sweep_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A home from which the copy that the image was made of is run; with a server of its own for all these tests."""
    home = tmp_path_factory.mktemp("docker") / "home"
    with made_place(home, "first", {"REGATTA_IMAGES": IMAGES}) as place:
        place.site = replace(place.site, root=composition.folder)
        yield place


@pytest.fixture
def named(first: Place) -> Iterator[Named]:
    """Gives a study of that name a place; no container of its is left in the end."""
    places: list[Place] = []

    def make(study: str) -> Place:
        places.append(Place(first.site, study, Server(first.site.server)))
        return places[-1]

    yield make
    for place in places:
        for watched in place.begun:
            watched.close()
        for container in containers(place):
            docker("rm", "--force", container, check=False)


def containers(place: Place, *filters: str) -> list[str]:
    """The study's containers, whether or not they run."""
    wanted = [f"label=regatta.folder={place.folder}", *filters]
    told = docker("ps", "--all", "--quiet", "--no-trunc", *(word for each in wanted for word in ("--filter", each)))
    return told.stdout.split()


def at_work(sweep: SweepAt, place: Place, trial: int = 0, epochs: int = 2) -> list[str]:
    """Waits until a trial is in the middle of its epochs; returns the containers that run then."""
    sweep.until_epochs(epochs, trial)
    return containers(place, "status=running")


def worker_of(sweep: SweepAt, place: Place) -> str:
    """The container that a trial trains in, of a sweep with one worker."""
    (container,) = at_work(sweep, place)
    return container


@pytest.fixture(scope="module")
def in_processes(first: Place) -> Any:
    """The curves of the sweep that the others are compared with, by worker processes."""
    summary = first.sweep("--no-promote", "--lanes", "off", *LONG)
    return curves_of(first.server, assert_whole(first.server, summary, 2, EPOCHS))


def test_a_sweep_in_containers_is_the_same_sweep_and_leaves_none(named: Named, in_processes: Any) -> None:
    place = named("contained")
    sweep = place.begin(*IN_CONTAINERS, "--workers", "2", *LONG)
    running = at_work(sweep, place)
    told = json.loads(docker("inspect", running[0]).stdout)[0]
    user = place.folder.stat()

    summary = sweep.watched.summary()

    assert curves_of(place.server, assert_whole(place.server, summary, 2, EPOCHS)) == in_processes
    assert len(running) == 2
    assert told["Config"]["Labels"]["regatta.study"] == "contained"
    assert told["Config"]["User"] == f"{user.st_uid}:{user.st_gid}"
    assert told["HostConfig"]["Memory"] > 0
    assert told["HostConfig"]["NanoCpus"] >= 1e9
    assert told["HostConfig"]["CapDrop"] == ["ALL"]
    written = {path for path in place.folder.rglob("*") if "trials" in path.parts}
    assert written
    assert {path.stat().st_uid for path in written} == {user.st_uid}
    assert containers(place) == []
    assert not [path.name for path in (place.folder / "logs").iterdir() if not path.name.endswith(".log")]


def test_a_container_that_is_killed_costs_no_epoch(named: Named, in_processes: Any) -> None:
    place = named("killed")
    sweep = place.begin(*IN_CONTAINERS, "--workers", "1", *LONG)
    docker("kill", worker_of(sweep, place))

    summary = sweep.watched.summary()

    assert curves_of(place.server, assert_whole(place.server, summary, 2, EPOCHS)) == in_processes
    assert "its container was ended by SIGKILL" in sweep.watched.said
    assert "trial 0 goes on from its last epoch" in sweep.watched.said
    assert containers(place) == []


def test_a_trial_that_needs_more_memory_than_its_container_has_fails_of_that(named: Named) -> None:
    place = named("starved")
    fills = f"callbacks.fills={own('Fills', trials=[0], mb=2000)}"
    limit = ("--set", "execution.docker.memory_mb=1500", "--set", "execution.retries=0")

    sweep = place.begin(*IN_CONTAINERS, "--workers", "1", "--trials", "1", *limit, "--set", fills)
    summary = sweep.watched.summary()

    assert summary["trials"] == {"complete": 1, "pruned": 0, "failed": 1}
    assert "for lack of memory; it may use 1500 MiB (execution.docker.memory_mb)" in " ".join(
        sweep.watched.said.split()
    )
    runs = place.server.children(summary["experiment_id"], summary["parent_run_id"])
    assert [run.tags.get("regatta.failure") for run in runs] == ["out_of_memory", None]
    assert containers(place) == []


def test_a_controller_that_is_killed_leaves_no_container_at_work_and_none_at_all_after_the_next_start(
    named: Named, in_processes: Any
) -> None:
    place = named("orphaned")
    sweep = place.begin(*IN_CONTAINERS, "--workers", "1", *LONG)
    orphan = worker_of(sweep, place)

    sweep.watched.process.kill()
    docker("wait", orphan, timeout_s=60)  # it ends by itself
    assert containers(place) == [orphan]
    checked = place.run("reconcile", "--check")
    summary = place.sweep(*IN_CONTAINERS, "--workers", "1", *LONG)

    curves = curves_of(place.server, assert_whole(place.server, summary, 2, EPOCHS))
    assert curves[0] == in_processes[0]  # it went on where it was
    assert "container" not in checked.stdout
    assert containers(place) == []


def test_reconcile_ends_a_container_that_hangs_on_after_its_controller(named: Named) -> None:
    place = named("hanging")
    sweep = place.begin(*IN_CONTAINERS, "--workers", "1", *LONG)
    orphan = worker_of(sweep, place)
    docker("pause", orphan)  # it cannot see that its controller goes
    sweep.watched.process.kill()
    sweep.watched.ended()

    said = place.run("reconcile").stdout

    assert "1 container of a controller that is gone goes on: ended, slots freed." in said
    assert containers(place) == []


def test_many_trials_train_at_once_in_a_container(named: Named) -> None:
    place = named("lanes")
    flags = ("--executor", "docker", "--no-promote", "--lanes", "4", "--workers", "1", "--trials", "8")

    sweep = place.begin(*flags)
    summary = sweep.watched.summary()

    assert_whole(place.server, summary, 8, 4)
    assert "Trains up to 4 trials at once, in one program" in sweep.watched.said


def test_the_best_of_a_sweep_in_containers_is_promoted(named: Named) -> None:
    place = named("promoted")
    summary = place.sweep("--executor", "docker", "--workers", "1", "--trials", "2")
    assert summary["registered"] == {"name": "promoted", "version": "1", "alias": "champion"}


@pytest.mark.parametrize(
    ("flags", "settings", "text"),
    [
        (("--set", "execution.docker.image=regatta/no-such-image"), {}, "has no image 'regatta/no-such-image'"),
        (("--set", "execution.docker.image=python:3.11-slim-bookworm"), {}, "does not hold this version of Regatta"),
        (("--set", "execution.docker.network=no_such_network"), {}, "no_such_network"),
        (("--set", "execution.docker.volumes=['/no/such/folder']"), {}, "/no/such/folder"),
        ((), {"DOCKER_HOST": "unix:///no/such/docker.sock"}, "No Docker engine answers at unix:///no/such/docker.sock"),
        ((), {"DOCKER_HOST": "tcp://192.0.2.7:2376"}, "is on another machine"),
    ],
    ids=["no image", "a stranger's image", "no network", "no folder", "no engine", "another machine"],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_prepared(
    base_image: str, named: Named, tmp_path: Path, flags: tuple[str, ...], settings: dict[str, str], text: str
) -> None:
    place = named("refused")
    done = place.run(
        *place.flags(*IN_CONTAINERS, *flags), REGATTA_HOME=str(tmp_path / "home"), DOCKER_BUILDKIT="0", **settings
    )

    assert done.returncode == 2, done.stderr
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not any((tmp_path / "home" / "data").glob("*"))
    assert not (tmp_path / "home" / "run").exists()  # nor was a server started
