"""How many workers share a GPU, with how much of its memory, and why."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.devices.sharing import (
    CONTEXT_MB,
    LEAST_MB,
    MOST,
    Need,
    Sharing,
    choose,
    equal_share_mb,
    share_between,
)

SMALL = Need(peak_mb=100.0, beside_mb=500.0, busy=0.2, parameters=80_000)


def chosen(need: Need = SMALL, **changes: Any) -> Sharing:
    return choose(need, **{"free_mb": 80_000, "cores": 16, "gpus": 1, "trials": 100, **changes})


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("free_mb", [8_000, 24_000, 81_000])
def test_equal_shares_and_what_each_takes_beside_fit_into_what_is_free(workers: int, free_mb: int) -> None:
    share = equal_share_mb(free_mb, workers)
    assert workers * (share + CONTEXT_MB) <= free_mb * 0.95 or share == 0
    assert share % 64 == 0


def test_a_worker_by_itself_needs_no_cap() -> None:
    assert share_between(1, free_mb=8_000) == Sharing()
    assert share_between(1, free_mb=8_000, cap_mb=2_000) == Sharing(1, 2_000)


def test_several_that_somebody_asks_for_get_equal_shares_and_are_told() -> None:
    found = share_between(4, free_mb=40_000)
    assert found.cap_mb == equal_share_mb(40_000, 4) == 8_704
    assert found.why == "4 workers share each GPU, each with at most 8704 MiB of its 40000 that are free."


def test_a_cap_that_somebody_asks_for_is_kept_and_what_does_not_fit_is_told() -> None:
    assert share_between(4, free_mb=40_000, cap_mb=2_048) == Sharing(4, 2_048)
    found = share_between(8, free_mb=10_000, cap_mb=2_048)
    assert (found.workers, found.cap_mb) == (8, 2_048)
    assert "need 22528 MiB of a GPU that has 10000 free" in found.why
    assert "3 would fit" in found.why
    assert "the cap of one may be" in share_between(1, free_mb=2_000, cap_mb=4_000).why


def test_too_many_for_the_memory_are_told_how_many_would_fit() -> None:
    found = share_between(16, free_mb=8_000)
    assert found.cap_mb == LEAST_MB
    assert "With execution.workers_per_gpu: 7 they would fit." in found.why


def test_where_nobody_knows_the_memory_nothing_is_capped_and_that_is_said() -> None:
    found = share_between(2, free_mb=None)
    assert found.cap_mb is None
    assert "nobody can say how much memory it has" in found.why


def test_a_gpu_that_one_keeps_busy_has_one_worker_without_a_cap() -> None:
    found = chosen(Need(100.0, 500.0, busy=0.9))
    assert (found.workers, found.cap_mb) == (1, None)
    assert found.why == (
        "One worker a GPU, as one kept the GPU busy 90 % of the time; the probe trial took 100 MiB and 500 beside."
    )


@pytest.mark.parametrize(
    ("changes", "workers", "because"),
    [
        ({}, 5, "one kept the GPU busy 20 % of the time"),
        ({"cores": 4}, 4, "there are 4 cores"),
        ({"cores": 4, "gpus": 2}, 2, "there are 4 cores"),
        ({"trials": 3}, 3, "there are 3 trials to come"),
        ({"trials": 1}, 1, "there is 1 trial to come"),
        ({"cores": 1}, 1, "there is 1 core"),
        ({"free_mb": 2_500}, 3, "2500 MiB are free"),
        ({"free_mb": 300}, 1, "300 MiB are free"),
    ],
)
def test_the_scarcest_thing_decides_and_is_named(changes: dict[str, Any], workers: int, because: str) -> None:
    found = chosen(**changes)
    assert found.workers == workers
    assert because in found.why


def test_one_that_is_hardly_seen_on_the_gpu_is_not_multiplied_without_end() -> None:
    assert chosen(Need(10.0, 500.0, busy=0.0)).workers == MOST
    assert chosen(Need(10.0, None, busy=None), cores=64).workers == MOST


def test_caps_leave_room_for_larger_trials_where_there_is_room() -> None:
    assert chosen().cap_mb == 320  # three times 100, by steps of 64
    assert chosen(Need(2_000.0, 500.0, busy=0.5)).cap_mb == 6_016
    assert chosen(Need(2_000.0, 500.0, busy=0.5), free_mb=8_000).cap_mb == equal_share_mb(8_000, 2, 500.0) == 3_264


@pytest.mark.parametrize("peak", [10.0, 700.0, 3_000.0, 20_000.0])
@pytest.mark.parametrize("free_mb", [4_000, 24_000, 81_000])
def test_whatever_is_chosen_fits(peak: float, free_mb: int) -> None:
    found = chosen(Need(peak, 600.0, busy=0.1), free_mb=free_mb)
    if found.workers > 1:
        assert found.cap_mb is not None
        assert found.cap_mb >= min(peak, found.cap_mb)
        assert found.workers * (found.cap_mb + 600) <= free_mb


def test_a_cap_of_the_recipe_stands_above_the_probe() -> None:
    found = chosen(cap_mb=30_000)
    assert (found.workers, found.cap_mb) == (2, 30_000)


def test_a_need_is_kept_as_plain_numbers() -> None:
    assert Need(**SMALL.to_json()) == SMALL
    assert Need(1.0).context_mb == CONTEXT_MB
