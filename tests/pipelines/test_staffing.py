from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import devices, readying, staffing
from pipelines.compiled import FLAG
from pipelines.devices import Device, Inventory, Need
from pipelines.docking import dock
from pipelines.executors.recruits import Recruits
from pipelines.home import StudyFolder
from pipelines.placing import Placement
from pipelines.probe import Needs, Probed
from pipelines.worker import WorkerSettings, shares
from tests.contracts.engines import FakeEngine
from tests.pipelines.scripted import prepared, recipe


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cores and no GPU."""
    monkeypatch.setattr(devices, "cores", lambda: 2)
    monkeypatch.setattr(devices, "gpus", list)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, two_cores: None) -> Iterator[list[tuple[Any, ...]]]:
    """With what processes were asked for; none that is started prepares itself."""
    calls: list[tuple[Any, ...]] = []
    made: list[Recruits] = []

    def start(environments: Any = (), preparation: Any = None, earlier: Any = None) -> Recruits:
        calls.append((environments, *(preparation.args if preparation else ())))
        made.append(Recruits(environments, None, earlier))
        return made[-1]

    monkeypatch.setattr(staffing, "Recruits", start)
    yield calls
    for recruits in made:
        recruits.dismiss()


@pytest.mark.parametrize(
    ("lanes", "data_memory_mb", "told"),
    [
        ("off", 1024, ""),
        ("auto", 1024, "Trains up to 256 trials at once, in one program."),
        (8, 1024, "Trains up to 8 trials at once, in one program."),
        ("auto", 0, "Trains one trial at a time: its data is larger than execution.data_memory_mb"),
    ],
)
def test_the_data_and_the_recipe_decide_where_trials_train(
    tmp_path: Path, lanes: Any, data_memory_mb: int, told: str
) -> None:
    config = recipe(300, execution={"executor": "inline", "lanes": lanes, "data_memory_mb": data_memory_mb})

    place = staffing.find_place(config, prepared(tmp_path))

    assert place.said.startswith(told)
    assert bool(place.said) == bool(told)
    assert place.workers == 1


def settings_of(executor: Any) -> WorkerSettings:
    """What the workers of an executor are made with."""
    (settings,) = executor._factory.args
    assert isinstance(settings, WorkerSettings)
    return settings


def test_workers_are_made_as_their_place_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr(devices, "gpus", list)
    config = recipe(24, execution={"executor": "processes", "recycle_after": 7, "data_memory_mb": 9})
    folder = StudyFolder(tmp_path / "study")

    alone = Placement(4, "off", why="too large")
    one_by_one: Any = staffing.make_executor(config, folder, alone, cache=tmp_path / "lanes", trials=24)
    many: Any = staffing.make_executor(config, folder, Placement(2, 16, 20), cache=tmp_path / "lanes", trials=24)

    assert settings_of(one_by_one) == WorkerSettings(2, None, 9, "off", 1, 6, 4096, "", "too large")
    assert settings_of(many) == WorkerSettings(4, None, 9, 16, 10, 12, 4096, str(tmp_path / "lanes"))
    assert one_by_one._recycling.after_tasks == 7
    assert many._recycling.after_tasks is None  # a worker of many never rests between two trials; its memory tells
    assert [len(each._environments) for each in (one_by_one, many)] == [4, 2]


def test_processes_are_started_for_where_trials_train_if_nothing_about_the_data_is_against_it(
    tmp_path: Path, asked: list[tuple[Any, ...]]
) -> None:
    lanes = staffing.recruit(recipe(24, execution={"executor": "processes"}), cache=tmp_path)
    one_by_one = staffing.recruit(recipe(24, execution={"executor": "processes", "lanes": "off"}), cache=tmp_path)

    ((environments, modules, programs), (two, fewer, nowhere)) = asked
    assert (environments, two) == (shares(2, 1, []), shares(2, 2, []))
    assert {"tensorflow", "pipelines.training.lanes.trainer"} <= set(modules)
    assert set(fewer) == {"pipelines.recipe.config", "tensorflow", "keras"}
    assert (programs, nowhere) == (str(tmp_path), "")
    assert lanes.place is not None
    assert (lanes.place.workers, lanes.place.lanes, len(lanes.recruits)) == (1, "auto", 1)
    assert len(one_by_one.recruits) == 2


DIVIDED = {"model.units": {"type": "categorical", "choices": [[units] for units in range(1, 41)]}}
"""What makes another program of nearly every trial."""


def test_trials_that_could_share_no_program_train_one_a_core_from_the_first_process_on(
    tmp_path: Path, asked: list[tuple[Any, ...]]
) -> None:
    config = recipe(24, search_space=DIVIDED, execution={"executor": "processes"})
    ahead = staffing.recruit(config, cache=tmp_path / "lanes")
    place = staffing.find_place(config, prepared(tmp_path / "data"), cache=tmp_path / "lanes", ahead=ahead)

    assert (place.workers, place.lanes, place.most, place.judges) == (2, "off", None, False)
    assert place.why == "24 trials would need about 19 programs, which take longer to compile than they save"
    assert place.said == f"Trains one trial at a time: {place.why}."
    assert ahead.fits(place)
    chosen = recipe(24, search_space=DIVIDED, execution={"executor": "processes", "lanes": 8})
    assert staffing.find_place(chosen, prepared(tmp_path / "data")).lanes == 8


def test_what_programs_save_is_told_by_the_data_when_it_is_there(tmp_path: Path, two_cores: None) -> None:
    config = recipe(24, search_space=DIVIDED, epochs=20, execution={"executor": "processes"})
    small = prepared(tmp_path)
    large = replace(small, counts={"train": 48_000, "validation": 2})

    assert [staffing.find_place(config, data).lanes for data in (small, large)] == ["off", "auto"]


def test_trials_in_this_very_process_need_no_other(tmp_path: Path) -> None:
    assert len(staffing.recruit(recipe(24), cache=tmp_path).recruits) == 0


def test_the_executor_gets_the_processes_unless_its_trials_train_elsewhere(
    tmp_path: Path, asked: list[tuple[Any, ...]]
) -> None:
    config, folder = recipe(24, execution={"executor": "processes"}), StudyFolder(tmp_path / "study")

    kept, let_go = (staffing.recruit(config, cache=tmp_path) for _ in range(2))
    assert kept.place is not None
    staffing.make_executor(config, folder, kept.place, cache=tmp_path, trials=24, ahead=kept)
    # the same environment, but not the same programs
    other = Placement(1, "off", said="Trains one trial at a time: its data is larger.")
    staffing.make_executor(config, folder, other, cache=tmp_path, trials=24, ahead=let_go)

    assert (len(kept.recruits), len(let_go.recruits)) == (1, 0)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_cores: None) -> Iterator[FakeEngine]:
    """The Docker engine of this machine, and a home."""
    (tmp_path / "engine").mkdir()
    engine = FakeEngine(tmp_path / "engine")
    monkeypatch.setattr(dock, "DockerEngine", lambda: engine)
    monkeypatch.setenv("REGATTA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    yield engine
    engine.clear()


def test_workers_in_containers_are_started_ahead_and_hired_for_the_same_place(
    tmp_path: Path, engine: FakeEngine
) -> None:
    config = recipe(24, execution={"executor": "docker", "lanes": "off"})
    folder = StudyFolder(tmp_path / "home" / "studies" / "tiny")
    folder.root.mkdir(parents=True)
    staffing.make_sure(config, cache=tmp_path / "lanes")
    checked = len(engine.plans)

    ahead = staffing.recruit(config, cache=tmp_path / "lanes")
    assert ahead.place is not None
    assert ahead.containers is not None
    executor: Any = staffing.make_executor(
        config, folder, ahead.place, cache=tmp_path / "lanes", trials=24, ahead=ahead
    )

    assert (checked, ahead.place.workers, len(ahead.containers)) == (1, 2, 2)
    assert executor._agency is ahead.containers
    assert ahead.containers.factory.args[0].threads == 1
    executor.close()
    assert engine.there == {}


def test_containers_for_another_place_are_let_go(tmp_path: Path, engine: FakeEngine) -> None:
    config = recipe(24, execution={"executor": "docker", "lanes": "off"})
    ahead = staffing.recruit(config, cache=tmp_path)
    other = Placement(1, "off")

    folder = StudyFolder(tmp_path / "home" / "studies" / "tiny")
    executor: Any = staffing.make_executor(config, folder, other, cache=tmp_path, trials=24, ahead=ahead)

    assert executor._agency is not ahead.containers
    assert engine.there == {}
    executor.close()


def test_a_process_imports_what_it_will_need_and_knows_before_where_programs_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    (tmp_path / "made_up_trainer.py").write_text("import os\nKNOWN = os.environ['TF_XLA_FLAGS']\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    readying.get_ready(["made_up_trainer"], str(tmp_path / "lanes"))

    import made_up_trainer  # type: ignore[import-not-found]

    assert made_up_trainer.KNOWN.startswith(f"{FLAG}={tmp_path / 'lanes'}{os.sep}xla-")


GPUS = Inventory(
    (Device(0, "GPU-a", "NVIDIA H100", 81559, 80000, 0, (), (9, 0)), Device(1, "GPU-b", "NVIDIA H100", 81559, 70000)),
    "nvml",
    ("GPU 1 (NVIDIA H100, GPU-b) is in use by others: 11559 of its 81559 MiB are taken, 70000 are free.",),
)
NEED = Need(100.0, 500.0, 0.25)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 16 cores and two GPUs, of which somebody uses one."""
    monkeypatch.setattr(devices, "cores", lambda: 16)
    monkeypatch.setattr(devices, "gpus", lambda: GPUS.names)
    monkeypatch.setattr(devices, "inventory", lambda: GPUS)


