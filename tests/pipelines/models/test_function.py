from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.models.function import FunctionModel, config_of
from pipelines.own.code import OwnCodeError
from tests.pipelines.models.samples import GREY, HEADS, MULTICLASS, TABLE, build, outputs, raw, same_weights

GOOD = """
import keras

def make(inputs, head, width=4, activation="relu"):
    return keras.Sequential([
        keras.Input(inputs.shape, name="image"),
        keras.layers.Rescaling(1 / inputs.high),
        keras.layers.Flatten(),
        keras.layers.Dense(width, activation=activation),
        keras.layers.Dense(head.units, activation=head.activation, name=head.name),
    ])
"""
ANY = GOOD.replace('activation="relu"', "**more").replace("activation=activation", "**more")
HEAD = "import keras\nL = keras.layers\ndef make(inputs, head):\n    "
END = "L.Dense(head.units)"
_numbers = count()

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of the user's into the current folder; returns the reference to a name in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def writes(text: str, name: str = "make") -> str:
        module = f"own_model_{next(_numbers)}"
        (tmp_path / f"{module}.py").write_text(text)
        return f"{module}:{name}"

    return writes


def test_the_function_s_model_is_the_model(keras: Any, write: Write) -> None:
    model = build(keras, FunctionModel, function=write(GOOD), arguments={"width": 7, "activation": "tanh"})
    hidden = model.layers[2]
    assert (hidden.units, hidden.activation.__name__) == (7, "tanh")
    assert model.output_shape == (None, 3)


def test_an_argument_that_yaml_reads_as_text_is_the_number_it_is(write: Write) -> None:
    model = FunctionModel.model_validate({"function": write(ANY), "arguments": {"l2": "1e-3", "names": ["1e5", "e"]}})
    assert model.arguments == {"l2": 0.001, "names": [100000.0, "e"]}


def test_the_seed_of_the_training_is_the_seed_of_its_weights(keras: Any, write: Write) -> None:
    reference = write(GOOD)
    one, again, other = (build(keras, FunctionModel, function=reference, seed=seed) for seed in (1, 1, 2))
    assert same_weights(one, again)
    assert not same_weights(one, other)


def test_it_is_saved_and_exported_like_any_other(
    keras: Any, export: Any, run_onnx: Any, write: Write, tmp_path: Path
) -> None:
    model = build(keras, FunctionModel, function=write(GOOD), arguments={"activation": "gelu"})
    model.save(tmp_path / "model.keras")
    x = raw(GREY)
    wanted = outputs(keras, model, x)
    np.testing.assert_array_equal(outputs(keras, keras.models.load_model(tmp_path / "model.keras"), x), wanted)
    np.testing.assert_allclose(run_onnx(export(model), x), wanted, atol=1e-5)


