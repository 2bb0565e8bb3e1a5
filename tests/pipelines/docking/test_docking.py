from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import devices
from pipelines.docking import check
from pipelines.docking.check import make_sure
from pipelines.docking.code import code_folders
from pipelines.docking.dock import Dock, dock
from pipelines.docking.staffing import make_docker_executor, open_containers
from pipelines.errors import ServiceError
from pipelines.executors.docker.base import EngineGone, Mount
from pipelines.executors.docker.engine import is_elsewhere
from pipelines.executors.slots import Recycling
from pipelines.home import Home
from pipelines.lineage.about import About
from pipelines.placing import Placement
from pipelines.worker import WorkerSettings
from tests.contracts.engines import IMAGE, FakeEngine
from tests.pipelines.scripted import recipe


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    (tmp_path / "engine").mkdir()
    engine = FakeEngine(tmp_path / "engine")
    yield engine
    engine.clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("REGATTA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("REGATTA_IMAGES", raising=False)
    monkeypatch.setattr(devices, "cores", lambda: 4)
    monkeypatch.setattr(devices, "gpus", list)
    home = Home.from_environment()
    home.study("tiny").root.mkdir(parents=True)
    return home


def docked(engine: FakeEngine, home: Home, **docker: Any) -> Dock:
    config = recipe(3, execution={"executor": "docker", "docker": docker})
    return dock(config, home, home.study(config.study), engine=engine)


def sure(engine: FakeEngine, home: Home, here: About | None = None, **docker: Any) -> None:
    make_sure(docked(engine, home, **docker), [{"CUDA_VISIBLE_DEVICES": "-1"}] * 2, cores=4, here=here)


def test_a_worker_has_its_share_of_the_machine_and_sees_what_it_needs_at_the_same_places(
    engine: FakeEngine, home: Home
) -> None:
    plan = docked(engine, home).berth([{}, {}], cores=4).plan

    assert (plan.image, plan.cpus) == (IMAGE, 2)
    assert plan.memory_bytes == int(0.9 * 4096) << 20
    assert plan.user == f"{os.getuid()}:{os.getgid()}"
    folder = str(home.study("tiny").root)
    assert list(plan.mounts) == [
        Mount(str(home.data), str(home.data), read_only=True),
        Mount(str(home.lanes), str(home.lanes)),
        Mount(folder, folder),
    ]
    assert plan.folder == ""


def test_a_recipe_has_the_last_word_on_its_containers(engine: FakeEngine, home: Home) -> None:
    plan = docked(
        engine, home, image="mine:3", cpus=1.5, memory_mb=700, shm_mb=256, network="none",
        volumes=["/images:ro", "/a:/b"], environment={"OMP_NUM_THREADS": "1"},
    ).berth([{}, {}], cores=4).plan  # fmt: skip

    assert (plan.image, plan.cpus, plan.network) == ("mine:3", 1.5, "none")
    assert (plan.memory_bytes, plan.shm_bytes) == (700 << 20, 256 << 20)
    assert list(plan.mounts)[-2:] == [Mount("/images", "/images", read_only=True), Mount("/a", "/b")]
    assert plan.environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("options", "user", "namespace"),
    [({"rootless": True}, "0:0", ""), ({"maps_users": True}, f"{os.getuid()}:{os.getgid()}", "host")],
)
def test_files_belong_to_the_caller_whatever_the_engine_makes_of_users(
    engine: FakeEngine, home: Home, options: dict[str, bool], user: str, namespace: str
) -> None:
    engine.options = options
    plan = docked(engine, home).berth([{}], cores=4).plan
    assert (plan.user, plan.user_namespace) == (user, namespace)


