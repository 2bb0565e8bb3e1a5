from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.inputs import Column, InputFacts
from pipelines.models.dense import DenseModel
from pipelines.models.linear import LinearModel
from pipelines.models.preparation import INPUT_NAMES, preparation, scaling_of
from tests.pipelines.models.samples import (
    ALL_FEATURES,
    COLOUR,
    GREY,
    KINDS,
    MULTICLASS,
    NUMBERS,
    POINTS,
    TABLE,
    build,
    raw,
)

NAN = np.nan


def prepared(keras: Any, facts: InputFacts, x: Any, scaling: Any = "auto", features: Any = ("x1", "x2")) -> Any:
    flow = np.asarray(x, np.float32)
    for layer in preparation(facts, scaling, features):
        flow = layer(flow)
    return keras.ops.convert_to_numpy(flow)


@pytest.mark.parametrize("facts", [GREY, COLOUR, InputFacts((3,), -2, 6, ("a", "b"))], ids=str)
def test_images_are_brought_to_0_to_1(keras: Any, facts: InputFacts) -> None:
    (layer,) = preparation(facts, "auto", ())
    assert layer.name == "scale"
    ends = [np.full(facts.shape, end) for end in (facts.low, facts.high)]
    np.testing.assert_allclose(prepared(keras, facts, ends), [np.zeros(facts.shape), np.ones(facts.shape)], atol=1e-6)


def test_standard_images_lose_the_mean_and_the_deviation_of_their_channel(keras: Any) -> None:
    x = raw(COLOUR)
    wanted = (x - np.array(COLOUR.mean)) / np.array(COLOUR.deviation)
    np.testing.assert_allclose(prepared(keras, COLOUR, x, "standard"), wanted, rtol=1e-5, atol=1e-6)
    x = raw(GREY)
    np.testing.assert_allclose(prepared(keras, GREY, x, "standard"), (x - 5) / 4, rtol=1e-5, atol=1e-6)
    one_channel = replace(GREY, shape=(8, 8, 1))
    np.testing.assert_allclose(
        prepared(keras, one_channel, x[..., None], "standard"), (x[..., None] - 5) / 4, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("facts", [GREY, COLOUR, POINTS], ids=lambda facts: facts.kind)
def test_without_scaling_raw_values_stay_as_they_are(keras: Any, facts: InputFacts) -> None:
    assert preparation(facts, "none", ("x1", "x2")) == []


def test_auto_is_range_for_images_standard_for_tables_and_none_for_points() -> None:
    assert [scaling_of("auto", kind) for kind in ("image", "table", "points")] == ["range", "standard", "none"]
    assert scaling_of("none", "image") == "none"


@pytest.mark.parametrize(
    ("row", "wanted"),
    [  # age, year, size; unknown red blå x-y; unknown Ulm _Ulm
        ([50, 1, 1990, 2.5, 2], [1, 0, 1, 0, 1, 0, 0, 0, 0, 1]),
        ([NAN, 0, NAN, NAN, 0], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]),
        ([30, 3, 2006, 1, 1], [-1, 2, -2, 0, 0, 0, 1, 0, 1, 0]),
    ],
    ids=str,
)
def test_a_table_is_standardised_numbers_and_then_categories_one_hot(
    keras: Any, row: list[float], wanted: list[float]
) -> None:
    found = prepared(keras, TABLE, [row])
    assert (found.shape, found.dtype) == ((1, 10), np.float32)
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_a_missing_number_is_the_mean_also_where_nothing_is_scaled(keras: Any) -> None:
    np.testing.assert_array_equal(prepared(keras, NUMBERS, [[NAN, 7, NAN]], "none"), [[1, 7, 3]])
    of_range = replace(NUMBERS, low=0.0, high=10.0)
    np.testing.assert_allclose(prepared(keras, of_range, [[NAN, 7, NAN]], "range"), [[0.1, 0.7, 0.3]], rtol=1e-6)


def test_a_table_of_words_alone_is_one_hot(keras: Any) -> None:
    facts = InputFacts(
        (2,), None, None, ("a", "b"), "table", (Column("x", ()), Column("y", ("q",))), "", (0, 0), (1, 1)
    )
    np.testing.assert_array_equal(prepared(keras, facts, [[0, 1], [0, 0]]), [[1, 0, 1], [1, 1, 0]])