def test_each_worker_sees_one_gpu_by_its_uuid_and_has_its_share_of_the_memory(tmp_path: Path, two_gpus: None) -> None:
    config = recipe(24, execution={"executor": "processes", "workers_per_gpu": 2})
    place = staffing.find_place(config, prepared(tmp_path))
    made: Any = staffing.make_executor(config, StudyFolder(tmp_path / "study"), place, cache=tmp_path, trials=24)

    assert [one["CUDA_VISIBLE_DEVICES"] for one in made._environments] == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]
    assert settings_of(made).gpu_memory_mb == place.gpu_memory_mb == 32_448
    assert settings_of(made).memory_mb == 4096 + (8 << 10), "CUDA's own libraries are no leak"


def test_on_a_gpu_nobody_knows_what_programs_save(tmp_path: Path, two_gpus: None) -> None:
    config = recipe(24, search_space=DIVIDED, execution={"executor": "processes"})
    assert staffing.find_place(config, prepared(tmp_path)).lanes == "auto"


def test_what_others_use_and_what_is_slow_is_said_before_the_start(
    tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(24, precision="mixed_bfloat16")
    assert "GPU 1 (NVIDIA H100, GPU-b) is in use by others" in staffing.find_place(config, prepared(tmp_path)).said
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.setattr(devices, "inventory", Inventory)
    space = {"precision": ["float32", "mixed_float16"]}
    said = staffing.find_place(recipe(24, search_space=space), prepared(tmp_path)).said
    assert "mixed_float16 is for GPUs" in said


def test_a_probe_is_tried_once_and_remembered(tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def tries(request: Any, executor: Any) -> Probed:
        asked.append((request, executor))
        return Probed(NEED)

    monkeypatch.setattr(staffing, "probe", tries)
    config, data = recipe(64, execution={"executor": "processes", "lanes": "off"}), prepared(tmp_path / "data")
    folder, cache = StudyFolder(tmp_path / "study"), tmp_path / "cache"
    place = staffing.find_place(config, data, cache=cache)
    assert (place.workers, place.probes) == (2, True)

    found = staffing.settle(config, folder, data, place, cache=cache, ahead=staffing.Ahead())

    assert (found.workers, found.gpu_memory_mb, found.probes) == (8, 320, False)
    ((request, executor),) = asked
    assert request.data == str(data.folder)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in executor._environments] == ["GPU-a"], "one fresh GPU"
    assert settings_of(executor).gpu_memory_mb == 37_184
    assert Needs(cache).recall(config, GPUS.devices[0]) == NEED
    assert staffing.find_place(config, data, cache=cache) == found, "from now on it is known"
    assert staffing.settle(config, folder, data, found, cache=cache, ahead=staffing.Ahead()) is found
    assert len(asked) == 1


def test_a_probe_that_comes_to_nothing_leaves_one_worker_a_gpu_and_says_why(
    tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staffing, "probe", lambda request, executor: Probed(problem="it took longer than 300 s"))
    config, data = recipe(64, execution={"executor": "processes", "lanes": "off"}), prepared(tmp_path / "data")
    place = staffing.find_place(config, data, cache=tmp_path)
    found = staffing.settle(
        config, StudyFolder(tmp_path / "study"), data, place, cache=tmp_path, ahead=staffing.Ahead()
    )
    assert (found.workers, found.probes) == (2, False)
    assert found.said.endswith(
        "The probe trial came to nothing (it took longer than 300 s), so there is one worker a GPU."
    )
