"""Who trains on a cluster, by what is known of it; no Ray is needed for that."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from pipelines.afar.executor import FarExecutor, variables_for_nodes
from pipelines.afar.staffing import Backing, call_cluster, make_ray_executor, place_on_cluster
from pipelines.controller.failures import Remedy, Setbacks
from pipelines.errors import ServiceError
from pipelines.executors.ray.words import Cluster
from pipelines.home import StudyFolder
from pipelines.placing import Placement
from pipelines.recipe.config import SweepConfig
from pipelines.records import Failure
from pipelines.staffing import Ahead, find_place
from tests.pipelines.scripted import prepared, recipe


class Agency:
    """What speaks with a cluster, without one."""

    def __init__(self, places: int, nodes: tuple[str, ...] = ("10.0.0.1: 4 CPU, 0 GPU",)) -> None:
        self.cluster = Cluster("at 10.0.0.1:6379", places, nodes)
        self.factory: Any = None
        self.loaded: list[Path] = []
        self.closed = 0

    def connected(self, timeout_s: float) -> Cluster:
        return self.cluster

    def load(self, folder: Path) -> None:
        self.loaded.append(folder)

    def close(self) -> None:
        self.closed += 1


def on_ray(trials: int = 64, **execution: Any) -> SweepConfig:
    return recipe(trials, execution={"executor": "ray", **execution})


def agency(places: int, **more: Any) -> Any:
    return Agency(places, **more)


def test_there_are_as_many_workers_as_the_cluster_has_room_for() -> None:
    place = place_on_cluster(on_ray(lanes="off"), None, agency(6))

    assert place == Placement(6, "off", said="Trains on the Ray cluster at 10.0.0.1:6379: 1 node, 6 workers.")


def test_a_number_of_workers_is_taken_at_its_word() -> None:
    place = place_on_cluster(on_ray(workers=9, lanes="off"), None, agency(0))

    assert (place.workers, place.said) == (9, "")


def test_each_worker_trains_many_at_once_where_that_can_be_done() -> None:
    place = place_on_cluster(on_ray(lanes=4), None, agency(3))

    assert (place.workers, place.lanes, place.most, place.most_each) == (3, 4, 12, 4)
    assert "Trains up to 12 trials at once, in one program a worker." in place.said


def test_what_is_against_many_at_once_is_said() -> None:
    place = place_on_cluster(on_ray(), "the data is larger than the memory", agency(2))

    assert (place.lanes, place.most, place.why) == ("off", None, "the data is larger than the memory")
    assert place.said.endswith("Trains one trial at a time: the data is larger than the memory.")


def test_a_cluster_without_room_for_one_worker_is_told_with_what_it_has() -> None:
    config = on_ray(ray={"num_gpus": 1, "resources": {"lab": 1}})

    with pytest.raises(ServiceError) as caught:
        place_on_cluster(config, None, agency(0))

    assert str(caught.value) == (
        "No node of the Ray cluster at 10.0.0.1:6379 has room for a worker with 1 CPU, 1 GPU, 1 lab (execution.ray). "
        "Its nodes have: 10.0.0.1: 4 CPU, 0 GPU. For a cluster that grows when it is asked to, say how many workers "
        "there are to be with execution.workers."
    )


def test_where_nothing_is_to_be_trained_nobody_asks_a_cluster(tmp_path: Path) -> None:
    assert find_place(on_ray(lanes="off"), prepared(tmp_path)).workers == 1


def test_trials_that_could_share_no_program_train_one_at_a_time_on_nodes_without_gpus(tmp_path: Path) -> None:
    units = {"model.units": {"type": "categorical", "choices": [[units] for units in range(1, 41)]}}
    data = prepared(tmp_path)
    on_cpus, on_gpus = (
        recipe(64, search_space=units, execution={"executor": "ray", "ray": {"num_gpus": gpus}}) for gpus in (0, 1)
    )

    assert find_place(on_cpus, data).why.endswith("programs, which take longer to compile than they save")
    assert find_place(on_gpus, data).lanes == "auto"


def test_what_was_connected_and_not_needed_is_let_go() -> None:
    made = agency(1)

    Ahead(cluster=made).dismiss()

    assert made.closed == 1


def test_without_ray_the_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ServiceError, match="make setup-ray"):
        call_cluster(on_ray(), tmp_path)


def test_the_workers_of_a_cluster_are_made_of_what_knows_nothing_of_this_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables_for_nodes(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    made, folder = agency(2), StudyFolder(tmp_path / "study")
    config = on_ray(ray={"num_cpus": 3, "state_mb": 10_000})
    place = Placement(2, "auto", 8, why="for the record")
    backing = Backing(tmp_path / "data" / "digits-1", "http://mlflow:5000")

    executor = make_ray_executor(config, folder, place, made, backing, trials=40)

    assert isinstance(executor, FarExecutor)
    assert made.loaded == [tmp_path / "data" / "digits-1"]
    assert str(tmp_path).encode() not in bytes(ForkingPickler.dumps(made.factory))
    on_nodes, make = made.factory.args
    (settings,) = make.args
    assert (on_nodes.server, on_nodes.variables) == ("http://mlflow:5000", {"MLFLOW_TRACKING_TOKEN": "secret"})
    assert on_nodes.most_state_bytes == 400 << 20  # what fits into a message, whatever the recipe says
    assert (settings.threads, settings.most_lanes, settings.trials, settings.cache) == (3, 4, 20, "lanes")
    assert settings.why == "for the record"


@pytest.mark.parametrize("server", ["memory:", "sqlite:///mlflow.db", "./mlruns", ""])
def test_a_server_that_is_a_file_of_this_machine_is_no_nodes_business(tmp_path: Path, server: str) -> None:
    made = agency(1)

    make_ray_executor(
        on_ray(), StudyFolder(tmp_path), Placement(1, "off"), made, Backing(tmp_path / "data", server), trials=1
    )

    assert made.factory.args[0].server == ""


def test_a_trial_that_lost_its_machine_pays_nothing_for_it_as_long_as_it_does_not_follow_it_about() -> None:
    setbacks = Setbacks(retries=1)

    assert [setbacks.excuses(0) for _ in range(11)] == [True] * 10 + [False]
    assert setbacks.excuses(1)
    assert setbacks.after(Failure.LOST, epochs=1, neighbours=False) is Remedy.AGAIN


def test_a_controller_needs_neither_tensorflow_nor_ray_nor_the_dockers_client_to_be_ready(repository: Path) -> None:
    script = "import sys, pipelines.conduct; print(sorted({'tensorflow', 'keras', 'ray', 'docker'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