def test_values_far_from_zero_keep_their_digits(keras: Any) -> None:
    facts = replace(NUMBERS, mean=(1e6, 0.0, 0.0), deviation=(0.5, 1.0, 1.0))
    np.testing.assert_array_equal(prepared(keras, facts, [[1e6 + 0.25, 0, 0]])[0, 0], 0.5)


@pytest.mark.parametrize(
    ("features", "wanted"),
    [
        (("x1", "x2"), [2, -3]),
        (("x2", "x1"), [-3, 2]),
        (("x2",), [-3]),
        (("x1_x2", "sin_x2"), [-6, np.sin(-3)]),
        (ALL_FEATURES, [2, -3, 4, 9, -6, np.sin(2), np.sin(-3)]),
    ],
)
def test_points_have_the_features_that_were_chosen_in_that_order(
    keras: Any, features: Any, wanted: list[float]
) -> None:
    np.testing.assert_allclose(prepared(keras, POINTS, [[2, -3]], features=features), [wanted], rtol=1e-6)


def test_coordinates_are_scaled_before_features_are_made_of_them(keras: Any) -> None:
    found = prepared(keras, POINTS, [[3.5, -1]], "standard", ("x1_squared", "x1_x2", "x2"))
    np.testing.assert_allclose(found, [[1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(prepared(keras, POINTS, [[6, -6]], "range", ("x1_squared", "x2")), [[1, 0]], atol=1e-6)


@pytest.mark.parametrize("facts", KINDS.values(), ids=KINDS)
def test_nothing_in_the_preparation_can_be_trained(keras: Any, facts: InputFacts) -> None:
    features: Any = ALL_FEATURES
    layers = preparation(facts, "standard", features)
    assert layers
    assert sum(len(layer.weights) for layer in layers) == 0


@pytest.mark.parametrize("facts", KINDS.values(), ids=KINDS)
def test_the_input_has_the_name_of_its_kind(keras: Any, facts: InputFacts) -> None:
    (given,) = build(keras, LinearModel, facts).inputs
    assert (given.name, given.shape, given.dtype) == (INPUT_NAMES[facts.kind], (None, *facts.shape), "float32")


@pytest.mark.parametrize(
    ("facts", "scaling", "message"),
    [
        (
            TABLE,
            "range",
            "model.scaling 'range' needs the range of the raw values, which nobody can say .* use standard",
        ),
        (replace(GREY, high=None), "auto", "'range' needs the range"),
        (replace(GREY, high=0.0), "range", "which is 0.0 to 0.0 for this data"),
        (replace(GREY, mean=()), "standard", "needs means and deviations, and 0 were fitted"),
        (replace(COLOUR, mean=(1.0, 2.0), deviation=(1.0, 1.0)), "standard", "and 2 were fitted"),
    ],
    ids=["table", "no high", "no width", "no mean", "other channels"],
)
def test_a_scaling_that_the_facts_do_not_allow_is_refused(facts: InputFacts, scaling: Any, message: str) -> None:
    model = DenseModel(scaling=scaling)
    assert list(model.misfits(facts)) == ["scaling"]
    with pytest.raises(DataError, match=message):
        model.build(facts, MULTICLASS)


@pytest.mark.parametrize("facts", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("scaling", ["auto", "standard", "none"])
def test_what_the_facts_allow_is_no_misfit(facts: InputFacts, scaling: Any) -> None:
    assert DenseModel(scaling=scaling).misfits(facts) == {}


def test_under_mixed_precision_raw_values_and_outputs_stay_in_float32(keras: Any) -> None:
    facts = replace(TABLE, mean=(1e6, *TABLE.mean[1:]))  # more than a float16 can hold
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(keras, DenseModel, facts, units=[4])
        found = model(raw(facts))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("hidden_1").compute_dtype == "float16"
    assert found.dtype.name == "float32"
    assert np.isfinite(keras.ops.convert_to_numpy(found)).all()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found).sum(axis=1), 1, rtol=1e-6)