def test_it_may_use_everything_of_keras(keras: Any, write: Write) -> None:
    text = HEAD + (
        "x = keras.Input(inputs.shape)\n"
        "    y = keras.ops.expand_dims(x / 16, -1)\n"
        "    y = L.Conv2D(4, 3, activation=keras.activations.silu, kernel_regularizer=keras.regularizers.L2(0.1),\n"
        "                 kernel_constraint=keras.constraints.MaxNorm(2),\n"
        "                 kernel_initializer=keras.initializers.HeNormal())(y)\n"
        "    y = L.BatchNormalization()(y)\n"
        "    y = L.Add()([y, L.Conv2D(4, 3, padding='same', activation=L.LeakyReLU(0.1))(y)])\n"
        "    y = keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(4)])(y)\n"
        "    y = keras.ops.concatenate([y, keras.ops.sin(y[:, 1:3])], axis=1)\n"
        "    return keras.Model(x, L.Dense(head.units, activation=head.activation, dtype='float32')(y))\n"
    )
    assert build(keras, FunctionModel, function=write(text)).output_shape == (None, 3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("L.Dense(3)", r"returned must be a keras.Model, got nothing \(does it return the model\?\)"),
        ("return L.Dense(3)", "must be a keras.Model, got one of Dense"),
        (f"return keras.Sequential([L.Flatten(), {END}])", r"has no input yet: begin with keras.Input\(\(8, 8\)\)"),
        ("return Body(3)", r"has no input yet: take x = keras.Input\(\(8, 8\)\), and return keras.Model\(x, Body\("),
        (f"x = keras.Input((64,)); return keras.Model(x, {END}(x))",
         r"takes \(n, 64\), and a batch of raw samples is \(n, 8, 8\): begin with keras.Input\(\(8, 8\)\)"),
        (f"x = keras.Input((8, 8), batch_size=32); return keras.Model(x, {END}(L.Flatten()(x)))",
         r"takes \(32, 8, 8\)"),
        (f"x = keras.Input((8, 8), dtype='int32'); return keras.Model(x, {END}(L.Flatten()(x)))",
         "takes int32, and raw samples are float32"),
        ("x = keras.Input((8, 8)); return keras.Model(x, L.Dense(10)(L.Flatten()(x)))",
         r"gives \(n, 10\), and this task needs \(n, 3\): end with keras.layers.Dense\(head.units\)"),
        (f"x = keras.Input((8, 8)); return keras.Model(x, {END}(x))",
         r"gives \(n, 8, 3\), and this task needs \(n, 3\)"),
        (f"x = keras.Input((8, 8)); y = {END}(L.Flatten()(x)); return keras.Model(x, [y, y])",
         "must have one input and one output, got 1 and 2"),
        (f"x = [keras.Input((8, 8)), keras.Input((8, 8))]; return keras.Model(x, {END}(L.Flatten()(x[0] + x[1])))",
         "must have one input and one output, got 2 and 1"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Lambda(lambda x: x * 2), {END}])",
         "has a lambda: its file could be loaded by nobody, .* Give a lambda a name"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), hidden()(), {END}])",
         "has the class Hidden, which stands at the top level of no module of yours"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Dense(3, activation=inner()), {END}])",
         "has the function innermost, which stands at the top level of no module of yours"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), Stubborn(object()), {END}])",
         r"cannot be saved: Stubborn needs a get_config\(\) that returns all that its constructor takes, as in"),
        (f"x = keras.Input((8, 8)); return keras.Model(x, {END}(Body(3)(L.Flatten()(x))))",
         r"cannot be saved: Body needs a get_config\(\) .* only for layers, not for a keras.Model"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Dense(3, activation=partly), {END}])",
         r"cannot be saved, as it holds functools.partial\(.*\), one of partial: .* an activation a function at"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Dense(3, activation=lambda x: x), {END}])",
         "has a lambda: its file could be loaded by nobody"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Dense(3, activation=graph), {END}])",
         r"has a tf.function \(without @tf.function it is a plain one"),
        (f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Dense(3, activation=gelu), {END}])",
         "has an activation of your own that is named like Keras's gelu, and says something else: .* another name"),
    ],
    ids=lambda value: value[:60],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused_with_what_would(
    keras: Any, write: Write, body: str, message: str
) -> None:
    own = (
        "\ndef inner():\n    def innermost(x):\n        return x * 2\n    return innermost\n"
        "def hidden():\n    class Hidden(L.Layer):\n        def call(self, x):\n            return x * 2\n"
        "    return Hidden\n"
        "class Stubborn(L.Layer):\n    def __init__(self, by):\n        super().__init__()\n        self.by = by\n"
        "    def call(self, x):\n        return x\n"
        "class Body(keras.Model):\n    def __init__(self, units):\n        super().__init__()\n"
        "        self.layer = L.Dense(units)\n    def call(self, x):\n        return self.layer(x)\n"
        "import functools\npartly = functools.partial(keras.activations.elu, alpha=0.5)\n"
        "import tensorflow as tf\n@tf.function\ndef graph(x):\n    return x * 2\n"
        "def gelu(x):\n    return x * keras.ops.sigmoid(1.702 * x)\n"
    )
    with pytest.raises(OwnCodeError, match=message) as caught:
        build(keras, FunctionModel, function=write(HEAD + body + own))
    assert "own_model_" in str(caught.value)


def test_it_may_have_layers_and_functions_of_ones_own(keras: Any, write: Write) -> None:
    text = HEAD + (
        f"return keras.Sequential([keras.Input((8, 8)), L.Flatten(), Listed(), Twice(), "
        f"L.Dense(3, activation=twice, kernel_regularizer=Pull()), {END}])\n"
        "def twice(x):\n    return x * 2\n"
        "class Twice(L.Layer):\n    def call(self, x):\n        return x * 2\n"
        "@keras.saving.register_keras_serializable('own')\nclass Listed(Twice):\n    pass\n"
        "class Pull(keras.regularizers.Regularizer):\n    def __call__(self, x):\n        return x[0, 0] ** 2\n"
        "    def get_config(self):\n        return {}\n"
    )
    reference = write(text)
    module = reference.partition(":")[0]

    model = build(keras, FunctionModel, function=reference)

    assert FunctionModel(function=reference).own_parts(config_of(model)) == {
        "own>Listed": f"{module}:Listed",
        "Twice": f"{module}:Twice",
        "twice": f"{module}:twice",
        "Pull": f"{module}:Pull",
    }


def test_a_function_that_is_named_like_keras_s_and_says_the_same_is_taken(keras: Any, write: Write) -> None:
    text = HEAD + (
        "import tensorflow as tf\n    return keras.Sequential([keras.Input((8, 8)), L.Flatten(), "
        f"L.Dense(3, activation=silu), L.Dense(3, activation=tf.nn.relu), {END}])\n"
        "def silu(x):\n    return x * keras.ops.sigmoid(x)\n"
    )
    reference = write(text)

    model = build(keras, FunctionModel, function=reference)

    assert FunctionModel(function=reference).own_parts(config_of(model)) == {}


