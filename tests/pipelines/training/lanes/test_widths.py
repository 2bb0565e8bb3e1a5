from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("keras")


def makes(costs: dict[tuple[int, bool], float], ready_s: float = 1.0) -> tuple[Any, list[tuple[int, bool]]]:
    """Programs that take so long a lane and step; and what was made."""
    from pipelines.training.lanes.widths import Measured

    made: list[tuple[int, bool]] = []

    def make(width: int, compiled: bool) -> Measured:
        made.append((width, compiled))
        return Measured(SimpleNamespace(width=width, compiled=compiled), ready_s, costs[width, compiled])

    return make, made


def test_a_short_sweep_is_not_measured_at_all() -> None:
    from pipelines.training.lanes.widths import Choice, choose

    make, made = makes({(16, True): 1e-3})
    choice, found = choose(make, Choice(16, True), 256, steps_left=100)
    assert (choice.width, choice.compiled, found.lane_step_s) == (16, True, 1e-3)
    assert made == [(16, True)]


def test_a_long_one_goes_on_to_more_lanes_as_long_as_they_are_faster() -> None:
    from pipelines.training.lanes.widths import Choice, choose

    make, made = makes({(16, True): 3e-3, (4, True): 4e-3, (64, True): 2e-3, (256, True): 2.1e-3})
    choice, _ = choose(make, Choice(16, True), 1000, steps_left=1e6)
    assert choice.width == 64
    assert made == [(16, True), (4, True), (64, True), (256, True)]
    assert choice.told == "microseconds a lane and step by lanes: 4: 4e+03, 16: 3e+03, 64: 2e+03, 256: 2.1e+03"


def test_where_fewer_are_faster_no_more_are_tried() -> None:
    from pipelines.training.lanes.widths import Choice, choose

    make, made = makes({(16, True): 3e-3, (4, True): 2e-3})
    choice, found = choose(make, Choice(16, True), 1000, steps_left=1e6)
    assert (choice.width, found.program.width) == (4, 4)
    assert made == [(16, True), (4, True)]


def test_a_recipe_that_says_how_to_compile_is_not_asked_again() -> None:
    from pipelines.training.lanes.widths import Choice, choose

    make, made = makes({(8, False): 2e-3, (2, False): 3e-3})
    choice, _ = choose(make, Choice(8, False), 8, steps_left=1e6, xla="off")
    assert (choice.width, choice.compiled) == (8, False)
    assert made == [(8, False), (2, False)]


@pytest.mark.parametrize(("xla", "compiled"), [("auto", True), ("on", True), ("off", False)])
def test_the_first_program_is_compiled_as_the_recipe_says(keras: Any, xla: Any, compiled: bool) -> None:
    from pipelines.training.lanes.widths import first_choice

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert first_choice(model, 8, xla=xla).compiled is compiled
    convolving = keras.Sequential([keras.Input((5, 5, 1)), keras.layers.Conv2D(2, 3)])
    assert first_choice(convolving, 8, xla=xla).compiled is (xla == "on")


def test_convolutions_are_tried_both_ways() -> None:
    from pipelines.training.lanes.widths import Choice, choose

    make, made = makes({(8, False): 2e-3, (8, True): 9e-3, (2, False): 2e-3})
    choice, _ = choose(make, Choice(8, False), 8, steps_left=1e6)
    assert (choice.width, choice.compiled) == (8, False)
    assert made == [(8, False), (8, True), (2, False)]


def test_lanes_fit_into_the_memory_that_is_free(keras: Any) -> None:
    from pipelines.training.lanes.widths import most_in_memory

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(100)])
    assert most_in_memory(model, 1024, 10_000, free_bytes=2**30) == 2**29 // (
        5 * 10_000 + 12 * 1024 * 110
    )  # with the input
    assert most_in_memory(model, 1024, 10_000, free_bytes=10) == 1


def test_on_a_gpu_its_memory_counts_and_what_the_host_holds_of_it(keras: Any) -> None:
    from pipelines.training.lanes.widths import most_in_memory

    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(100)])
    on_gpu = most_in_memory(model, 1024, 10_000, free_bytes=2**40, gpu_bytes=2**30)
    assert on_gpu == 2**29 // (4 * 10_000 + 12 * 1024 * 110)
    assert most_in_memory(model, 1024, 10_000, free_bytes=2**20, gpu_bytes=2**40) == 2**19 // 20_000
    assert most_in_memory(model, 1024, 10_000, free_bytes=2**30, gpu_bytes=10) == 1


def test_a_cap_on_the_gpu_is_all_that_a_worker_has_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    from pipelines.training.lanes.widths import free_on_gpu

    cap = tf.config.LogicalDeviceConfiguration(memory_limit=100)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["the first"])
    monkeypatch.setattr(tf.config, "get_logical_device_configuration", lambda device: [cap])
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda name: {"current": 1 << 20})
    assert free_on_gpu() == 99 << 20
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert free_on_gpu() is None


def test_a_choice_is_remembered_for_the_next_sweep_and_a_torn_file_forgotten(tmp_path: Path) -> None:
    from pipelines.training.lanes.widths import Choice, Memory

    choice = Choice(64, True, "measured")
    Memory(tmp_path).keep("this program", choice)
    assert Memory(tmp_path).recall("this program") == choice
    assert Memory(tmp_path).recall("another") is None
    assert Memory(None).recall("this program") is None
    (file,) = tmp_path.iterdir()
    file.write_text("{torn", encoding="utf-8")
    assert Memory(tmp_path).recall("this program") is None
    Memory(tmp_path).keep("this program", choice)
    assert Memory(tmp_path).recall("this program") == choice


def test_steps_are_measured_over_long_enough() -> None:
    from pipelines.training.lanes.widths import seconds_a_step

    asked: list[int] = []
    assert seconds_a_step(lambda first, count: asked.append(count), whole=7) >= 0
    assert asked[0] == 1
    assert asked[-1] == 7  # no more than there are


def test_where_few_steps_are_to_come_nothing_is_measured() -> None:
    from pipelines.training.lanes.widths import worth_measuring

    assert not worth_measuring(9_710, 32, 256 * 10 * 36)  # the digits recipe: some seconds of steps in all
    assert worth_measuring(9_710, 32, 100 * 256 * 10 * 36)
    assert worth_measuring(81_940, 128, 64 * 5 * 375)  # the same model on larger images


def test_lanes_with_many_values_begin_with_few(keras: Any) -> None:
    import tensorflow as tf

    from pipelines.training.lanes.widths import first_choice

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    on_cpu = not tf.config.list_logical_devices("GPU")
    assert first_choice(model, 64, value_bytes=100_000).width == (32 if on_cpu else 64)
    assert first_choice(model, 32, value_bytes=100_000).width == (16 if on_cpu else 32)  # of whom half may be elsewhere
    assert first_choice(model, 64, value_bytes=1_000_000).width == (4 if on_cpu else 64)
    assert first_choice(model, 3, value_bytes=100_000).width == 3