def test_an_image_that_is_what_runs_here_is_looked_into_once(engine: FakeEngine, home: Home) -> None:
    sure(engine, home)
    sure(engine, home)
    assert len(engine.plans) == 1
    assert engine.there == {}

    engine.images[IMAGE] = "sha256:of another day"
    sure(engine, home)
    assert len(engine.plans) == 2
    assert not [path for path in home.study("tiny").root.iterdir() if path.is_file()]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"code": "other"}, "Regatta's own code is another"),
        ({"versions": {"keras": "9.9.9"}}, "keras 3."),
        ({"lock_sha256": "other"}, "it was made from another"),
    ],
)
def test_an_image_that_is_something_else_is_refused_with_the_way_out(
    engine: FakeEngine, home: Home, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(ServiceError, match="is not what this sweep runs with") as caught:
        sure(engine, home, here=replace(About.here(), **change))

    assert text in str(caught.value)
    assert "`make image` builds it from this very code" in str(caught.value)


def test_a_missing_image_is_one_sentence_with_the_way_out(engine: FakeEngine, home: Home) -> None:
    engine.images.clear()
    with pytest.raises(ServiceError, match=r"has no image 'regatta/sweep'.*`make image`"):
        sure(engine, home)
    with pytest.raises(ServiceError, match=r"has no image 'mine'.*execution.docker.image"):
        sure(engine, home, image="mine")


@pytest.mark.parametrize(("pull", "times"), [("missing", 1), ("always", 2)])
def test_an_image_is_fetched_where_the_recipe_says_so(engine: FakeEngine, home: Home, pull: str, times: int) -> None:
    engine.images.clear()
    sure(engine, home, pull=pull)
    sure(engine, home, pull=pull)
    assert engine.pulled == [IMAGE] * times


def test_an_engine_that_sees_other_files_is_refused(engine: FakeEngine, home: Home) -> None:
    engine.blind = True
    with pytest.raises(ServiceError, match=r"do not see .* as it is here"):
        sure(engine, home)


@pytest.mark.parametrize(
    "reason", ["no space left on device", 'network "mine" not found', "could not select device driver"]
)
def test_what_the_engine_says_against_it_is_told_before_anything_is_prepared(
    engine: FakeEngine, home: Home, reason: str
) -> None:
    engine.refuses = reason
    with pytest.raises(ServiceError, match=reason):
        sure(engine, home)
    assert engine.there == {}


def test_an_image_without_regatta_says_what_its_program_said(
    engine: FakeEngine, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_ABOUT", ("python", "-m", "pipelines.no_such_module"))
    with pytest.raises(ServiceError, match=r"No module named pipelines.no_such_module"):
        sure(engine, home)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (EngineGone("Connection refused"), "No Docker engine answers at .*Start Docker"),
        (EngineGone("Permission denied", forbidden=True), "may not use the Docker engine .*group docker"),
    ],
)
def test_an_engine_that_cannot_be_asked_is_one_sentence(
    engine: FakeEngine, home: Home, monkeypatch: pytest.MonkeyPatch, problem: EngineGone, text: str
) -> None:
    def fails() -> None:
        raise problem

    monkeypatch.setattr(engine, "facts", fails)
    with pytest.raises(ServiceError, match=text):
        docked(engine, home)


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [
        ("unix:///var/run/docker.sock", False),
        ("tcp://127.0.0.1:2375", False),
        ("tcp://10.0.0.7:2376", True),
        ("ssh://me@trainer.example", True),
        ("npipe:////./pipe/docker_engine", False),
    ],
)
def test_an_engine_is_elsewhere_by_its_address(address: str, elsewhere: bool) -> None:
    assert is_elsewhere(address) == elsewhere


def test_the_engine_of_another_machine_is_refused_without_being_called(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.7:2376")
    config = recipe(3, execution={"executor": "docker"})
    with pytest.raises(ServiceError, match=r"on another machine.*--executor ray"):
        dock(config, home, home.study("tiny"))


def test_no_engine_at_all_is_one_sentence(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    config = recipe(3, execution={"executor": "docker"})
    with pytest.raises(ServiceError, match=r"docker.sock \(No such file or directory\)"):
        dock(config, home, home.study("tiny"))


def test_what_an_earlier_controller_left_is_removed_first(engine: FakeEngine, home: Home) -> None:
    berth = docked(engine, home).berth([{}], cores=4)
    labels = {"regatta.study": "tiny", "regatta.folder": str(home.study("tiny").root)}
    left = engine.create(replace(berth.plan, labels=labels))

    sure(engine, home)

    assert left not in engine.there


def test_the_folder_with_the_users_own_code_is_shown_and_only_read(
    engine: FakeEngine, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_code_of_docking.py").write_text("def make(inputs, head): ...\n")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "my_other_code_of_docking.py").write_text("class Look: ...\n")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    config = recipe(
        3,
        execution={"executor": "docker"},
        model={"name": "function", "function": "my_code_of_docking:make"},
        callbacks={"look": {"name": "class", "path": "my_other_code_of_docking:Look"}},
    )

    berth = dock(config, home, home.study("tiny"), engine=engine).berth([{}], cores=4)
    plan = berth.plan

    assert list(code_folders(config)) == [tmp_path / "mine", tmp_path / "library"]
    assert list(code_folders(recipe(3))) == []
    here, other = (str(tmp_path / name) for name in ("mine", "library"))
    assert list(plan.mounts)[:2] == [Mount(here, here, read_only=True), Mount(other, other, read_only=True)]
    assert plan.folder == here
    assert list(berth.path) == [here, other]


def test_workers_are_started_ahead_and_keep_below_what_their_containers_may_use(engine: FakeEngine, home: Home) -> None:
    config = recipe(3, execution={"executor": "docker", "docker": {"memory_mb": 1000}})
    prepare = ("pipelines.readying:get_ready", ((), ""))
    containers = open_containers(config, Placement(2, "off"), prepare, engine)
    assert len(containers) == 2

    executor: Any = make_docker_executor(
        home.study("tiny"), Placement(2, "off"), containers, WorkerSettings(2), Recycling(7, 4 << 30, 1 << 30)
    )
    (settings,) = containers.factory.args  # type: ignore[union-attr]
    executor.close()

    assert settings.memory_mb == 850
    assert executor._recycling == Recycling(7, 850 << 20, None)
    assert engine.there == {}


@pytest.mark.parametrize("volume", ["data", "data:/data", "/data:data", "/data:/data:rx"])
def test_a_volume_that_is_none_is_refused_with_the_recipe(volume: str) -> None:
    with pytest.raises(ValueError, match="must be a folder"):
        recipe(3, execution={"executor": "docker", "docker": {"volumes": [volume]}})
