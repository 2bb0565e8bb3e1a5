"""Precision and XLA as switches of a recipe: what Keras makes of them, and what is served in the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.computing import LATER, compiling, remarks
from pipelines.datasets.prepared import PreparedData
from pipelines.recipe.config import TrainingConfig
from pipelines.recipe.reading import identity
from pipelines.records import CheckpointWritten, Ended, EpochEnded, TrialSpec
from pipelines.training.resuming import digest_of
from tests.pipelines.conftest import Train
from tests.pipelines.scripted import recipe

HALVES = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}


@pytest.mark.parametrize(
    ("given", "read"), [(True, "on"), (False, "off"), ("on", "on"), ("off", "off"), ("auto", "auto")]
)
def test_on_and_off_are_words_whatever_yaml_makes_of_them(given: Any, read: str) -> None:
    assert TrainingConfig(xla=given).xla == read


@pytest.mark.parametrize("wrong", [1, "yes", None])
def test_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="xla"):
        TrainingConfig.model_validate({"xla": wrong})


def test_what_keras_is_told_about_compiling() -> None:
    assert [compiling(xla) for xla in ("auto", "on", "off")] == [{}, {"jit_compile": True}, {"jit_compile": False}]


def test_studies_and_states_from_before_there_were_switches_go_on() -> None:
    config = recipe()
    assert set(LATER) <= set(config.training())
    assert identity(config) == identity(recipe(precision="float32", xla="auto"))
    assert identity(config) != identity(recipe(precision="mixed_float16"))
    assert identity(config) != identity(recipe(xla="off"))
    before = {name: value for name, value in config.training().items() if name not in LATER}
    specs = [TrialSpec(0, 1, raw, "data", "folder", "val_loss", "minimize") for raw in (before, config.training())]
    assert digest_of(specs[0]) == digest_of(specs[1])
    assert digest_of(TrialSpec(0, 1, {**before, "xla": "on"}, "data", "folder", "val_loss", "minimize")) != digest_of(
        specs[0]
    )


def test_half_precision_without_a_gpu_is_worth_a_word() -> None:
    assert remarks(["float32"], []) == []
    assert remarks(["mixed_float16"], []) == [
        "mixed_float16 is for GPUs: on a CPU it is slower than float32, and gains nothing."
    ]
    assert remarks(["mixed_float16", "mixed_bfloat16"], [(9, 0), None]) == []
    assert remarks(["mixed_float16", "mixed_bfloat16"], [(9, 0), (7, 5)]) == [
        (
            "mixed_bfloat16 needs a GPU of compute capability 8.0 to be fast, and there is one of 7.5: it "
            "saves memory there, and no time."
        )
    ]


@pytest.mark.parametrize("precision", HALVES)
def test_layers_compute_in_half_and_everything_around_them_in_full(
    keras: Any, digits: PreparedData, precision: str
) -> None:
    from pipelines.training.fit import build_model

    config = TrainingConfig.model_validate({"precision": precision, "xla": "off", "model": {"units": [8]}})
    model = build_model(config, digits.facts, 10)

    computing = {layer.name: layer.compute_dtype for layer in model.layers}
    assert computing["hidden_1"] == HALVES[precision]
    assert computing["scale"] == "float32", "raw values are scaled in full"
    assert model.outputs[0].dtype == "float32"
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16"), "bfloat16 has the range of float32"
    assert model.jit_compile is False
    assert keras.config.dtype_policy().name == "float32", "the next model is another trial's"


@pytest.mark.parametrize("precision", HALVES)
def test_a_training_in_half_is_judged_and_exported_in_full(
    train: Train, digits: PreparedData, tmp_path: Path, keras: Any, precision: str
) -> None:
    from pipelines.packaging.building import build_package, load_checkpoint, outputs_of
    from pipelines.packaging.forms import IN_ONNX, onnx_outputs
    from pipelines.packaging.scoring import Scores
    from pipelines.tasks import Task

    trained = train(precision=precision, epochs=2)
    (ended,) = trained.of(Ended)
    assert ended.error is None
    losses = [event.metrics["loss"] for event in trained.of(EpochEnded)]
    assert losses[1] < losses[0], "it learns"
    checkpoint = trained.of(CheckpointWritten)[-1].path
    half = keras.models.load_model(checkpoint)  # the optimizer's state, too: a warning would be an error here
    model = load_checkpoint(Path(checkpoint))

    assert half.get_layer("hidden_1").compute_dtype == HALVES[precision]
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert model.compiled
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    _, validation = digits.read()
    golden = validation.take(np.arange(16))
    outputs = outputs_of(model, golden.x)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, np.asarray(half(np.asarray(golden.x, np.float32)), np.float32), atol=0.02)
    package = build_package(
        model, tmp_path / "package", name="tiny", task=Task.MULTICLASS, facts=digits.facts, golden=golden,
        scores=Scores({"test_accuracy": 0.5, "test_loss": 1.0}), source={}, dataset={},
    )  # fmt: skip
    contract = json.loads((package / "contract.json").read_text())
    assert (contract["engine"], contract["output"]["dtype"]) == (IN_ONNX.engine, "float32")
    np.testing.assert_allclose(onnx_outputs(package / "model.onnx", golden.x, digits.facts), outputs, atol=1e-5)


def test_a_model_that_computes_in_full_is_left_as_it_is(keras: Any, tmp_path: Path) -> None:
    from pipelines.computing import in_full_precision

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert in_full_precision(model, tmp_path / "not-looked-at.keras") is model


def test_what_a_layer_was_adapted_to_is_in_the_model_that_computes_in_full(keras: Any, tmp_path: Path) -> None:
    from pipelines.packaging.building import load_checkpoint, outputs_of

    x = np.random.default_rng(0).normal(30.0, 5.0, (40, 3)).astype(np.float32)
    adapted = keras.layers.Normalization()
    adapted.adapt(x)
    last = keras.layers.Dense(2, dtype="float32")
    model = keras.Sequential([keras.Input((3,)), adapted, keras.layers.Activation("relu", dtype="mixed_float16"), last])
    model.save(tmp_path / "model.keras")

    loaded = load_checkpoint(tmp_path / "model.keras")

    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    np.testing.assert_allclose(outputs_of(loaded, x), outputs_of(model, x), atol=0.01)


def test_an_own_model_that_ends_in_half_is_told_the_way_out(keras: Any) -> None:
    from pipelines.inputs import InputFacts
    from pipelines.models.function import _wrong_with
    from pipelines.tasks import Head, Task

    facts = InputFacts((3,), None, None, ("no", "yes"), kind="table")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="mixed_float16")])
    head = Head(Task.MULTICLASS, 2, "softmax")
    assert _wrong_with(model, facts, head, "my_code:make") == (
        "gives float16, in which a loss loses too much: make the last layer with dtype='float32'"
    )
