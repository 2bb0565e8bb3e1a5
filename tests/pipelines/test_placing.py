"""Where trials train, and how many of them at once."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.devices.sharing import Need, equal_share_mb
from pipelines.placing import Placement, most_at_once, most_unheard, placement
from tests.pipelines.scripted import recipe

TOO_LARGE = "its data is too large"


def place(
    obstacle: str | None = None, *, cores: int = 8, gpus: int = 0, trials: int = 64, **execution: Any
) -> Placement:
    config = recipe(trials, execution={"executor": "processes", **execution})
    return placement(config, obstacle, cores=cores, gpus=gpus)


@pytest.mark.parametrize(
    ("execution", "gpus", "workers"),
    [
        ({}, 0, 1),  # one program uses all cores by itself
        ({}, 3, 3),
        ({"workers": 2}, 0, 2),
        ({"lanes": "off"}, 0, 8),
        ({"lanes": "off"}, 3, 3),
        ({"lanes": "off", "workers": 5}, 3, 5),
        ({"executor": "inline"}, 3, 1),
        ({"executor": "inline", "lanes": "off", "workers": 4}, 0, 1),
    ],
)
def test_workers_are_as_many_as_the_machine_and_the_way_to_train_ask_for(
    execution: dict[str, Any], gpus: int, workers: int
) -> None:
    assert place(gpus=gpus, **execution).workers == workers


def test_what_stands_in_the_way_of_lanes_is_told_and_trials_train_one_at_a_time() -> None:
    found = place(TOO_LARGE, lanes=16)

    assert found == Placement(8, "off", None, "Trains one trial at a time: its data is too large.", why=TOO_LARGE)
    assert found.most_each == 1


def test_nothing_is_said_where_lanes_were_not_asked_for() -> None:
    assert place(None, lanes="off").said == ""
    assert place(TOO_LARGE, lanes="off").said == ""
    assert place(TOO_LARGE, lanes="off").why == ""


@pytest.mark.parametrize("lanes", ["auto", 1, 16])
def test_the_lanes_of_a_recipe_are_kept(lanes: Any) -> None:
    assert place(lanes=lanes).lanes == lanes


def test_a_sweep_that_trains_many_at_once_says_how_many_at_most() -> None:
    assert place(trials=64, lanes=16).said == "Trains up to 16 trials at once, in one program."
    assert place(trials=64, lanes=1).said == ""


def test_each_worker_has_its_share_of_the_trials_that_may_be_under_way() -> None:
    found = place(workers=3, trials=500, lanes="auto")

    assert (found.most, found.most_each) == (256, 86)
    assert place(workers=3, trials=500, lanes=10).most_each == 10


@pytest.mark.parametrize(
    ("sampler", "trials", "lanes", "most"),
    [
        ("random", 1000, "auto", 256),
        ("qmc", 40, "auto", 40),
        ("tpe", 256, "auto", 32),
        ("tpe", 24, "auto", 4),
        ("tpe", 3, "auto", 3),
        ("gp", 400, "auto", 50),
        ("cmaes", 400, "auto", 50),
        ("nsgaii", 80, "auto", 10),
        ("tpe", 256, 100, 100),  # somebody's own choice
        ("random", 1000, 500, 500),
        ("random", 10, 500, 10),
    ],
)
def test_a_sampler_that_learns_is_asked_for_an_eighth_of_the_budget_ahead(
    sampler: str, trials: int, lanes: Any, most: int
) -> None:
    assert most_at_once(recipe(trials, sampler=sampler, execution={"lanes": lanes}), 1) == most


@pytest.mark.parametrize("sampler", ["grid", "brute_force"])
def test_a_sampler_that_tries_everything_need_not_wait_for_results(sampler: str) -> None:
    space = {"model.activation": ["sigmoid", "tanh", "relu"]}

    assert most_at_once(recipe(100, sampler=sampler, search_space=space), 1) == 100


def test_a_number_of_lanes_is_that_of_each_worker() -> None:
    assert most_at_once(recipe(100, execution={"lanes": 8}), 4) == 32


# GPUs that are shared

SMALL = Need(peak_mb=100.0, beside_mb=500.0, busy=0.25)


def on_gpus(
    gpus: int = 1, *, cores: int = 16, trials: int = 64, need: Need | None = None, **execution: Any
) -> Placement:
    config = recipe(trials, execution={"executor": "processes", **execution})
    return placement(config, None, cores=cores, gpus=gpus, free_mb=80_000, need=need)


@pytest.mark.parametrize(
    ("heard", "workers", "most"), [(0, 1, 16), (16, 1, 16), (32, 1, 16), (40, 1, 20), (200, 1, 100), (0, 12, 24)]
)
def test_the_more_was_heard_of_the_more_may_begin_at_once(heard: int, workers: int, most: int) -> None:
    assert most_unheard(heard, workers) == most


def test_a_program_of_many_lanes_has_a_gpu_to_itself() -> None:
    found = on_gpus(2)
    assert (found.workers, found.gpu_memory_mb, found.probes) == (2, None, False)


def test_trials_one_at_a_time_wait_for_a_probe_that_says_how_many_share_a_gpu() -> None:
    before, after = on_gpus(2, lanes="off"), on_gpus(2, lanes="off", need=SMALL)
    assert (before.workers, before.probes) == (2, True)
    assert (after.workers, after.gpu_memory_mb, after.probes) == (8, 320, False)
    assert after.said.startswith("4 workers share each GPU, each with at most 320 MiB: the probe trial took 100 MiB")


@pytest.mark.parametrize(
    "settings", [{"workers": 1}, {"workers_per_gpu": 1}, {"cores": 1}, {"trials": 1}, {"executor": "inline"}]
)
def test_where_there_is_nothing_to_choose_nothing_is_tried(settings: dict[str, Any]) -> None:
    found = on_gpus(lanes="off", **settings)
    assert (found.workers, found.probes, found.gpu_memory_mb) == (1, False, None)


def test_workers_that_somebody_asks_for_share_the_memory_evenly() -> None:
    per_gpu, in_all = on_gpus(2, workers_per_gpu=3), on_gpus(2, workers=6)
    assert per_gpu.workers == in_all.workers == 6
    assert per_gpu.gpu_memory_mb == in_all.gpu_memory_mb == equal_share_mb(80_000, 3)
    assert "3 workers share each GPU" in per_gpu.said
    assert per_gpu.said.startswith("Trains up to"), "and each in lanes"


def test_a_cap_of_the_recipe_is_kept_with_and_without_a_gpu() -> None:
    assert on_gpus(gpu_memory_mb=2_000).gpu_memory_mb == 2_000
    assert on_gpus(workers_per_gpu=2, gpu_memory_mb=2_000).gpu_memory_mb == 2_000
    assert on_gpus(lanes="off", gpu_memory_mb=2_000, need=SMALL).gpu_memory_mb == 2_000
    assert place(gpu_memory_mb=2_000).gpu_memory_mb == 2_000


def test_what_would_do_nothing_is_said() -> None:
    assert "There is no GPU, so execution.workers_per_gpu: 2 does nothing." in place(workers_per_gpu=2).said


def test_where_nobody_knows_the_memory_there_is_one_worker_a_gpu() -> None:
    config = recipe(64, execution={"executor": "processes", "lanes": "off"})
    found = placement(config, None, cores=16, gpus=2, free_mb=None)
    assert (found.workers, found.probes) == (2, False)
