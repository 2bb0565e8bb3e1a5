"""Trials that come and go, of any length, many or one at a time, in programs of any kind: each is as `fit` has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pipelines.training.lanes.parity import DOUBLE, Parity, Table, precision
from tests.pipelines.training.lanes.parity_cases import Cases

STOPPING = {"early_stopping": {"patience": 0, "min_delta": 0.02}}
SGD = {"name": "sgd", "momentum": 0.5}
MIXED: Cases = {
    **{
        f"{epochs} epochs": {"epochs": epochs, "seed": epochs, "optimizer": {**SGD, "learning_rate": 0.05 * epochs}}
        for epochs in (5, 1, 2, 4, 3)
    },
    **{
        f"{kind} {place}": {"optimizer": {"name": kind, "learning_rate": rate}, "seed": place, "epochs": 2 + place}
        for kind in ("adagrad", "rmsprop")
        for place, rate in enumerate((0.1, 0.01, 0.03))
    },
    "ended by itself": {"epochs": 6, "callbacks": STOPPING, "seed": 8},
    "smaller batches": {"batch_size": 17, "seed": 9},
    "smaller batches again": {"batch_size": 17, "seed": 10, "callbacks": STOPPING},
}
"""Two cohorts of one width, and lanes that are free and taken again while others are at other epochs."""


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parity]:
    with precision("float64"):
        yield Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def mixed(parity: Parity) -> Table:
    return Table(parity, MIXED, lanes=2)


@pytest.mark.parametrize("case", MIXED)
def test_trials_come_and_go_without_a_trace_in_each_other(mixed: Table, case: str) -> None:
    mixed.agrees(case, DOUBLE)


HOW: dict[str, dict[str, Any]] = {
    "one lane": {"lanes": 1},
    "five lanes": {"lanes": 5},
    "lanes as are fastest": {"lanes": "auto", "most": 8},
    "all compiled": {"lanes": 3, "trials": 10**6},
}
"""The last is a program of which the smaller batch and the validation are compiled too, which pays in long sweeps."""
SOME: Cases = {
    name: {**MIXED[name], "model": {"units": [6], "dropout": 0.25}}
    for name in ("3 epochs", "1 epochs", "ended by itself")
}


@pytest.fixture(scope="module")
def whole(parity: Parity) -> dict[str, Any]:
    return {name: parity.fit(case) for name, case in SOME.items()}


@pytest.mark.parametrize("how", HOW)
def test_the_number_of_lanes_is_nothing_to_a_trial(parity: Parity, whole: dict[str, Any], how: str) -> None:
    from tests.pipelines.training.lanes.parity import assert_alike

    for name, lane in parity.lanes(SOME, **HOW[how]).items():
        assert lane.in_a_lane, lane.trainer
        assert_alike(lane, whole[name], DOUBLE)


ALONE: Cases = {
    "dropout": {"model": {"units": [6], "dropout": 0.3}},
    "convolutions": {"model": {"name": "cnn", "filters": [3], "units": [5], "dropout": 0.2, "max_norm": 1.0}},
    "batch norm": {"model": {"units": [6], "batch_norm": True, "use_bias": False}},
}


def test_what_can_be_trained_in_several_lanes_can_be_in_one(parity: Parity) -> None:
    table = Table(parity, ALONE, lanes=1)
    for name in ALONE:
        table.agrees(name, DOUBLE)


def test_no_more_trials_are_taken_than_the_worker_may_have_under_way(parity: Parity) -> None:
    worker = parity.worker(lanes=2, most=3)
    told = [parity.told({"model": {"name": "linear"}, "seed": seed, "epochs": 1}) for seed in range(7)]
    worker.work(told)
    assert worker.queue.most <= 3
    assert [one.ended.error for one in told] == [None] * 7
