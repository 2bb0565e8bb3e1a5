"""The package that crosses to serving, made by the judge of a real small model. TensorFlow, once for the whole file."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.checkpoints import sha256_of
from pipelines.datasets.base import Samples
from pipelines.datasets.prepared import PreparedData
from pipelines.datasets.sealed import open_sealed
from pipelines.errors import DataError, PromotionRefused
from pipelines.judging import GOLDEN_SAMPLES, JudgeWorker, golden_samples, judge
from pipelines.models.function import FunctionModel
from pipelines.own.digest import own_code
from pipelines.packaging.forms import onnx_outputs
from pipelines.packaging.package import damage, read_contract
from pipelines.packaging.scoring import score
from pipelines.promotion.judge import Answers, Judged, JudgeRequest
from pipelines.promotion.twins import are_twins
from pipelines.recipe.config import SweepConfig
from pipelines.tasks import Task
from tests.pipelines.scripted import ScriptedDesk, recipe

OWN_PARTS = "tests.pipelines.training.lanes.own_parts"
SOURCE = {"study": "tiny", "trial": 7, "attempt": 1, "epoch": 2, "run_id": "abc", "checkpoint_sha256": "0" * 64}


def test_golden_samples_of_a_regression_go_from_the_smallest_to_the_largest_target() -> None:
    targets = np.linspace(100, 0, 101, dtype=np.float32)

    golden = golden_samples(Samples(np.arange(101), targets))

    assert len(golden) == GOLDEN_SAMPLES
    assert (golden.y[0], golden.y[-1]) == (0.0, 100.0)
    assert np.all(np.diff(golden.y) > 0)


def test_golden_samples_show_each_class_before_any_class_twice() -> None:
    labels = np.array([0] * 20 + [1] * 3 + [2] * 20)

    golden = golden_samples(Samples(np.arange(len(labels)), labels))

    assert len(golden) == GOLDEN_SAMPLES
    assert golden.y[:9].tolist() == [0, 1, 2] * 3
    assert golden.x[golden.y == 0].tolist() == [0, 3, 6, 10, 13, 16, 19]  # spread over the class


def test_fewer_samples_than_golden_ones_are_all_golden() -> None:
    assert len(golden_samples(Samples(np.arange(3), np.array([2, 2, 1])))) == 3


Request = Callable[..., JudgeRequest]


@pytest.fixture(scope="module")
def config() -> SweepConfig:
    return recipe(model={"name": "dense", "units": [8]})


@pytest.fixture(scope="module")
def data(digits: PreparedData) -> PreparedData:
    return digits


@pytest.fixture(scope="module")
def checkpoint(keras: Any, config: SweepConfig, data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipelines.training.fit import build_model

    model = build_model(config, data.facts, 18)
    train, _ = data.read()
    model.fit(np.asarray(train.x, np.float32), np.asarray(train.y), epochs=2, batch_size=64, verbose=0)
    path = tmp_path_factory.mktemp("checkpoint") / "best.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def ask(config: SweepConfig, data: PreparedData, checkpoint: Path) -> Request:
    def make(package: Path, **changes: Any) -> JudgeRequest:
        asked: dict[str, Any] = {
            "name": "tiny",
            "config": config.training(),
            "checkpoint": str(checkpoint),
            "data": str(data.folder),
            "user_folder": None,
            "champion": None,
            "source": SOURCE,
            "package": str(package),
        }
        return JudgeRequest(**{**asked, **changes})

    return make


@pytest.fixture(scope="module")
def judged(ask: Request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Judged]:
    """The package, and what the judge said."""
    package = tmp_path_factory.mktemp("judged") / "package"
    return package, judge(ask(package))


@pytest.fixture(scope="module")
def package(judged: tuple[Path, Judged]) -> Path:
    return judged[0]


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    """The package, to do harm to."""
    return Path(shutil.copytree(package, tmp_path / "package"))


def golden(package: Path) -> dict[str, np.ndarray]:
    with np.load(package / "golden.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def asked_of_own(
    ask: Request, config: SweepConfig, data: PreparedData, name: str, package: Path
) -> tuple[JudgeRequest, Callable[[Any], Any]]:
    """A request for a model with own layers, which nobody has trained, and what the model says of samples."""
    from pipelines.training.fit import build_model

    own = config.model_copy(update={"model": FunctionModel(function=f"{OWN_PARTS}:{name}")})
    model = build_model(own, data.facts, 18)
    model.optimizer.build(model.trainable_variables)
    model.save(package.with_name("own.keras"))
    asked = ask(package, config=own.training(), checkpoint=str(package.with_name("own.keras")))
    return asked, lambda x: np.asarray(model(x, training=False))


@pytest.mark.end_to_end
class TestPackage:
    """Of a model that was trained for two epochs on real digits."""

    def test_the_manifest_covers_every_file_but_itself(self, package: Path) -> None:
        manifest = json.loads((package / "manifest.json").read_text())
        found = {path.relative_to(package).as_posix(): path for path in package.rglob("*") if path.is_file()}
        del found["manifest.json"]

        assert manifest["format"] == 1
        assert manifest["files"] == {
            name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for name, path in found.items()
        }
        assert {"model.onnx", "contract.json", "golden.npz", "MLmodel", "data/model.keras"} <= set(found)
        assert damage(package) is None

    def test_the_contract_says_what_goes_in_and_what_comes_out(
        self, package: Path, data: PreparedData, judged: tuple[Path, Judged]
    ) -> None:
        measured = judged[1].measured
        assert measured is not None
        assert read_contract(package) == {
            "format": 1,
            "name": "tiny",
            "task": "multiclass",
            "input": {"name": "image", "dtype": "float32", "shape": [None, 8, 8], "range": [0.0, 16.0]},
            "output": {"name": "probabilities", "dtype": "float32", "shape": [None, 10]},
            "labels": [str(digit) for digit in range(10)],
            "target": "digit",
            "columns": [],
            "metrics": measured.scores.to_json(),
            "source": SOURCE,
            "dataset": {"name": "digits", "sha256": data.sha256, "split_sha256": data.split_sha256},
            "engine": "onnx",
        }

    def test_the_graph_has_the_names_of_the_contract_and_a_free_batch(self, package: Path, data: PreparedData) -> None:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(package / "model.onnx"), providers=["CPUExecutionProvider"])

        assert [node.name for node in session.get_inputs()] == ["image"]
        assert [node.name for node in session.get_outputs()] == ["probabilities"]
        for size in (1, 3, 1500):
            assert onnx_outputs(package / "model.onnx", np.zeros((size, 8, 8), np.uint8), data.facts).shape == (
                size,
                10,
            )

    def test_the_graph_gives_the_golden_outputs(self, package: Path, data: PreparedData) -> None:
        arrays = golden(package)

        assert {name: (array.dtype.str, array.shape) for name, array in arrays.items()} == {
            "inputs": ("<f4", (16, 8, 8)),
            "outputs": ("<f4", (16, 10)),
            "labels": ("<i8", (16,)),
        }
        assert sorted(arrays["labels"][:10]) == list(range(10))
        np.testing.assert_allclose(
            onnx_outputs(package / "model.onnx", arrays["inputs"], data.facts), arrays["outputs"], atol=1e-5
        )

    def test_plain_mlflow_loads_it_as_keras_and_as_a_function_and_all_agree(self, package: Path) -> None:
        import mlflow.keras
        import mlflow.pyfunc

        arrays = golden(package)

        keras_model = mlflow.keras.load_model(str(package))
        function = mlflow.pyfunc.load_model(str(package))

        np.testing.assert_allclose(np.asarray(keras_model(arrays["inputs"])), arrays["outputs"], atol=1e-5)
        np.testing.assert_allclose(function.predict(arrays["inputs"]), arrays["outputs"], atol=1e-5)
        assert function.metadata.signature.inputs.inputs[0].shape == (-1, 8, 8)

    def test_one_flipped_byte_is_damage(self, copied: Path) -> None:
        content = bytearray((copied / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (copied / "model.onnx").write_bytes(content)

        assert damage(copied) == "model.onnx is not the file that was registered (its digest differs)"

    def test_a_missing_file_is_damage(self, copied: Path) -> None:
        (copied / "data" / "model.keras").unlink()

        assert damage(copied) == "data/model.keras is missing"

    def test_a_file_that_mlflow_adds_at_the_download_is_none(self, copied: Path) -> None:
        (copied / "registered_model_meta").write_text("model_name: tiny\n")

        assert damage(copied) is None

    def test_the_judge_scores_on_the_sealed_samples_and_nothing_else(
        self, judged: tuple[Path, Judged], config: SweepConfig, data: PreparedData
    ) -> None:
        sealed = open_sealed(config.dataset, None, sha256=data.sha256, split_sha256=data.split_sha256)

        expected = score(Task.MULTICLASS, onnx_outputs(judged[0] / "model.onnx", sealed.x, data.facts), sealed.y)

        measured = judged[1].measured
        assert measured is not None
        assert len(sealed) == 360
        assert measured.scores.values == pytest.approx(expected.values, abs=1e-4)
        assert judged[1].champion_scores is None

    def test_what_was_measured_and_what_each_model_said_come_back(
        self, ask: Request, package: Path, tmp_path: Path
    ) -> None:
        outputs = tmp_path / "outputs.npz"

        judged = judge(ask(tmp_path / "package", champion=str(package), outputs=str(outputs)))

        answers = Answers.read(str(outputs))
        assert answers.theirs is not None
        assert answers.truth.shape == (360,)
        assert answers.mine.shape == answers.theirs.shape == (360, 10)
        measured = judged.measured
        assert measured is not None
        assert (answers.mine.argmax(axis=1) == answers.truth).mean() == measured.scores.values["test_accuracy"]
        assert answers.samples.shape == (len(answers.mistakes), 8, 8)
        assert np.all(answers.mine[answers.mistakes].argmax(axis=1) != answers.truth[answers.mistakes])
        assert measured.bytes == (tmp_path / "package" / "model.onnx").stat().st_size
        assert measured.latency_ms is not None
        assert 0 < measured.latency_ms < 50
        assert measured.parity is not None
        assert 0 <= measured.parity <= (measured.allowed or 0)

    def test_a_served_form_that_is_further_off_than_the_recipe_allows_is_a_refusal(
        self, ask: Request, tmp_path: Path
    ) -> None:
        desk = ScriptedDesk(ask(tmp_path / "package", parity=1e-12))

        JudgeWorker()(desk)

        (told,) = desk.said
        assert told.refused
        assert "promotion.parity" in (told.error or "")

    def test_a_champion_is_scored_on_the_same_samples(self, ask: Request, package: Path, tmp_path: Path) -> None:
        desk = ScriptedDesk(ask(tmp_path / "package", champion=str(package)))

        JudgeWorker()(desk)

        (answer,) = desk.said
        assert answer.error is None
        assert answer.measured is not None
        assert answer.champion_scores is not None
        assert answer.champion_scores.values["test_accuracy"] == answer.measured.scores.values["test_accuracy"]
        assert damage(tmp_path / "package") is None

    def test_a_model_of_the_users_own_code_is_judged_where_that_code_is_not_and_is_known_again(
        self, ask: Request, config: SweepConfig, package: Path, tmp_path: Path
    ) -> None:
        own = {"name": "function", "function": "not_here_at_all:make"}

        judged = judge(ask(tmp_path / "package", config={**config.training(), "model": own}))

        assert judged.measured is not None
        assert are_twins(tmp_path / "package", package)

    def test_the_code_of_the_users_own_layers_goes_along_and_mlflow_loads_it_all(
        self, keras: Any, ask: Request, config: SweepConfig, data: PreparedData, tmp_path: Path
    ) -> None:
        import mlflow.pyfunc

        package = tmp_path / "package"
        asked, expected = asked_of_own(ask, config, data, "gates", package)

        judge(asked)

        assert damage(package) is None
        assert json.loads((package / "code" / "own_parts.json").read_text()) == {
            "own_parts>Gate": f"{OWN_PARTS}:Gate",
            "own_parts>bent": f"{OWN_PARTS}:bent",
        }
        own = package / "code" / Path(*OWN_PARTS.split(".")).with_suffix(".py")
        assert sha256_of(own) == sha256_of(Path(*OWN_PARTS.split(".")).with_suffix(".py"))
        assert {"code/own_parts.json", own.relative_to(package).as_posix()} <= set(
            json.loads((package / "manifest.json").read_text())["files"]
        )
        arrays = golden(package)
        np.testing.assert_allclose(arrays["outputs"], expected(arrays["inputs"]), atol=1e-5)
        found = mlflow.pyfunc.load_model(str(package)).predict(arrays["inputs"])
        np.testing.assert_allclose(found, arrays["outputs"], atol=1e-5)
        np.testing.assert_allclose(
            onnx_outputs(package / "model.onnx", arrays["inputs"], data.facts), arrays["outputs"], atol=1e-5
        )

    def test_layers_whose_code_is_another_than_was_trained_are_refused_unless_somebody_forces_them(
        self, keras: Any, ask: Request, config: SweepConfig, data: PreparedData, tmp_path: Path
    ) -> None:
        asked, _ = asked_of_own(ask, config, data, "gates", tmp_path / "package")
        trained = own_code([f"{OWN_PARTS}:Gate"])[OWN_PARTS]
        other = replace(asked, code={OWN_PARTS: "0" * 12, "elsewhere": "1" * 12})

        with pytest.raises(PromotionRefused, match=f"code of trial 7's layers is another now \\({OWN_PARTS}\\), so"):
            judge(other)
        assert judge(replace(other, code={OWN_PARTS: trained[:12]})).measured is not None
        forced = judge(replace(other, any_code=True))
        assert (forced.measured is not None, forced.changed) == (True, (OWN_PARTS,))

    def test_what_a_layer_holds_beside_its_weights_is_in_the_graph(
        self, keras: Any, ask: Request, config: SweepConfig, data: PreparedData, tmp_path: Path
    ) -> None:
        import onnx

        asked, expected = asked_of_own(ask, config, data, "adapted", tmp_path / "package")

        assert judge(asked).measured is not None
        arrays = golden(tmp_path / "package")
        graph = tmp_path / "package" / "model.onnx"
        assert len(onnx.load(str(graph)).graph.input) == 1
        np.testing.assert_allclose(
            onnx_outputs(graph, arrays["inputs"], data.facts), expected(arrays["inputs"]), atol=1e-5
        )

    def test_a_model_of_own_layers_that_onnx_cannot_hold_could_be_served_by_nobody(
        self, keras: Any, ask: Request, config: SweepConfig, data: PreparedData, tmp_path: Path
    ) -> None:
        asked, _ = asked_of_own(ask, config, data, "waves", tmp_path / "package")
        desk = ScriptedDesk(asked)

        JudgeWorker()(desk)

        (told,) = desk.said
        assert told.refused
        assert "ONNX cannot hold the model: ONNX has nothing for" in told.error
        assert f"runs nobody's code, and the model has {OWN_PARTS}:Waves" in told.error

    def test_a_checkpoint_that_is_none_is_one_sentence_with_the_traceback_beside_it(
        self, ask: Request, tmp_path: Path
    ) -> None:
        (tmp_path / "torn.keras").write_bytes(b"PK\x03\x04 half a file")
        desk = ScriptedDesk(ask(tmp_path / "package", checkpoint=str(tmp_path / "torn.keras")))

        JudgeWorker()(desk)

        (told,) = desk.said
        assert told.measured is None
        assert "torn.keras could not be packaged" in (told.error or "")
        assert "Traceback" in (told.traceback or "")

    def test_a_full_disk_is_no_fault_of_the_checkpoint(
        self, ask: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def build(*_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        rooms = {tmp_path / "temporary": 1 << 30, tmp_path / "study": 0}
        monkeypatch.setattr("pipelines.judging.build_package", build)
        monkeypatch.setattr("pipelines.judging.shutil.disk_usage", lambda path: SimpleNamespace(free=rooms[path]))
        outputs = str(tmp_path / "study" / "outputs.npz")
        desk = ScriptedDesk(ask(tmp_path / "temporary" / "package", outputs=outputs))

        JudgeWorker()(desk)

        (told,) = desk.said
        assert told.full
        assert told.error == (
            f"No space left on the disk of {tmp_path / 'study'}, where the candidate is packaged. "
            "Nothing was promoted; make room and run the same command again."
        )

    def test_data_that_the_trials_did_not_see_is_not_judged_on(
        self, ask: Request, data: PreparedData, tmp_path: Path
    ) -> None:
        other = Path(shutil.copytree(data.folder, tmp_path / "data"))
        facts = json.loads((other / "facts.json").read_text())
        (other / "facts.json").write_text(json.dumps({**facts, "split_sha256": "0" * 64}))

        with pytest.raises(DataError, match="The split is not the one that the trials trained on"):
            judge(ask(tmp_path / "package", data=str(other)))

        assert not (tmp_path / "package").exists()
