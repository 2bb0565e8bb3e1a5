"""Models that ONNX cannot hold: which, why, and what is packed instead. TensorFlow, once for the whole file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.datasets.base import Samples
from pipelines.datasets.prepared import PreparedData
from pipelines.errors import PromotionRefused
from pipelines.inputs import Column, InputFacts
from pipelines.packaging.building import build_package, outputs_of
from pipelines.packaging.forms import (
    IN_ONNX,
    Form,
    NotInOnnxError,
    caller,
    export_onnx,
    hold_to,
    keras_outputs,
    onnx_gap,
    onnx_outputs,
    raw_rows,
    served_outputs,
)
from pipelines.packaging.package import damage, form_of, read_contract
from pipelines.packaging.scoring import Scores
from pipelines.tasks import Head, Task
from tests.pipelines import hard_models

pytestmark = pytest.mark.end_to_end

TABLE = InputFacts(
    (3,), None, None, ("no", "yes"), "table", (Column("age"), Column("city/town", ("Oslo", "Rome")), Column("income"))
)
ROWS = np.array([[39, 1, 1200.5], [61, 2, np.nan], [20, 0, 0], [np.nan, 1, 7]], np.float32)


def made(keras: Any, function: Callable[..., Any], facts: InputFacts) -> Any:
    keras.utils.set_random_seed(7)
    units = 1 if len(facts.labels) == 2 else len(facts.labels)
    task = Task.BINARY if units == 1 else Task.MULTICLASS
    return function(facts, Head(task, units, "sigmoid" if units == 1 else "softmax"))


def packed(model: Any, facts: InputFacts, golden: Samples, folder: Path, **more: Any) -> Path:
    return build_package(
        model,
        folder / "package",
        name="hard",
        task=Task.BINARY if len(facts.labels) == 2 else Task.MULTICLASS,
        facts=facts,
        golden=golden,
        scores=Scores({"test_accuracy": 0.5}),
        source={"trial": 3},
        dataset={"name": "made-up"},
        **more,
    )


@pytest.fixture(scope="module")
def golden(digits: PreparedData) -> Samples:
    return digits.read()[1].take(np.arange(12))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (hard_models.spectrum, "ONNX has nothing for Imag, RFFT, Real"),
        (hard_models.turned, "ONNX has nothing for ImageProjectiveTransformV3, StatelessRandomUniformV2"),
        (hard_models.shrunk, "its export to ONNX gives other answers, by "),
    ],
)
def test_a_model_that_onnx_cannot_hold_is_packed_as_its_keras_file_and_says_why(
    keras: Any, digits: PreparedData, golden: Samples, tmp_path: Path, function: Any, reason: str
) -> None:
    model = made(keras, function, digits.facts)

    package = packed(model, digits.facts, golden, tmp_path)

    form = form_of(package)
    assert form.engine == "keras"
    assert form.reason.startswith(reason)
    assert form.sentence() == f"served by the Keras engine, as {form.reason}"
    named = json.loads((package / "manifest.json").read_text())["files"]
    assert "model.onnx" not in named
    assert {"data/model.keras", "contract.json", "golden.npz", "MLmodel"} <= named.keys()
    assert not list(tmp_path.rglob("*.onnx"))
    assert damage(package) is None
    np.testing.assert_allclose(
        served_outputs(package, golden.x, digits.facts), outputs_of(model, golden.x), rtol=0, atol=1e-6
    )


def test_a_model_that_onnx_holds_is_packed_as_onnx(
    keras: Any, digits: PreparedData, golden: Samples, tmp_path: Path
) -> None:
    model = keras.Sequential(
        [keras.Input((8, 8), name="image"), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    )

    package = packed(model, digits.facts, golden, tmp_path)

    assert form_of(package) == Form("onnx")
    assert form_of(package).sentence() == "served by ONNX Runtime"
    assert "engine_reason" not in read_contract(package)
    np.testing.assert_array_equal(
        served_outputs(package, golden.x, digits.facts), onnx_outputs(package / "model.onnx", golden.x, digits.facts)
    )


def test_words_stand_in_front_of_a_keras_file_as_they_do_of_a_graph(keras: Any, tmp_path: Path) -> None:
    model = made(keras, hard_models.logarithms, TABLE)

    package = packed(model, TABLE, Samples(ROWS, np.array([0, 1, 0, 1])), tmp_path)

    assert form_of(package).reason == "ONNX has nothing for Log1p"
    assert read_contract(package)["input"]["dtype"] == "string"
    with np.load(package / "golden.npz", allow_pickle=False) as arrays:
        assert arrays["inputs"].tolist() == raw_rows(ROWS, TABLE).tolist()
        assert arrays["inputs"][1].tolist() == ["61.0", "Rome", "nan"]
    np.testing.assert_allclose(
        keras_outputs(package / "data" / "model.keras", ROWS, TABLE), outputs_of(model, ROWS), rtol=0, atol=1e-6
    )


def test_a_lost_keras_file_is_damage_of_a_package_without_a_graph(
    keras: Any, digits: PreparedData, golden: Samples, tmp_path: Path
) -> None:
    package = packed(made(keras, hard_models.spectrum, digits.facts), digits.facts, golden, tmp_path)
    manifest = json.loads((package / "manifest.json").read_text())
    del manifest["files"]["data/model.keras"]
    (package / "manifest.json").write_text(json.dumps(manifest))

    assert damage(package) == "its manifest names no data/model.keras"


def test_a_difference_that_the_recipe_forbids_and_rounding_explains_is_a_refusal(
    keras: Any, digits: PreparedData, golden: Samples, tmp_path: Path
) -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 8), name="image"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, "tanh"),
            keras.layers.Dense(10, "softmax"),
        ]
    )

    with pytest.raises(PromotionRefused, match=r"The ONNX form differs .* promotion.parity allows 1e-12"):
        packed(model, digits.facts, golden, tmp_path, parity=1e-12)


def test_a_model_that_answers_nothing_is_packed_in_no_form(
    keras: Any, digits: PreparedData, golden: Samples, tmp_path: Path
) -> None:
    model = made(keras, hard_models.spectrum, digits.facts)
    model.layers[-1].bias.assign(np.full(10, np.nan, np.float32))

    with pytest.raises(PromotionRefused, match="The saved form differs from its Keras model by nan"):
        packed(model, digits.facts, golden, tmp_path)


def test_a_full_disk_says_nothing_of_the_model(
    keras: Any, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(keras, hard_models.spectrum, digits.facts)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "export", full)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(model, tmp_path / "model.onnx", "probabilities", digits.facts)


def test_an_export_that_fails_is_a_reason(
    keras: Any, digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(keras, hard_models.spectrum, digits.facts)

    def fails(*_: Any, **__: Any) -> None:
        raise KeyError("no such tensor\nand a second line")

    monkeypatch.setattr(model, "export", fails)
    with pytest.raises(NotInOnnxError, match=r"its export to ONNX fails \(KeyError: .*no such tensor"):
        export_onnx(model, tmp_path / "model.onnx", "probabilities", digits.facts)


def test_a_graph_that_onnx_runtime_cannot_run_is_a_reason(digits: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")

    with pytest.raises(NotInOnnxError, match="ONNX Runtime cannot run its export"):
        onnx_gap(tmp_path / "model.onnx", np.zeros((1, 8, 8), np.uint8), digits.facts, np.zeros((1, 10), np.float32))


def test_differences_are_measured_by_the_size_of_what_is_predicted() -> None:
    hold_to("ONNX form", 0.05, 1e-4, np.array([[1000.0]]))
    with pytest.raises(PromotionRefused, match=r"by 0\.2 on the golden samples; promotion.parity allows 0\.1"):
        hold_to("ONNX form", 0.2, 1e-4, np.array([[1000.0]]))


def test_the_form_is_told_in_tags() -> None:
    assert IN_ONNX.tags() == {"regatta.engine": "onnx"}
    assert Form("keras", "ONNX has nothing for RFFT").tags() == {
        "regatta.engine": "keras",
        "regatta.engine_reason": "ONNX has nothing for RFFT",
    }


def test_an_answer_of_either_form_can_be_timed(
    keras: Any, digits: PreparedData, golden: Samples, tmp_path: Path
) -> None:
    hard = packed(made(keras, hard_models.spectrum, digits.facts), digits.facts, golden, tmp_path / "hard")
    words = packed(
        made(keras, hard_models.logarithms, TABLE), TABLE, Samples(ROWS, np.array([0, 1, 0, 1])), tmp_path / "words"
    )
    easy = keras.Sequential([keras.Input((8, 8), name="image"), keras.layers.Flatten(), keras.layers.Dense(10)])
    simple = packed(easy, digits.facts, golden, tmp_path / "simple")

    for package, rows, facts in (
        (hard, golden.x, digits.facts),
        (words, ROWS, TABLE),
        (simple, golden.x, digits.facts),
    ):
        found: Any = caller(package, rows[:1], facts)()
        np.testing.assert_allclose(
            np.asarray(found).reshape(1, -1), served_outputs(package, rows[:1], facts), atol=1e-6
        )
