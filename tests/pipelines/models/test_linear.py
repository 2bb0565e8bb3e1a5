from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.models.linear import LinearModel
from tests.pipelines.models.samples import GREY, HEADS, NUMBERS, POINTS, TABLE, build, outputs, raw


@pytest.mark.parametrize(
    ("facts", "layers", "features"),
    [
        (GREY, ["scale", "flatten", "probabilities"], 64),
        (TABLE, ["preparation", "probabilities"], 10),
        (POINTS, ["probabilities"], 2),
    ],
    ids=["image", "table", "points"],
)
def test_there_is_nothing_between_preparation_and_output(
    keras: Any, facts: Any, layers: list[str], features: int
) -> None:
    model = build(keras, LinearModel, facts)
    assert [layer.name for layer in model.layers] == layers
    assert model.count_params() == (features + 1) * 3
    assert model.name == "linear"


def test_its_settings_reach_the_output_layer(keras: Any) -> None:
    model = build(keras, LinearModel, NUMBERS, l1=0.1, l2=0.2, use_bias=False, kernel_initializer="he_normal")
    layer = model.get_layer("probabilities")
    assert (float(layer.kernel_regularizer.l1), float(layer.kernel_regularizer.l2)) == pytest.approx((0.1, 0.2))
    assert not layer.use_bias
    assert type(layer.kernel_initializer) is keras.initializers.HeNormal
    ones = build(keras, LinearModel, NUMBERS, bias_initializer="ones", kernel_initializer="zeros")
    np.testing.assert_array_equal(ones.get_weights()[1], [1, 1, 1])


def test_a_number_is_predicted_in_its_own_units(keras: Any) -> None:
    head = HEADS["regression"]
    model = build(keras, LinearModel, NUMBERS, head)
    assert [layer.name for layer in model.layers] == ["preparation", "output", "prediction"]
    x = raw(NUMBERS)
    kernel, bias = model.get_weights()
    inner = np.asarray(model.get_layer("preparation")(x)) @ kernel + bias
    np.testing.assert_allclose(outputs(keras, model, x), inner * head.scale + head.offset, rtol=1e-5)
    plain = build(keras, LinearModel, NUMBERS, HEADS["plain regression"])
    assert [layer.name for layer in plain.layers] == ["preparation", "prediction"]


def test_what_hidden_layers_have_is_refused() -> None:
    for field in ("units", "activation", "dropout"):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            LinearModel.model_validate({field: 1})
