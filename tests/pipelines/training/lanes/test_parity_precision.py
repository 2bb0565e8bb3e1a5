"""Lanes against `fit` with 16 bits, and with and without XLA: the switches of a recipe mean the same in both.

Sixteen bits have three digits, and what is left between the two is the order of additions: some 1e-3 a training. Both
are compiled here, so that it is less.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.pipelines.training.lanes.parity import Parity, Table
from tests.pipelines.training.lanes.parity_cases import LINE, Cases

HALF = 2e-2
MIXED: Cases = {
    "bfloat16": {**LINE, "precision": "mixed_bfloat16", "xla": "on"},
    "float16": {**LINE, "precision": "mixed_float16", "xla": "on"},
    "float16 with momentum": {
        **LINE,
        "precision": "mixed_float16",
        "xla": "on",
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.8},
        "seed": 3,
    },
}


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Parity:
    return Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def mixed(parity: Parity) -> Table:
    return Table(parity, MIXED)


@pytest.mark.parametrize("case", MIXED)
def test_sixteen_bits_are_the_same_in_lanes_and_loss_scales_are_each_lanes_own(mixed: Table, case: str) -> None:
    lane = mixed.agrees(case, HALF)
    assert "compiled by XLA" in lane.trainer


def test_trials_of_different_precision_share_no_program_and_all_train(parity: Parity) -> None:
    configs = {name: {**LINE, "precision": name, "epochs": 1} for name in ("float32", "mixed_float16")}
    told = parity.lanes({**configs, "again": {**configs["float32"], "seed": 8}})
    assert [one.ended.error for one in told.values()] == [None] * 3
    assert all(one.in_a_lane for one in told.values())


def test_without_xla_is_without_xla(parity: Parity) -> None:
    told = parity.lanes({name: {**LINE, "xla": "off", "epochs": 1, "seed": seed} for seed, name in enumerate("ab")})
    assert all("without XLA" in one.trainer for one in told.values())
    assert [one.ended.error for one in told.values()] == [None] * 2
