from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.errors import DataError
from pipelines.inputs import InputFacts
from pipelines.models.cnn import CnnModel
from tests.pipelines.models.samples import COLOUR, GREY, MULTICLASS, POINTS, TABLE, build


def test_by_default_it_is_the_small_network_of_keras_own_example(keras: Any) -> None:
    model = build(keras, CnnModel, replace(GREY, shape=(28, 28)))
    assert [layer.name for layer in model.layers] == [
        "scale", "channel", "block_1_conv_1", "block_1_pool", "block_2_conv_1", "block_2_pool", "flatten",
        "probabilities",
    ]  # fmt: skip
    convs = (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64
    assert model.count_params() == convs + (7 * 7 * 64 + 1) * 3


def test_every_part_of_a_block_comes_in_order_and_under_its_name(keras: Any) -> None:
    model = build(
        keras, CnnModel, COLOUR, filters=[4, 6], convs_per_block=[2, 1], batch_norm=True, dropout=0.1, units=[5]
    )
    assert [layer.name for layer in model.layers] == [
        "scale",
        "block_1_conv_1", "block_1_conv_1_norm", "block_1_conv_1_activation",
        "block_1_conv_2", "block_1_conv_2_norm", "block_1_conv_2_activation",
        "block_1_pool", "block_1_dropout",
        "block_2_conv_1", "block_2_conv_1_norm", "block_2_conv_1_activation", "block_2_pool", "block_2_dropout",
        "flatten",
        "hidden_1", "hidden_1_norm", "hidden_1_activation", "hidden_1_dropout",
        "probabilities",
    ]  # fmt: skip
    convs = (9 * 3 + 1) * 4 + (9 * 4 + 1) * 4 + (9 * 4 + 1) * 6
    norms = 4 * (4 + 4 + 6 + 5)
    assert model.count_params() == convs + norms + (2 * 2 * 6 + 1) * 5 + (5 + 1) * 3


def test_settings_of_a_block_reach_its_convolutions_and_its_pool(keras: Any) -> None:
    model = build(
        keras, CnnModel, COLOUR, filters=[4, 6], kernel_size=[5, 2], strides=[2, 1], padding=["same", "valid"],
        pool=["average", "max"], pool_size=[1, 3], convs_per_block=[2, 1], activation=["tanh", "elu"], l2=[0.1, 0.2],
        use_bias=[True, False],
    )  # fmt: skip

    def of(name: str) -> tuple[Any, ...]:
        conv = model.get_layer(name)
        return (conv.filters, conv.kernel_size, conv.strides, conv.padding, conv.activation.__name__, conv.use_bias,
                round(float(conv.kernel_regularizer.l2), 6))  # fmt: skip

    assert of("block_1_conv_1") == (4, (5, 5), (2, 2), "same", "tanh", True, 0.1)
    assert of("block_1_conv_2") == (4, (5, 5), (1, 1), "same", "tanh", True, 0.1)
    assert of("block_2_conv_1") == (6, (2, 2), (1, 1), "valid", "elu", False, 0.2)
    first, second = (model.get_layer(f"block_{n}_pool") for n in (1, 2))
    assert (type(first), first.pool_size) == (keras.layers.AveragePooling2D, (1, 1))
    assert (type(second), second.pool_size) == (keras.layers.MaxPooling2D, (3, 3))


def test_what_hidden_layers_have_once_each_goes_to_the_blocks_and_then_to_the_dense_layers(keras: Any) -> None:
    model = build(keras, CnnModel, GREY, filters=[4, 6], units=[5, 7], activation=["tanh", "elu", "relu", "silu"])
    names = ("block_1_conv_1", "block_2_conv_1", "hidden_1", "hidden_2")
    assert [model.get_layer(name).activation.__name__ for name in names] == ["tanh", "elu", "relu", "silu"]
    assert [model.get_layer(name).units for name in names[2:]] == [5, 7]


@pytest.mark.parametrize(
    ("then", "layer", "width"),
    [
        ("flatten", "Flatten", 2 * 2 * 6),
        ("global_average", "GlobalAveragePooling2D", 6),
        ("global_max", "GlobalMaxPooling2D", 6),
    ],
)
def test_what_the_last_block_leaves_becomes_a_row(keras: Any, then: str, layer: str, width: int) -> None:
    model = build(keras, CnnModel, GREY, filters=[4, 6], then=then)
    assert type(model.get_layer(then)) is getattr(keras.layers, layer)
    assert model.get_layer("probabilities").kernel.shape == (width, 3)


def test_a_grey_image_gets_a_channel_and_one_that_has_it_stays(keras: Any) -> None:
    assert build(keras, CnnModel, GREY).get_layer("channel").output.shape == (None, 8, 8, 1)
    assert "channel" not in [layer.name for layer in build(keras, CnnModel, replace(GREY, shape=(8, 8, 1))).layers]


@pytest.mark.parametrize(
    ("shape", "settings", "field", "message"),
    [
        ((8, 8), {"filters": [2] * 4}, "pool_size",
         "2 is more than block 4 has: an image of 8x8 is 1x1 when it gets there"),
        ((28, 6), {"filters": [2] * 3}, "pool_size", "2 is more than block 3 has: an image of 28x6 is 7x1"),
        ((8, 8), {"filters": [2], "pool_size": 9}, "pool_size", "9 is more than block 1 has: an image of 8x8 is 8x8"),
        ((8, 8), {"padding": "valid", "kernel_size": [3, 5], "pool": "none", "convs_per_block": 2}, "kernel_size",
         "an image of 8x8 is 4x4 when it gets there; use a smaller one, fewer blocks in filters, or padding: same"),
        ((8, 8), {"filters": [2, 2], "strides": 4}, "pool_size", "2 is more than block 2 has: an image of 8x8 is 1x1"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_an_image_that_is_too_small_for_the_blocks_is_refused(
    shape: tuple[int, int], settings: dict[str, Any], field: str, message: str
) -> None:
    model, facts = CnnModel.model_validate(settings), replace(GREY, shape=shape)
    assert list(model.misfits(facts)) == [field]
    assert message in model.misfits(facts)[field]
    with pytest.raises(DataError, match=rf"The model 'cnn' cannot take such samples: model.{field} "):
        model.build(facts, MULTICLASS)


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((8, 8), {"filters": [2] * 3}),
        ((7, 5), {"filters": [2] * 2}),
        ((8, 8), {"filters": [2] * 9, "pool": "none"}),
        (
            (9, 7),
            {"filters": [2, 2], "padding": "valid", "kernel_size": [3, 2], "strides": [2, 1], "pool": ["none", "max"]},
        ),
        ((8, 8), {"filters": [2, 2], "strides": 3, "pool": "none"}),
        ((5, 5), {"filters": [2], "padding": "valid", "kernel_size": 5, "pool": "none"}),
        (
            (7, 7),
            {"filters": [2, 2], "strides": [2, 1], "padding": "valid", "pool": ["max", "none"], "kernel_size": [2, 1]},
        ),
    ],
    ids=str,
)
def test_an_image_that_is_just_large_enough_is_no_misfit_and_keras_agrees(
    keras: Any, shape: tuple[int, int], settings: dict[str, Any]
) -> None:
    facts = replace(GREY, shape=shape)
    assert CnnModel.model_validate(settings).misfits(facts) == {}
    model = build(keras, CnnModel, facts, **settings)
    assert all(side is None or side > 0 for layer in model.layers for side in layer.output.shape)


@pytest.mark.parametrize("facts", [TABLE, POINTS], ids=lambda facts: facts.kind)
def test_only_images_are_taken(facts: InputFacts) -> None:
    with pytest.raises(DataError, match=f"The model 'cnn' takes image samples, and the data has {facts.kind}"):
        CnnModel().build(facts, MULTICLASS)


def test_an_image_without_two_sides_is_refused() -> None:
    with pytest.raises(DataError, match=r"model.name needs images \(h, w\) or \(h, w, channels\), got .* \(64,\)"):
        CnnModel().build(replace(GREY, shape=(64,)), MULTICLASS)


@pytest.mark.parametrize("field", ["kernel_size", "convs_per_block", "strides", "padding", "pool", "pool_size"])
def test_a_setting_of_blocks_has_one_value_or_one_a_block(field: str) -> None:
    value = {"padding": "same", "pool": "max"}.get(field, 2)
    CnnModel.model_validate({"filters": [4, 5], field: [value, value]})
    with pytest.raises(
        ValidationError, match="has 3 values for 2 blocks: give one for all, or exactly one a block"
    ) as caught:
        CnnModel.model_validate({"filters": [4, 5], field: [value] * 3})
    assert caught.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize(
    "settings",
    [{"filters": []}, {"filters": [0]}, {"filters": 3}, {"kernel_size": 0}, {"pool": "min"}, {"pool_size": 0},
     {"strides": 0}, {"padding": "full"}, {"then": "sum"}, {"units": [0]}, {"convs_per_block": 0}],
    ids=str,
)  # fmt: skip
def test_what_is_no_convolutional_network_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CnnModel.model_validate(settings)
