from __future__ import annotations

from typing import Any

import pytest

from pipelines.recipe.config import TrainingConfig
from pipelines.training.lanes.grouping import group_of, program_of


def group(**config: Any) -> Any:
    return group_of(TrainingConfig.model_validate(config), "data")


def test_trials_that_differ_in_seed_length_callbacks_and_rate_share_a_program() -> None:
    one = group(seed=1, epochs=3, optimizer={"name": "adam", "learning_rate": 1e-3})
    other = group(
        seed=2,
        epochs=9,
        optimizer={"name": "adam", "learning_rate": 0.1},
        callbacks={"early_stopping": {"patience": 4}},
    )
    assert one.key == other.key
    assert (one.learning_rate, other.learning_rate) == (1e-3, 0.1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"batch_size": 32}, {"batch_size": 33}),
        ({"optimizer": "adam"}, {"optimizer": "rmsprop"}),
        ({"model": {"units": [8]}}, {"model": {"units": [9]}}),
        ({"model": {"activation": "relu"}}, {"model": {"activation": "tanh"}}),
        ({"optimizer": {"name": "adam", "amsgrad": True}}, {"optimizer": "adam"}),
        ({"optimizer": {"name": "sgd", "momentum": 0.9}}, {"optimizer": "sgd"}),
        ({"optimizer": {"name": "sgd", "weight_decay": 0.1}}, {"optimizer": "sgd"}),
        ({"optimizer": {"name": "adam", "clipnorm": 1.0}}, {"optimizer": {"name": "adam", "clipnorm": 2.0}}),
        ({"model": {"dropout": 0.1}}, {}),
        ({"loss": {"name": "categorical_crossentropy", "label_smoothing": 0.1}}, {}),
        ({"class_weight": "balanced"}, {}),
        ({"optimizer": {"learning_rate": "cosine"}, "epochs": 3}, {"optimizer": {"learning_rate": "cosine"}}),
    ],
    ids=str,
)
def test_what_keras_decides_by_sets_trials_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    for config in (one, other):
        if "optimizer" in config and isinstance(config["optimizer"], dict):
            config["optimizer"].setdefault("name", "adam")
    assert group(**one).key != group(**other).key


def test_numbers_that_keras_only_computes_with_differ_from_lane_to_lane() -> None:
    one = group(optimizer={"name": "sgd", "momentum": 0.5}, model={"units": [8, 8], "dropout": [0.0, 0.3], "l2": 1e-3})
    other = group(optimizer={"name": "sgd", "momentum": 0.9}, model={"units": [8, 8], "dropout": [0, 0.1], "l2": 1e-2})
    assert one.key == other.key
    assert one.lifted == {
        "optimizer.momentum": 0.5,
        "optimizer.ema_momentum": 0.99,
        "dropout.0": 0.3,
        "l2.0": 1e-3,
        "l2.1": 1e-3,
        "l2.2": 1e-3,  # of the output layer
    }
    assert other.lifted["dropout.0"] == 0.1


def test_a_penalty_is_that_of_each_convolution_of_a_block() -> None:
    model = {"name": "cnn", "filters": [4, 4], "convs_per_block": [2, 1], "units": [8], "l2": [1e-1, 1e-2, 1e-3]}
    lifted = group(model=model).lifted
    assert [lifted[f"l2.{place}"] for place in range(4)] == [1e-1, 1e-1, 1e-2, 1e-3]
    assert "l2.4" not in lifted


def test_how_fast_a_program_is_does_not_hang_on_the_settings_of_its_optimizer() -> None:
    configs = [
        TrainingConfig.model_validate({"optimizer": {"name": "adam", "clipnorm": norm}, "seed": seed})
        for norm, seed in ((1.0, 1), (2.0, 2))
    ]
    one, other = (program_of([config], group_of(config, "data")) for config in configs)
    assert one == other


def test_how_fast_a_program_is_depends_on_all_of_its_optimizers_in_any_order() -> None:
    adam, sgd = (TrainingConfig.model_validate({"optimizer": name}) for name in ("adam", "sgd"))
    alone, one, other = (
        program_of(configs, group_of(configs[0], "data")) for configs in ([adam], [adam, sgd], [sgd, adam])
    )
    assert one == other != alone


@pytest.mark.parametrize(
    ("one", "other", "kin"),
    [
        ({"optimizer": "adam"}, {"optimizer": "rmsprop"}, True),
        ({"optimizer": "sgd"}, {"optimizer": {"name": "sgd", "momentum": 0.9}}, True),
        ({"optimizer": "adam", "batch_size": 8}, {"optimizer": "sgd", "batch_size": 9}, False),
        ({"optimizer": "adam", "model": {"dropout": 0.1}}, {"optimizer": "sgd"}, False),
        ({"optimizer": "muon"}, {"optimizer": "adam"}, False),
        (
            {"optimizer": "adam", "precision": "mixed_float16"},
            {"optimizer": "sgd", "precision": "mixed_float16"},
            False,
        ),
        (
            {"optimizer": "adam", "precision": "mixed_bfloat16"},
            {"optimizer": "sgd", "precision": "mixed_bfloat16"},
            True,
        ),
    ],
    ids=str,
)
def test_groups_that_differ_in_their_optimizer_alone_are_kin(
    one: dict[str, Any], other: dict[str, Any], kin: bool
) -> None:
    assert group(**one).key != group(**other).key
    assert (group(**one).kin == group(**other).kin) is kin
