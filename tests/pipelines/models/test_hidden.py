from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.models.cnn import CnnModel
from pipelines.models.dense import DenseModel
from pipelines.models.hidden import ActivationName, BiasInitializer, HiddenLayer, KernelInitializer
from tests.pipelines.models.samples import GREY, MULTICLASS, NUMBERS, build, outputs, raw

PER_LAYER = tuple(HiddenLayer.__dataclass_fields__)
ONE_EACH: dict[str, tuple[Any, Any]] = {
    "activation": ("tanh", "linear"),
    "negative_slope": (0.1, 0.3),
    "kernel_initializer": ("he_normal", "zeros"),
    "bias_initializer": ("ones", "random_normal"),
    "use_bias": (False, True),
    "l1": (0.1, 0.2),
    "l2": (0.3, 0.0),
    "max_norm": (None, 1.5),
    "batch_norm": (True, False),
    "dropout": (0.0, 0.25),
}


def of_layer(keras: Any, model: Any, name: str) -> dict[str, Any]:
    """What Keras's layers say about a hidden layer's settings."""
    names = {layer.name: layer for layer in model.layers}
    linear, penalty, bound = names[name], names[name].kernel_regularizer, names[name].kernel_constraint
    activation = names.get(f"{name}_activation", linear)
    dropout = names.get(f"{name}_dropout")
    return {
        "activation": getattr(getattr(activation, "activation", None), "__name__", "leaky_relu"),
        "negative_slope": getattr(activation, "negative_slope", None),
        "kernel_initializer": keras.initializers.serialize(linear.kernel_initializer)["class_name"],
        "bias_initializer": keras.initializers.serialize(linear.bias_initializer)["class_name"],
        "use_bias": linear.use_bias,
        "l1": float(penalty.l1) if penalty else 0.0,
        "l2": float(penalty.l2) if penalty else 0.0,
        "max_norm": bound.max_value if bound else None,
        "batch_norm": f"{name}_norm" in names,
        "dropout": dropout.rate if dropout else 0.0,
    }


def as_keras_says(value: Any) -> Any:
    """`he_normal` is HeNormal in a config."""
    return "".join(part.title() for part in value.split("_")) if isinstance(value, str) else value


def test_every_setting_that_layers_have_is_in_the_table_of_this_test() -> None:
    assert set(ONE_EACH) == set(PER_LAYER)


@pytest.mark.parametrize("field", PER_LAYER)
def test_a_setting_reaches_every_hidden_layer_or_each_its_own(keras: Any, field: str) -> None:
    def shown(value: Any) -> Any:
        return as_keras_says(value) if field.endswith("initializer") else value

    first, second = ONE_EACH[field]
    settings: dict[str, Any] = {"units": [4, 5], "activation": "leaky_relu", field: [first, second]}
    model = build(keras, DenseModel, NUMBERS, **settings)
    assert [of_layer(keras, model, f"hidden_{n}")[field] for n in (1, 2)] == pytest.approx(
        [shown(first), shown(second)]
    )
    settings[field] = first
    model = build(keras, DenseModel, NUMBERS, **settings)
    assert [of_layer(keras, model, f"hidden_{n}")[field] for n in (1, 2)] == pytest.approx([shown(first)] * 2)


@pytest.mark.parametrize("field", PER_LAYER)
def test_as_many_values_as_layers_or_one(field: str) -> None:
    first, second = ONE_EACH[field]
    with pytest.raises(ValidationError, match=r"has 4 values for 2 hidden layers.*give one for all") as caught:
        DenseModel.model_validate({"units": [4, 5], field: [first, second, first, second]})
    assert caught.value.errors()[0]["loc"] == (field,)
    with pytest.raises(ValidationError, match=r"has 1 value for 1 block and 1 dense layer"):
        CnnModel.model_validate({"filters": [4], "units": [5], field: [first]})


def test_every_field_with_another_number_of_values_is_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        DenseModel(units=(4, 5), activation=("relu",), dropout=(0.1, 0.2, 0.3), batch_norm=(True, False))
    assert [error["loc"] for error in caught.value.errors()] == [("activation",), ("dropout",)]


@pytest.mark.parametrize("activation", get_args(ActivationName))
def test_every_activation_is_keras_own_and_stays_in_its_layer_where_nothing_stands_between(
    keras: Any, activation: str
) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[3], activation=activation)
    names = [layer.name for layer in model.layers]
    assert ("hidden_1_activation" in names) == (activation == "leaky_relu")
    hidden = keras.Model(model.inputs[0], model.get_layer(names[-2]).output)
    kernel, bias = model.get_layer("hidden_1").get_weights()
    inner = model.get_layer("preparation")(raw(NUMBERS)) @ kernel + bias
    wanted = getattr(keras.activations, activation)(keras.ops.convert_to_tensor(inner))
    np.testing.assert_allclose(outputs(keras, hidden, raw(NUMBERS)), wanted, rtol=1e-5, atol=1e-6)


def test_leaky_relu_has_the_slope_of_the_recipe(keras: Any) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[3], activation="leaky_relu", negative_slope=0.05)
    layer = model.get_layer("hidden_1_activation")
    np.testing.assert_allclose(layer(np.array([-2.0, 3.0])), [-0.1, 3.0], rtol=1e-6)
    assert DenseModel().negative_slope == 0.2 == keras.activations.leaky_relu(-1.0) / -1


