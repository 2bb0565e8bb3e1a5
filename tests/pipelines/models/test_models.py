"""What every architecture promises, whatever its settings: one suite over all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.inputs import InputFacts
from pipelines.models import Model, ModelSpec
from pipelines.models.cnn import CnnModel
from pipelines.models.dense import DenseModel
from pipelines.models.function import FunctionModel
from pipelines.models.linear import LinearModel
from pipelines.spec import kinds_of
from pipelines.tasks import Head
from tests.pipelines.models.samples import (
    ALL_FEATURES,
    APIS,
    COLOUR,
    GREY,
    HEADS,
    KINDS,
    LOSSES,
    MULTICLASS,
    NUMBERS,
    POINTS,
    TABLE,
    build,
    outputs,
    raw,
    same_weights,
    targets,
)  # fmt: skip

EVERYTHING: dict[str, Any] = {
    "batch_norm": True, "dropout": 0.2, "l1": 1e-3, "l2": 1e-3, "max_norm": 2.0, "kernel_initializer": "he_normal",
    "bias_initializer": "random_normal",
}  # fmt: skip
MODELS: dict[str, tuple[type[ModelSpec], InputFacts, dict[str, Any]]] = {
    "dense of grey images": (DenseModel, GREY, {}),
    "dense of colour images": (DenseModel, COLOUR, {"scaling": "standard", "units": [5]}),
    "dense of a table": (DenseModel, TABLE, {"units": [6, 5], "activation": ["leaky_relu", "gelu"]}),
    "dense of points": (DenseModel, POINTS, {"features": ALL_FEATURES, "units": [6], "activation": "tanh"}),
    "dense with everything": (DenseModel, TABLE, {"units": [6, 5], **EVERYTHING}),
    "dense without hidden layers": (DenseModel, NUMBERS, {"units": [], "l2": 0.1}),
    "cnn of grey images": (CnnModel, GREY, {"filters": [3, 4]}),
    "cnn of colour images": (CnnModel, COLOUR, {"filters": [3], "scaling": "standard", "then": "global_average"}),
    "cnn with everything": (CnnModel, COLOUR, {
        "filters": [3, 4], "units": [5], "convs_per_block": 2, "pool": ["average", "max"], "then": "global_max",
        "activation": "leaky_relu", **EVERYTHING,
    }),
    "cnn with strides": (CnnModel, GREY, {"filters": [3], "strides": 2, "padding": "valid", "pool": "none"}),
    "linear of grey images": (LinearModel, GREY, {"l1": 1e-3}),
    "linear of a table": (LinearModel, TABLE, {}),
    "linear of points": (LinearModel, POINTS, {"scaling": "range", "features": ["x1_x2"]}),
}  # fmt: skip
every_model = pytest.mark.parametrize(("spec", "facts", "settings"), MODELS.values(), ids=MODELS)
every_api = pytest.mark.parametrize("api", APIS)


def test_all_architectures_are_listed() -> None:
    assert kinds_of(Model) == {"dense": DenseModel, "cnn": CnnModel, "linear": LinearModel, "function": FunctionModel}


def test_a_name_alone_stands_for_a_model_and_an_unknown_one_is_refused() -> None:
    read = TypeAdapter[Any](Model).validate_python
    assert read("linear") == LinearModel()
    assert read({"name": "cnn", "filters": [3]}) == CnnModel(filters=(3,))
    with pytest.raises(
        ValidationError, match=r"does not match any of the expected tags: 'dense', 'cnn', 'linear', 'function'"
    ):
        read("transformer")


def test_reading_a_recipe_needs_no_keras() -> None:
    code = "import sys, pipelines.models.words; print({'keras', 'tensorflow', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@every_model
def test_both_apis_give_the_same_weights_and_answers_for_a_seed(
    keras: Any, spec: type[ModelSpec], facts: InputFacts, settings: dict[str, Any]
) -> None:
    one, other = (build(keras, spec, facts, api=api, **settings) for api in APIS)
    assert (type(one).__name__, type(other).__name__) == ("Sequential", "Functional")
    assert same_weights(one, other)
    x = raw(facts)
    np.testing.assert_array_equal(outputs(keras, one, x), outputs(keras, other, x))
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers][1:]


@every_model
def test_the_seed_says_what_the_initial_weights_are(
    keras: Any, spec: type[ModelSpec], facts: InputFacts, settings: dict[str, Any]
) -> None:
    one, again, other = (build(keras, spec, facts, seed=seed, **settings) for seed in (1, 1, 2))
    assert same_weights(one, again)
    assert not same_weights(one, other)


@every_api
@every_model
def test_a_saved_model_loads_in_keras_alone_and_says_the_same(
    keras: Any, tmp_path: Path, api: str, spec: type[ModelSpec], facts: InputFacts, settings: dict[str, Any]
) -> None:
    model = build(keras, spec, facts, api=api, **settings)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = raw(facts)
    np.testing.assert_array_equal(outputs(keras, loaded, x), outputs(keras, model, x))
    assert (loaded.inputs[0].name, loaded.layers[-1].name) == (model.inputs[0].name, "probabilities")


def test_a_process_without_this_code_can_load_every_saved_model(keras: Any, tmp_path: Path) -> None:
    for place, (spec, facts, settings) in enumerate(MODELS.values()):
        model = build(keras, spec, facts, **settings)
        model.save(tmp_path / f"{place}.keras")
        np.savez(tmp_path / f"{place}.npz", x=raw(facts), y=outputs(keras, model, raw(facts)))
    code = (
        "import os, sys; os.environ.update(TF_CPP_MIN_LOG_LEVEL='3', CUDA_VISIBLE_DEVICES='-1')\n"
        "import keras, numpy as np\n"
        f"for place in range({len(MODELS)}):\n"
        "    data = np.load(f'{place}.npz')\n"
        "    model = keras.models.load_model(f'{place}.keras', safe_mode=True)\n"
        "    np.testing.assert_allclose(model(data['x']), data['y'], rtol=1e-5, atol=1e-6)\n"
        "assert 'pipelines' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "api"),
    [(name, "sequential") for name in MODELS]
    + [(name, "functional") for name in ("dense of a table", "dense of points", "cnn with everything")],
)
def test_the_onnx_form_says_the_same(keras: Any, export: Any, run_onnx: Any, name: str, api: str) -> None:
    spec, facts, settings = MODELS[name]
    model = build(keras, spec, facts, api=api, **settings)
    x = raw(facts, 9)
    graph = export(model)
    assert [given.name for given in graph.graph.input] == [model.inputs[0].name]
    np.testing.assert_allclose(run_onnx(graph, x), outputs(keras, model, x), atol=1e-5)


@every_model
def test_it_compiles_under_xla_and_trains_there(
    keras: Any, spec: type[ModelSpec], facts: InputFacts, settings: dict[str, Any]
) -> None:
    import tensorflow as tf

    model = build(keras, spec, facts, **settings)
    x = raw(facts)
    compiled = tf.function(lambda given: model(given, training=False), jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(x)), outputs(keras, model, x), rtol=1e-4, atol=1e-5)
    before = model.get_weights()
    model.compile(optimizer="sgd", loss=LOSSES[MULTICLASS.task], jit_compile=True)
    assert np.isfinite(model.train_on_batch(x, targets(MULTICLASS)))
    assert any(not np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


FITTING = (
    [(DenseModel, kind) for kind in KINDS]
    + [(LinearModel, kind) for kind in KINDS]
    + [(CnnModel, "grey"), (CnnModel, "colour")]
)


@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize(("spec", "kind"), FITTING, ids=lambda value: getattr(value, "__name__", value))
def test_every_kind_of_sample_learns_every_task_without_a_nan(
    keras: Any, spec: type[ModelSpec], kind: str, task: str
) -> None:
    facts, head = KINDS[kind], HEADS[task]
    model = build(keras, spec, facts, head)
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss=LOSSES[head.task])
    x, y = raw(facts), targets(head)
    losses = [float(model.train_on_batch(x, y)) for _ in range(12)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    found = outputs(keras, model, x)
    assert (found.shape, found.dtype) == ((len(x), head.units), np.float32)
    assert model.layers[-1].name == head.name
    if head.activation != "linear":
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("head", [Head(MULTICLASS.task, 3, "linear"), Head(HEADS["regression"].task, 1, "softplus")])
def test_the_output_activation_is_the_head_s(keras: Any, head: Head) -> None:
    assert build(keras, DenseModel, GREY, head).layers[-1].activation.__name__ == head.activation


@pytest.mark.parametrize("features", [["x1", "x1"], [], ["x3"]], ids=str)
def test_features_of_points_are_known_ones_each_once(features: list[str]) -> None:
    with pytest.raises(ValidationError, match=r"more than once|at least 1 item|Input should be 'x1'"):
        DenseModel.model_validate({"features": features})
