from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.inputs import InputFacts
from pipelines.models import Model
from pipelines.models.base import INPUT_NAME, OUTPUT_NAME
from pipelines.models.dense import DenseModel
from pipelines.spec import kinds_of

FASHION = InputFacts((28, 28), 0.0, 255.0, tuple("abcdefghij"))
APIS = ("sequential", "functional")


def build(keras: Any, inputs: InputFacts = FASHION, seed: int = 1, **settings: Any) -> Any:
    keras.utils.set_random_seed(seed)
    return DenseModel.model_validate(settings).build(inputs)


def images(count: int, inputs: InputFacts = FASHION) -> Any:
    random = np.random.default_rng(0)
    return random.uniform(inputs.low, inputs.high, (count, *inputs.shape)).astype(np.float32)


def test_the_784_100_30_10_classifier_has_81840_parameters(keras: Any) -> None:
    assert build(keras).count_params() == (784 + 1) * 100 + (100 + 1) * 30 + (30 + 1) * 10 == 81_840


@pytest.mark.parametrize("api", APIS)
def test_raw_images_go_in_and_a_probability_a_class_comes_out(keras: Any, api: str) -> None:
    model = build(keras, api=api)
    assert [one.name for one in model.inputs] == [INPUT_NAME]
    assert model.inputs[0].shape == (None, 28, 28)
    assert model.layers[-1].name == OUTPUT_NAME
    found = keras.ops.convert_to_numpy(model(images(4)))
    assert (found.shape, found.dtype) == ((4, 10), np.float32)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_both_apis_give_the_same_weights_and_answers_for_a_seed(keras: Any) -> None:
    one, other = (build(keras, api=api) for api in APIS)
    assert len(one.weights) == len(other.weights) == 6
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(one(images(4)), other(images(4)))
    again, another = build(keras), build(keras, seed=2)
    np.testing.assert_array_equal(again.get_weights()[0], one.get_weights()[0])
    assert not np.array_equal(another.get_weights()[0], one.get_weights()[0])


@pytest.mark.parametrize(
    "inputs", [FASHION, InputFacts((8, 8), 0.0, 16.0, ("a", "b")), InputFacts((3,), -2, 6, ("a", "b"))]
)
def test_the_first_layer_brings_raw_values_to_0_to_1(keras: Any, inputs: InputFacts) -> None:
    layer = build(keras, inputs).get_layer("scale")
    ends = np.stack([np.full(inputs.shape, end, np.float32) for end in (inputs.low, inputs.high)])
    found = keras.ops.convert_to_numpy(layer(ends))
    np.testing.assert_allclose(found[0], 0, atol=1e-6)
    np.testing.assert_allclose(found[1], 1, rtol=1e-6)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({"units": []}, []),
        ({"units": [5]}, [(5, "relu")]),
        ({"units": [5, 6], "activation": "tanh"}, [(5, "tanh"), (6, "tanh")]),
        ({"units": [5, 6], "activation": ["sigmoid", "gelu"]}, [(5, "sigmoid"), (6, "gelu")]),
    ],
    ids=str,
)
def test_hidden_layers_are_those_of_the_recipe(
    keras: Any, api: str, settings: dict[str, Any], layers: list[tuple[int, str]]
) -> None:
    model = build(keras, api=api, **settings)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [(layer.units, layer.activation.__name__) for layer in dense] == [*layers, (10, "softmax")]


@pytest.mark.parametrize(
    "activation", ["relu", "tanh", "sigmoid", "linear", "elu", "selu", "gelu", "silu", "leaky_relu"]
)
def test_every_activation_is_one_of_keras(keras: Any, activation: str) -> None:
    assert np.isfinite(build(keras, units=[3], activation=activation)(images(2))).all()


@pytest.mark.parametrize(
    "settings",
    [{"units": [0]}, {"units": [-1]}, {"units": [1.5]}, {"units": 5}, {"units": [5], "activation": ["relu", "relu"]},
     {"units": [], "activation": ["relu"]}, {"activation": "softmax"}, {"api": "subclass"}, {"dropout": 0.5}],
    ids=str,
)  # fmt: skip
def test_what_is_no_stack_of_layers_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DenseModel.model_validate(settings)


def test_a_number_of_layers_is_told_with_the_number_of_activations() -> None:
    with pytest.raises(ValidationError, match="activation names 1 layers and units 2"):
        DenseModel(units=(5, 6), activation=("relu",))


def test_the_dense_model_is_listed() -> None:
    assert kinds_of(Model) == {"dense": DenseModel}
