from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipelines.callbacks.verdict import WINDOW, Measurement, concerns, telling, verdict
from pipelines.pictures.layers import LayerState
from tests.pipelines.small_training import COLUMNS, READ, data, fit, model, surroundings

Make = Callable[[Any], list[Any]]


def measured(keras: Any, made: Any, epochs: int = 1, **settings: Any) -> dict[str, list[float]]:
    """What the diagnostics of a training say, by layer and measure."""
    probe = READ.validate_python({"name": "diagnostics", **settings}).build(surroundings(Path()))
    curves = fit(made, [probe], epochs)
    return {name.removeprefix("diagnostics/"): value for name, value in curves.items() if "/" in name}


def batch(count: int = 50) -> tuple[Any, Any]:
    x, y = data()
    return x[:count].astype(np.float64), y[:count]


def weights_of(made: Any, name: str) -> list[Any]:
    return [np.asarray(weight, np.float64) for weight in made.get_layer(name).get_weights()]


def softmax(values: Any) -> Any:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def norm(values: Any) -> float:
    return float(np.sqrt((values**2).sum()))


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (np.tanh, lambda values: 1 - np.tanh(values) ** 2),
    "sigmoid": (lambda values: 1 / (1 + np.exp(-values)), lambda values: np.exp(-values) / (1 + np.exp(-values)) ** 2),
    "relu": (lambda values: np.maximum(values, 0), lambda values: (values > 0).astype(float)),
}


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("samples", [50, 20])
def test_the_numbers_are_those_of_a_computation_by_hand(keras: Any, activation: str, samples: int) -> None:
    made = model(keras, [keras.layers.Dense(7, activation, name="hidden")])
    kernel, bias = made.get_layer("hidden").get_weights()
    kernel *= 3  # so that some units are saturated
    bias[:2] = -50  # and two are dead
    made.get_layer("hidden").set_weights([kernel, bias])
    found = measured(keras, made, samples=samples)

    x, y = batch(samples)
    function, slope = FUNCTIONS[activation]
    (kernel, bias), (last, last_bias) = weights_of(made, "hidden"), weights_of(made, "out")
    before = x @ kernel + bias
    hidden = function(before)
    out = softmax(hidden @ last + last_bias)
    error = (out - np.eye(2)[y]) / samples
    expected = {
        "hidden/mean": hidden.mean(),
        "hidden/deviation": hidden.std(),
        "hidden/gradient": norm(x.T @ ((error @ last.T) * slope(before))),
        "out/mean": out.mean(),
        "out/deviation": out.std(),
        "out/gradient": norm(hidden.T @ error),
    }
    if activation == "relu":
        expected["hidden/dead"] = (hidden <= 0).all(axis=0).mean()
        assert expected["hidden/dead"] >= 2 / 7
    else:
        low, high = (0.05, 0.95) if activation == "sigmoid" else (-0.9, 0.9)
        expected["hidden/saturated"] = ((hidden < low) | (hidden > high)).mean()
        assert 0.2 < expected["hidden/saturated"] < 1
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("margin", "low", "high"), [(0.05, -0.9, 0.9), (0.25, -0.5, 0.5)])
def test_the_margin_says_what_is_saturated(keras: Any, margin: float, low: float, high: float) -> None:
    made = model(keras)
    found = measured(keras, made, margin=margin)
    x, _ = batch()
    kernel, bias = weights_of(made, "hidden")
    hidden = np.tanh(x @ kernel + bias)
    assert found["hidden/saturated"] == [pytest.approx(((hidden < low) | (hidden > high)).mean())]


WITHOUT = {"mean", "deviation", "gradient"}


