from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.inputs import InputFacts
from pipelines.models.dense import DenseModel
from pipelines.tasks import Head, Task
from tests.pipelines.models.samples import APIS, TABLE, build, outputs, raw, same_weights

FASHION = InputFacts((28, 28), 0.0, 255.0, tuple("abcdefghij"), mean=(72.9,), deviation=(90.0,))
TEN = Head(Task.MULTICLASS, 10, "softmax")


@pytest.mark.parametrize("api", APIS)
def test_the_784_100_30_10_classifier_has_81840_parameters(keras: Any, api: str) -> None:
    model = build(keras, DenseModel, FASHION, TEN, api=api)
    assert model.count_params() == (784 + 1) * 100 + (100 + 1) * 30 + (30 + 1) * 10 == 81_840
    assert model.name == "dense"


@pytest.mark.parametrize("api", APIS)
def test_initial_weights_of_a_seed_stay_what_they_were(keras: Any, api: str) -> None:
    """Runs made by earlier versions can be made again: these numbers are theirs."""
    first, *_, last, _ = build(keras, DenseModel, FASHION, TEN, seed=3, api=api).get_weights()
    np.testing.assert_allclose(first.ravel()[:4], [-0.00034083, -0.07976098, 0.05261074, -0.06742139], atol=1e-8)
    np.testing.assert_allclose(last.ravel()[-3:], [0.18460333, 0.3726204, 0.17426121], atol=1e-7)


@pytest.mark.parametrize("api", APIS)
def test_raw_images_go_in_and_a_probability_a_class_comes_out(keras: Any, api: str) -> None:
    model = build(keras, DenseModel, FASHION, TEN, api=api)
    assert [one.name for one in model.inputs] == ["image"]
    assert model.inputs[0].shape == (None, 28, 28)
    assert model.layers[-1].name == "probabilities"
    found = outputs(keras, model, raw(FASHION))
    assert (found.shape, found.dtype) == ((6, 10), np.float32)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


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
    model = build(keras, DenseModel, FASHION, TEN, api=api, **settings)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [(layer.units, layer.activation.__name__) for layer in dense] == [*layers, (10, "softmax")]
    assert [layer.name for layer in dense] == [*(f"hidden_{n}" for n in range(1, len(layers) + 1)), "probabilities"]


def test_a_table_is_not_flattened_and_has_one_weight_a_feature(keras: Any) -> None:
    model = build(keras, DenseModel, TABLE, units=[7])
    assert [layer.name for layer in model.layers] == ["preparation", "hidden_1", "probabilities"]
    assert model.count_params() == (10 + 1) * 7 + (7 + 1) * 3


@pytest.mark.parametrize(
    "settings",
    [{"units": [0]}, {"units": [-1]}, {"units": [1.5]}, {"units": 5}, {"units": [True]}, {"api": "subclass"},
     {"layers": [3]}],
    ids=str,
)  # fmt: skip
def test_what_is_no_stack_of_layers_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DenseModel.model_validate(settings)


def test_another_seed_gives_other_weights_and_the_same_seed_the_same(keras: Any) -> None:
    one, again, other = (build(keras, DenseModel, TABLE, seed=seed) for seed in (1, 1, 2))
    assert same_weights(one, again)
    assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])