@pytest.mark.parametrize(
    ("field", "names"),
    [("kernel_initializer", get_args(KernelInitializer)), ("bias_initializer", get_args(BiasInitializer))],
)
def test_every_initializer_is_keras_own(keras: Any, field: str, names: tuple[str, ...]) -> None:
    for name in names:
        chosen: dict[str, Any] = {field: name}
        layer = build(keras, DenseModel, NUMBERS, units=[3], **chosen).get_layer("hidden_1")
        wanted = keras.initializers.get("glorot_uniform" if name == "auto" else name)
        assert type(getattr(layer, field)) is type(wanted), name
        assert np.isfinite(layer.get_weights()[0]).all()


@pytest.mark.parametrize("initializer", ["glorot_normal", "orthogonal", "random_uniform", "truncated_normal"])
def test_what_an_initializer_draws_follows_from_the_seed(keras: Any, initializer: str) -> None:
    one, again, other = (
        build(keras, DenseModel, NUMBERS, seed=seed, kernel_initializer=initializer, bias_initializer="random_normal")
        for seed in (1, 1, 2)
    )
    for place in range(4):  # kernels and biases of both hidden layers
        np.testing.assert_array_equal(one.get_weights()[place], again.get_weights()[place])
        assert not np.array_equal(one.get_weights()[place], other.get_weights()[place])


def test_layers_come_in_the_order_linear_norm_activation_dropout(keras: Any) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[4, 5], batch_norm=True, dropout=[0.5, 0.0], activation="elu")
    assert [layer.name for layer in model.layers] == [
        "preparation",
        "hidden_1", "hidden_1_norm", "hidden_1_activation", "hidden_1_dropout",
        "hidden_2", "hidden_2_norm", "hidden_2_activation",
        "probabilities",
    ]  # fmt: skip
    assert model.get_layer("hidden_1").activation.__name__ == "linear"


@pytest.mark.parametrize(
    ("settings", "of_hidden", "of_output"),
    [
        ({}, [0, 0], 0),
        ({"l2": 0.1}, [0.1, 0.1], 0.1),
        ({"l2": [0.1, 0.2]}, [0.1, 0.2], 0),
        ({"l2": [0.1, 0.2, 0.3]}, [0.1, 0.2], 0.3),
    ],
    ids=str,
)
def test_a_penalty_counts_for_the_output_layer_too_unless_each_hidden_layer_has_its_own(
    keras: Any, settings: dict[str, Any], of_hidden: list[float], of_output: float
) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[4, 5], **settings)
    found = [model.get_layer(name).kernel_regularizer for name in ("hidden_1", "hidden_2", "probabilities")]
    assert [float(one.l2) if one else 0 for one in found] == pytest.approx([*of_hidden, of_output])


def test_a_penalty_is_in_the_loss(keras: Any) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[4], l1=0.5, l2=0.25)
    kernels = [model.get_layer(name).get_weights()[0] for name in ("hidden_1", "probabilities")]
    wanted = sum(0.5 * np.abs(kernel).sum() + 0.25 * (kernel**2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(wanted, rel=1e-5)


def test_the_weights_into_a_unit_keep_the_norm_that_max_norm_allows(keras: Any) -> None:
    dense = build(keras, DenseModel, NUMBERS, units=[4], kernel_initializer="ones", max_norm=0.5).get_layer("hidden_1")
    bound = dense.kernel_constraint(dense.kernel)
    np.testing.assert_allclose(np.linalg.norm(bound, axis=0), 0.5, rtol=1e-4)
    conv = build(keras, CnnModel, GREY, kernel_initializer="ones", max_norm=0.5).get_layer("block_2_conv_1")
    bound = conv.kernel_constraint(conv.kernel)
    np.testing.assert_allclose(np.sqrt((np.asarray(bound) ** 2).sum(axis=(0, 1, 2))), 0.5, rtol=1e-4)


def test_dropout_drops_in_training_only(keras: Any) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[64], dropout=0.5)
    x = raw(NUMBERS)
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    assert not np.array_equal(model(x, training=True), model(x, training=True))


@pytest.mark.parametrize(
    "settings",
    [{"activation": "softmax"}, {"activation": "rleu"}, {"activation": ["relu", 3]}, {"dropout": 1.0},
     {"dropout": -0.1}, {"dropout": True}, {"dropout": [0.1, 1.0]}, {"l1": -1}, {"l2": [-1, 0]}, {"max_norm": 0},
     {"batch_norm": 2},
     {"use_bias": "perhaps"}, {"kernel_initializer": "xavier"}, {"bias_initializer": "orthogonal"},
     {"negative_slope": -1}, {"l2": float("nan")}],
    ids=str,
)  # fmt: skip
def test_what_no_layer_can_have_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DenseModel.model_validate(settings)


def test_a_recipe_read_back_from_its_own_dump_is_the_same() -> None:
    model = DenseModel(units=(4, 5), max_norm=(None, 2.0), dropout=(0.1, 0.0), activation=("relu", "tanh"))
    assert DenseModel.model_validate(model.model_dump(mode="json")) == model
    assert MULTICLASS.units == 3
