"""Lanes against `fit` as people run them: in single precision, with the numbers that Keras has by default.

What is left between the two is the order of additions; see `parity`. It stays below 1e-4 after three epochs.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.pipelines.training.lanes.parity import AT_ONCE, SINGLE, Parity, Table
from tests.pipelines.training.lanes.parity_cases import CANCER, DIABETES, LINE, SCHEDULES, Cases, own_model

RATES = {
    "sgd": 0.1,
    "rmsprop": 0.01,
    "adam": 0.01,
    "nadam": 0.01,
    "lion": 1e-3,
    "adafactor": 0.1,
    "lamb": 0.01,
    "muon": 0.01,
}
"""Of optimizers that are as different as can be; all of them are compared in double precision."""
TOP = {"name": "top_k_accuracy", "k": 2}
DEFAULT: Cases = {
    **{
        kind: {**LINE, "optimizer": {"name": kind, "learning_rate": rate}, "seed": place}
        for place, (kind, rate) in enumerate(RATES.items())
    },
    "likeliest classes": {"metrics": ["accuracy", TOP, "crossentropy"]},
    "likeliest of one-hot classes": {"loss": "categorical_crossentropy", "metrics": [TOP], "class_weight": "balanced"},
    "a schedule": SCHEDULES["one_cycle"],
    "two classes": {**CANCER, "metrics": ["accuracy", "auc", "precision", "recall"]},
    "a number": {**DIABETES, "metrics": ["mae", "mse", "rmse", "mape", "r2"]},
    "dropout and penalties": {"model": {"units": [10, 8], "dropout": [0.3, 0.1], "l1": 1e-4, "l2": 1e-3}},
    "batch norm": {"model": {"units": [10, 8], "batch_norm": True, "use_bias": False, "activation": "tanh"}},
    "convolutions": {"model": {"name": "cnn", "filters": [3], "units": [5], "dropout": 0.2}},
    "noises": {"model": own_model("noises")},
    "points": {"dataset": {"name": "spiral", "samples": 300}, "model": {"units": [6, 4], "activation": "tanh"}},
}


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Parity:
    return Parity(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def default(parity: Parity) -> Table:
    return Table(parity, DEFAULT, groups=AT_ONCE)


@pytest.mark.parametrize("case", DEFAULT)
def test_in_single_precision_only_the_order_of_additions_is_left(default: Table, case: str) -> None:
    default.agrees(case, SINGLE)