def test_a_compiled_model_is_refused_as_it_would_be_trained_with_something_else(keras: Any, write: Write) -> None:
    text = GOOD.replace("return keras", "model = keras") + "    model.compile(loss=own)\n    return model\n"
    text += "def own(truth, found):\n    return found\n"
    with pytest.raises(OwnCodeError, match="is compiled, and the recipe says what it is trained with"):
        build(keras, FunctionModel, function=write(text))


def test_how_a_model_within_it_was_compiled_does_not_matter(keras: Any, write: Write) -> None:
    text = HEAD + (
        "base = keras.Sequential([keras.Input((8, 8)), L.Flatten(), L.Dense(4)])\n"
        "    base.compile(loss=own)\n"
        "    x = keras.Input((8, 8))\n"
        f"    return keras.Model(x, {END}(base(x)))\n"
        "def own(truth, found):\n    return found\n"
    )
    assert build(keras, FunctionModel, function=write(text)).output_shape == (None, 3)


@pytest.mark.parametrize("takes", ["", "inputs", "*, inputs"])
def test_a_function_that_takes_no_head_is_refused_when_the_recipe_is_read(write: Write, takes: str) -> None:
    reference = write(f"def make({takes}):\n    raise RuntimeError('nobody runs this')")
    with pytest.raises(ValidationError, match=r"is called with \(inputs, head\), and .*:make takes \("):
        FunctionModel(function=reference)


def test_a_model_of_classes_has_one_output_for_a_number_of_a_regression(keras: Any, write: Write) -> None:
    reference = write(GOOD.replace("head.units", "3"))
    with pytest.raises(OwnCodeError, match=r"gives \(n, 3\), and this task needs \(n, 1\)"):
        build(keras, FunctionModel, GREY, HEADS["regression"], function=reference)


@pytest.mark.parametrize("name", ["widht", "head"])
def test_arguments_that_the_function_does_not_take_are_refused_when_the_recipe_is_read(write: Write, name: str) -> None:
    with pytest.raises(ValidationError, match=f"arguments\n.*'{name}' is no argument of .*; it takes width"):
        FunctionModel.model_validate({"function": write(GOOD), "arguments": {name: 3}})


def test_arguments_that_only_the_imported_function_shows_are_refused_when_it_is_called(
    keras: Any, write: Write
) -> None:
    reference = write("def plain(function):\n    return function\n" + GOOD.replace("def make", "@plain\ndef make"))
    with pytest.raises(OwnCodeError, match=r"cannot be called with \(inputs, head, depth=3\): got an unexpected"):
        build(keras, FunctionModel, function=reference, arguments={"depth": 3})


def test_what_is_no_function_is_refused(keras: Any, write: Write) -> None:
    with pytest.raises(OwnCodeError, match="must be a function, got one of int"):
        build(keras, FunctionModel, function=write("make = 3"))


def test_what_the_function_raises_is_not_hidden(keras: Any, write: Write) -> None:
    with pytest.raises(ZeroDivisionError):
        build(keras, FunctionModel, function=write("def make(inputs, head):\n    1 / 0"))


def test_a_recipe_that_names_no_function_is_refused(write: Write) -> None:
    with pytest.raises(ValidationError, match="no module 'nowhere'"):
        FunctionModel(function="nowhere:make")
    with pytest.raises(ValidationError, match="which has no 'mke'; did you mean 'make'"):
        FunctionModel(function=write(GOOD, "mke"))
    with pytest.raises(ValidationError, match="Field required"):
        FunctionModel.model_validate({})


@pytest.mark.parametrize("settings", [{"scaling": "range"}, {"features": ["x2"]}], ids=str)
def test_settings_that_would_do_nothing_are_refused(write: Write, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"{next(iter(settings))} would do nothing: the function prepares"):
        FunctionModel.model_validate({"function": write(GOOD), **settings})


def test_a_trial_s_config_reads_back_and_arguments_stay_what_they_were(write: Write) -> None:
    arguments = {"width": 3, "rate": 0.5, "on": True, "none": None, "sizes": [1, 2], "name": "x"}
    model = FunctionModel.model_validate({"function": write(ANY), "arguments": arguments})
    again = FunctionModel.model_validate(model.model_dump(mode="json"))
    assert again == model
    assert [(key, type(value)) for key, value in again.arguments.items()] == [
        (key, type(value)) for key, value in arguments.items()
    ]


def test_any_kind_of_sample_is_taken(keras: Any, write: Write) -> None:
    text = HEAD + "return keras.Sequential([keras.Input(inputs.shape), L.Dense(head.units, activation='softmax')])"
    assert build(keras, FunctionModel, TABLE, MULTICLASS, function=write(text)).input_shape == (None, 5)