DEAD, SATURATED = {*WITHOUT, "dead"}, {*WITHOUT, "saturated"}
FOLLOWED: dict[str, tuple[Make, set[str]]] = {
    "relu_layer_inside": (lambda layers: [layers.Dense(5, layers.ReLU(), name="relu_layer_inside")], DEAD),
    "relu_layer": (lambda layers: [layers.Dense(5, name="relu_layer"), layers.ReLU()], DEAD),
    "sloping": (lambda layers: [layers.Dense(5, name="sloping"), layers.ReLU(negative_slope=0.1)], WITHOUT),
    "leaking": (lambda layers: [layers.Dense(5, name="leaking"), layers.LeakyReLU()], WITHOUT),
    "learned": (lambda layers: [layers.Dense(5, name="learned"), layers.PReLU()], WITHOUT),
    "bent": (lambda layers: [layers.Dense(5, name="bent"), layers.Activation("tanh")], SATURATED),
    "dropped": (lambda layers: [layers.Dense(5, name="dropped"), layers.Dropout(0.5), layers.ReLU()], DEAD),
    "normalised": (
        lambda layers: [
            layers.Dense(5, use_bias=False, name="normalised"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dropout(0.5),
        ],
        DEAD,
    ),
    "bent_twice": (lambda layers: [layers.Dense(5, "tanh", name="bent_twice"), layers.ReLU()], SATURATED),
}
BY_NAME = {
    **dict.fromkeys(("relu", "relu6"), DEAD),
    **dict.fromkeys(("sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "softsign"), SATURATED),
    **dict.fromkeys(("linear", "elu", "selu", "gelu", "silu", "leaky_relu", "softplus"), WITHOUT),
}


def test_a_layer_has_the_measures_that_its_activation_gives_a_meaning(keras: Any) -> None:
    def layers() -> list[Any]:
        followed = [layer for make, _ in FOLLOWED.values() for layer in make(keras.layers)]
        return [*followed, *(keras.layers.Dense(5, name, name=name) for name in BY_NAME)]

    found: dict[str, set[str]] = {}
    for name, (value,) in measured(keras, model(keras, layers)).items():
        layer, what = name.split("/")
        found.setdefault(layer, set()).add(what)
        assert np.isfinite(value), name
    assert found == {name: measures for name, (_, measures) in FOLLOWED.items()} | BY_NAME | {"out": WITHOUT}


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_an_activation_behind_a_normalisation_is_the_layers_own(keras: Any, activation: str) -> None:
    def layers() -> list[Any]:
        last = keras.layers.Activation("relu") if activation == "relu" else keras.layers.LeakyReLU(0.25)
        return [keras.layers.Dense(5, name="hidden"), keras.layers.BatchNormalization(name="norm"), last]

    made = model(keras, layers)
    gamma, beta, mean, variance = made.get_layer("norm").get_weights()
    made.get_layer("norm").set_weights([gamma, beta - [9, 0, 0, 0, 0], mean, variance])
    found = measured(keras, made)
    x, _ = batch()
    (kernel, bias), (gamma, beta, mean, variance) = weights_of(made, "hidden"), weights_of(made, "norm")
    values = (x @ kernel + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    values = np.where(values > 0, values, 0.0 if activation == "relu" else 0.25 * values)
    assert found["hidden/mean"] == [pytest.approx(values.mean(), rel=1e-4)]
    assert found["hidden/deviation"] == [pytest.approx(values.std(), rel=1e-4)]
    if activation == "relu":
        assert found["hidden/dead"] == [pytest.approx(0.2)]


def test_channels_of_a_convolution_are_its_units(keras: Any) -> None:
    layers = keras.layers
    convolution = layers.Conv1D(4, 2, activation="relu", name="hidden")
    made = model(keras, lambda: [layers.Reshape((COLUMNS, 1)), convolution, layers.Flatten()])
    kernel, _ = made.get_layer("hidden").get_weights()
    made.get_layer("hidden").set_weights([kernel, np.array([-99.0, 0.0, 0.0, -99.0])])
    found = measured(keras, made)
    x, y = batch()
    (kernel, bias), (last, last_bias) = weights_of(made, "hidden"), weights_of(made, "out")
    windows = np.stack([x[:, place : place + 2] for place in range(COLUMNS - 1)], axis=1)  # (n, places, 2)
    before = windows @ kernel[:, 0, :] + bias
    hidden = np.maximum(before, 0)
    flat = hidden.reshape(len(x), -1)
    error = (softmax(flat @ last + last_bias) - np.eye(2)[y]) / len(x)
    slope = (error @ last.T).reshape(hidden.shape) * (before > 0)
    assert found["hidden/dead"] == [0.5]
    assert found["hidden/mean"] == [pytest.approx(hidden.mean(), rel=1e-4)]
    assert found["hidden/gradient"] == [pytest.approx(norm(np.einsum("npi,npo->io", windows, slope)), rel=1e-3)]


def test_every_kind_of_layer_with_a_kernel_is_measured(keras: Any) -> None:
    layers = keras.layers

    def hidden() -> list[Any]:
        return [
            layers.Reshape((6, 1, 1)),
            layers.Conv2D(3, (3, 1), padding="same", activation="relu", name="plain"),
            layers.DepthwiseConv2D((3, 1), padding="same", activation="tanh", name="depthwise"),
            layers.SeparableConv2D(4, (3, 1), padding="same", activation="sigmoid", name="separable"),
            layers.Conv2DTranspose(2, (3, 1), activation="elu", name="transposed"),
            layers.GlobalAveragePooling2D(),
        ]

    found = measured(keras, model(keras, hidden))
    names = ["plain", "depthwise", "separable", "transposed", "out"]
    assert list(dict.fromkeys(name.split("/")[0] for name in found)) == names  # in the order of the work
    assert all(found[f"{name}/gradient"][0] > 0 for name in names)


def test_penalties_and_weights_of_the_loss_are_in_the_gradient(keras: Any) -> None:
    keras.utils.set_random_seed(1)
    penalty = keras.regularizers.L2(0.5)
    made = keras.Sequential([keras.Input((COLUMNS,)), keras.layers.Dense(1, kernel_regularizer=penalty, name="out")])
    made.compile("sgd", keras.losses.MeanSquaredError(), loss_weights=[0.25])
    x, y = batch()
    around = surroundings(Path(), y=np.asarray(y, np.float32)[:, None])
    probe = READ.validate_python({"name": "diagnostics"}).build(around)
    curves = fit(made, [probe], 1)
    kernel, bias = weights_of(made, "out")
    expected = 0.25 * 2 * x.T @ (x @ kernel + bias - y[:, None]) / len(x) + 2 * 0.5 * kernel
    assert curves["diagnostics/out/gradient"] == [pytest.approx(norm(expected), rel=1e-4)]


def nested(keras: Any) -> Any:
    """A preprocessing model and two blocks, whose layers have the same names, inside a functional model."""
    layers = keras.layers

    def block(name: str) -> Any:
        return keras.Sequential([keras.Input((6,)), layers.Dense(6, name="dense"), layers.ReLU()], name=name)

    preparation = keras.Sequential([keras.Input((COLUMNS,)), layers.Rescaling(0.5)], name="preparation")
    inputs = keras.Input((COLUMNS,))
    hidden = block("second")(block("first")(preparation(inputs)))
    joined = layers.Add()([layers.Dense(6, name="skipped")(inputs), hidden])
    return keras.Model(inputs, layers.Dense(2, "softmax", name="out")(layers.Activation("tanh")(joined)))


def test_a_layers_name_becomes_one_that_a_metric_may_have(keras: Any) -> None:
    found = measured(keras, model(keras, lambda: [keras.layers.Dense(3, name="left>right"), keras.layers.ReLU()]))
    assert {name.split("/")[0] for name in found} == {"left_right", "out"}


def subclassed(keras: Any) -> Any:
    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one = keras.layers.Dense(4, name="one")
            self.norm = keras.layers.LayerNormalization()
            self.act = keras.layers.Activation("tanh")
            self.out = keras.layers.Dense(2, "softmax", name="out")

        def call(self, x: Any) -> Any:
            x = self.act(self.norm(self.one(x)))
            return self.out(self.act(x))  # the activation is there twice, after the layer once

    return Mine()


def recurrent(keras: Any) -> Any:
    layers = keras.layers
    shape = [keras.Input((COLUMNS,)), layers.Reshape((3, 2)), layers.LSTM(3), layers.Dense(2, "softmax", name="out")]
    return keras.Sequential(shape)


@pytest.mark.parametrize(
    ("make", "measures"),
    [
        (
            nested,
            {
                "first_dense": {*WITHOUT, "dead"},
                "second_dense": {*WITHOUT, "dead"},
                "skipped": WITHOUT,
                "out": WITHOUT,
            },
        ),
        (subclassed, {"one": {*WITHOUT, "saturated"}, "out": WITHOUT}),
        (recurrent, {"out": WITHOUT}),
    ],
)
def test_models_of_every_make_are_looked_into(
    keras: Any, make: Callable[[Any], Any], measures: dict[str, set[str]]
) -> None:
    keras.backend.clear_session()
    made = make(keras)
    made.compile("adam", "sparse_categorical_crossentropy")
    by_layer: dict[str, set[str]] = {}
    for name in measured(keras, made):
        layer, what = name.split("/")
        by_layer.setdefault(layer, set()).add(what)
    assert by_layer == measures


def test_a_training_is_the_same_with_it_and_without_to_the_last_digit(keras: Any) -> None:
    layers = keras.layers

    def hidden() -> list[Any]:
        return [
            layers.GaussianNoise(0.1),
            layers.Dense(8, activity_regularizer="l2", kernel_regularizer="l2"),
            layers.BatchNormalization(momentum=0.5),
            layers.Activation("relu"),
            layers.Dropout(0.5),
        ]

    plain = model(keras, hidden)
    expected = fit(plain, [], 4)
    watched = model(keras, hidden)
    curves = fit(watched, [READ.validate_python({"name": "diagnostics"}).build(surroundings(Path()))], 4)
    assert {name: values for name, values in curves.items() if "/" not in name} == expected
    for one, other in zip(
        [*watched.variables, *watched.optimizer.variables], [*plain.variables, *plain.optimizer.variables], strict=True
    ):  # random states and statistics included
        assert np.array_equal(one.numpy(), other.numpy()), one.path
    assert all("call" not in layer.__dict__ for layer in watched.layers)


class Shown(list[tuple[int, str, Image.Image]]):
    """Takes pictures, and opens them."""

    def __call__(self, epoch: int, key: str, png: bytes) -> None:
        with Image.open(io.BytesIO(png)) as image:
            self.append((epoch, key, image.convert("RGB")))


def test_each_measured_epoch_has_a_picture_of_the_layers(keras: Any) -> None:
    shown = Shown()
    probe = READ.validate_python({"name": "diagnostics", "every": 2}).build(surroundings(Path(), draw=shown))
    fit(model(keras), [probe], 5)

    assert [(epoch, key) for epoch, key, _ in shown] == [(0, "layers"), (2, "layers"), (4, "layers")]
    assert {image.width for _, _, image in shown} == {640}
    assert len({image.tobytes() for _, _, image in shown}) == 3


def test_without_the_picture_nothing_is_drawn_and_all_else_is_the_same(keras: Any) -> None:
    shown = Shown()
    found = []
    for picture in (True, False):
        spec = READ.validate_python({"name": "diagnostics", "picture": picture})
        probe = spec.build(surroundings(Path(), draw=shown))
        found.append((fit(model(keras), [probe], 3), probe.notes))
    assert len(shown) == 3
    assert found[0] == found[1]


def test_what_is_drawn_is_what_is_measured(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.callbacks import probing

    drawn: list[tuple[Any, Any, dict[str, Any]]] = []

    def noting(states: Any, scales: Any, **how: Any) -> bytes:
        drawn.append((states, scales, how))
        return b""

    monkeypatch.setattr(probing, "layers_picture", noting)
    probe = READ.validate_python({"name": "diagnostics"}).build(surroundings(Path()))
    curves = fit(model(keras), [probe], 2)
    for epoch, (states, scales, how) in enumerate(drawn):
        assert [state.name for state in states] == ["hidden", "out"]
        for state in states:
            for what in ("gradient", "mean", "deviation"):
                assert getattr(state, what) == curves[f"diagnostics/{state.name}/{what}"][epoch]
        assert states[0].saturated == curves["diagnostics/hidden/saturated"][epoch]
        assert states[0].dead is states[1].saturated is None
        assert scales.decades[0] < scales.decades[1]
        said = [f"{name} {curves[name][epoch]:.3g}" for name in ("val_loss", "val_accuracy")]
        assert (how["title"], how["note"]) == (f"epoch {epoch}", ", ".join(said))
    assert len(drawn) == 2


def stack(
    keras: Any, depth: int, activation: str, initialiser: Any = "glorot_uniform", units: int = 32
) -> Callable[[], Any]:
    """Hidden layers, each with its own seed for its weights."""

    def layers() -> list[Any]:
        made = []
        for place in range(depth):
            scaled = (
                keras.initializers.VarianceScaling(initialiser, seed=place)
                if isinstance(initialiser, float)
                else initialiser
            )
            made.append(keras.layers.Dense(units, activation, kernel_initializer=scaled, name=f"hidden_{place + 1}"))
        return made

    return layers


def said_of(keras: Any, hidden: Any, optimizer: Any, epochs: int = 8, **settings: Any) -> str:
    probe = READ.validate_python({"name": "diagnostics", **settings}).build(surroundings(Path()))
    fit(model(keras, hidden, optimizer), [probe], epochs)
    (said,) = probe.notes
    assert len(said) < 500  # the longest tag
    return str(said)


VERDICTS: dict[str, tuple[int, str, Any, Any, str]] = {
    "deep_sigmoid": (
        8,
        "sigmoid",
        "glorot_uniform",
        ("SGD", 0.02),
        (
            r"Vanishing: the gradient of hidden_1 is \S+e-0\d of that of out over .*: the first layers hardly learn "
            r"\(its weights moved by \S+ % in them\)\. Try relu with he_normal, batch_norm or fewer layers\."
        ),
    ),
    "deep_relu": (
        6,
        "relu",
        "he_normal",
        ("SGD", 0.02),
        r"No layer is starved, saturated or dead over the last 5 measured epochs.*",
    ),
    "dying_relu": (
        3,
        "relu",
        "he_normal",
        ("Adam", 1.0),
        r"Dead: \d+% of the units of hidden_\d are dead .*Try a lower learning rate, leaky_relu or he_normal\.",
    ),
    "saturated_tanh": (
        3,
        "tanh",
        100.0,
        ("SGD", 0.01),
        r"Saturated: \d\d% of the activations of hidden_\d are near an end of their range .*Try a smaller init.*",
    ),
    "weights_too_large": (
        8,
        "relu",
        40.0,
        ("SGD", 1e-6),
        r"Exploding: the gradient of \w+ is \d+ times as large as its weights .*Try a lower learning rate, clipnorm.*",
    ),
    "overflow": (
        8,
        "elu",
        1000.0,
        ("SGD", 10.0),
        r"Exploding: the gradient of \w+ was no finite number in epoch 0\..*",
    ),
    "shallow": (1, "tanh", "glorot_uniform", ("Adam", 0.01), r"No layer is starved, saturated or dead.*"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_tells_what_keeps_a_network_from_learning(keras: Any, case: str) -> None:
    depth, activation, initialiser, (optimizer, rate), expected = VERDICTS[case]
    with np.errstate(all="ignore"):
        said = said_of(keras, stack(keras, depth, activation, initialiser), getattr(keras.optimizers, optimizer)(rate))
    assert re.fullmatch(expected, said), said


def test_few_measurements_and_none_are_called_so(keras: Any) -> None:
    assert "in the one measured epoch" in said_of(keras, (), "adam", epochs=1)
    assert "over the last 2 measured epochs" in said_of(keras, (), "adam", epochs=4, every=2)
    made = keras.Sequential([keras.Input((COLUMNS,)), keras.layers.LayerNormalization(), keras.layers.Softmax()])
    made.compile("adam", "sparse_categorical_crossentropy")
    probe = READ.validate_python({"name": "diagnostics"}).build(surroundings(Path()))
    fit(made, [probe], 1)
    assert probe.notes == ["Nothing was measured: the model has no dense or convolutional layer."]


def states(**layers: dict[str, float]) -> tuple[LayerState, ...]:
    return tuple(LayerState(name, **measures) for name, measures in layers.items())


def judged(*layers: tuple[LayerState, ...], weights: float = 1.0, moved: float = 0.0) -> str:
    names = [state.name for state in layers[0]]
    measured = [Measurement(epoch, one, dict.fromkeys(names, weights)) for epoch, one in enumerate(layers)]
    return verdict(measured, dict.fromkeys(names, moved))


@pytest.mark.parametrize(
    ("layers", "begin"),
    [
        ({"a": {"gradient": 0.029}, "b": {"gradient": 1.0}}, "Vanishing: the gradient of a is 0.029 of that of b"),
        ({"a": {"gradient": 0.031}, "b": {"gradient": 1.0}}, "No layer"),
        ({"a": {"gradient": 1.0}, "b": {"gradient": 0.001}}, "Exploding: the gradient of a is 1000 times that of b"),
        ({"a": {"gradient": 1.0}, "b": {"gradient": 0.02}}, "No layer"),
        (
            {"a": {"gradient": 11.0}, "b": {"gradient": 9.0}},
            "Exploding: the gradient of a is 11 times as large as its w",
        ),
        ({"a": {"gradient": 9.0}, "b": {"gradient": 9.0}}, "No layer"),
        ({"a": {"gradient": 1.0, "dead": 0.34}, "b": {"gradient": 1.0}}, "Dead: 34% of the units of a are dead"),
        ({"a": {"gradient": 1.0, "dead": 1 / 3}, "b": {"gradient": 1.0}}, "Dead: 33%"),
        ({"a": {"gradient": 1.0, "dead": 0.32}, "b": {"gradient": 1.0}}, "No layer"),
        ({"a": {"gradient": 1.0}, "b": {"gradient": 1.0, "dead": 1.0}}, "Dead: 100% of the units of b"),
        ({"a": {"gradient": 1.0, "saturated": 0.61}, "b": {"gradient": 1.0}}, "Saturated: 61% of the activations of a"),
        ({"a": {"gradient": 1.0, "saturated": 0.59}, "b": {"gradient": 1.0}}, "No layer"),
        ({"a": {"gradient": 1.0}, "b": {"gradient": 1.0, "saturated": 1.0}}, "No layer"),  # it may be sure of itself
        ({"a": {"mean": 1.0}, "b": {"gradient": 1.0}}, "No layer"),  # one that is not trained
    ],
)
def test_a_verdict_turns_at_its_threshold(layers: dict[str, dict[str, float]], begin: str) -> None:
    said = judged(states(**layers))
    assert said.startswith(begin), said
    red = {what for _, what in concerns(states(**layers))}
    kind = begin.split(":")[0]
    assert red == {"Dead": {"dead"}, "Saturated": {"saturated"}, "Vanishing": {"gradient"}}.get(kind, set())


def test_the_verdict_goes_by_the_median_of_the_last_five_measurements() -> None:
    good = states(a={"gradient": 1.0}, b={"gradient": 1.0})
    bad = states(a={"gradient": 0.0001}, b={"gradient": 1.0})
    assert judged(*[bad] * 9, *[good] * 3).startswith("No layer")
    assert judged(*[good] * 9, *[bad] * 3).startswith("Vanishing")
    assert judged(*[good] * 9, *[bad] * 2).startswith("No layer")


def test_a_starved_layer_whose_optimizer_moves_it_all_the_same_is_not_said_to_stand_still() -> None:
    bad = states(a={"gradient": 0.0001}, b={"gradient": 1.0})
    still, moving = judged(bad, bad), judged(bad, bad, moved=0.4)
    assert "the first layers hardly learn (its weights moved by 0 % in them)" in still
    assert "yet its weights moved by 40 % in them" in moving
    assert "hardly learn" not in moving


def test_two_faults_are_told_causes_first_with_the_way_out_of_the_first() -> None:
    both = states(a={"gradient": 0.001, "saturated": 0.9}, b={"gradient": 1.0, "dead": 0.5}, c={"gradient": 1.0})
    said = judged(both, both)
    assert said.index("Dead: 50%") < said.index("Saturated: 90%") < said.index("Try a lower learning rate, leaky_relu")
    assert "Vanishing" not in said
    assert said.count("Try") == 1


def test_a_second_training_has_its_own_verdict_and_axes(keras: Any) -> None:
    probe = READ.validate_python({"name": "diagnostics"}).build(surroundings(Path()))
    fit(model(keras, stack(keras, 8, "sigmoid"), "sgd"), [probe], 2)
    probe.notes.clear()  # as the witness does
    fit(model(keras), [probe], 1)
    (said,) = probe.notes
    assert said.startswith("No layer is starved, saturated or dead in the one measured epoch"), said


def test_measurements_are_taken_every_so_many_epochs_and_of_the_epoch_that_ends(keras: Any) -> None:
    each = measured(keras, model(keras), epochs=5)
    some = measured(keras, model(keras), epochs=5, every=2)
    assert {name: values[::2] for name, values in each.items()} == some
    assert len(set(each["hidden/gradient"])) == 5


def test_a_second_training_measures_its_own_model(keras: Any) -> None:
    probe = READ.validate_python({"name": "diagnostics"}).build(surroundings(Path()))
    fit(model(keras), [probe], 1)
    curves = fit(model(keras, [keras.layers.Dense(3, "relu", name="other")]), [probe], 1)
    assert "diagnostics/other/dead" in curves
    assert "diagnostics/hidden/mean" not in curves


@pytest.mark.parametrize("settings", [{"every": 0}, {"samples": 0}, {"margin": 0}, {"margin": 0.5}], ids=str)
def test_settings_out_of_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        READ.validate_python({"name": "diagnostics", **settings})


@pytest.mark.parametrize("broken", [(), (3,), (3, 4), (20,), (0, 21)], ids=str)
def test_the_measurements_that_are_kept_give_the_verdict_of_all_of_them(broken: tuple[int, ...]) -> None:
    every = [
        Measurement(
            epoch,
            states(one={"gradient": float("nan") if epoch in broken else 1.0 / (1 + epoch)}, two={"gradient": 1.0}),
            {"one": 1.0, "two": 1.0},
        )
        for epoch in range(22)
    ]
    kept: list[Measurement] = []
    for count, measurement in enumerate(every, start=1):
        kept = [*telling(kept), measurement]
        assert len(kept) <= WINDOW + 1
        moved = {"one": 0.5, "two": 0.5}
        assert verdict(kept, moved) == verdict(every[:count], moved)
