"""Makes the package that crosses from training to serving, and judges models on samples. Imports TensorFlow.

A package is a valid MLflow model (Keras flavour) that also holds the graph as ONNX with its preprocessing inside, the
contract of its input and output, golden samples with the outputs they must give, and a digest of every file.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.checkpoints import sha256_of
from pipelines.errors import TrackingError

if TYPE_CHECKING:
    import keras

    from pipelines.datasets import Samples
    from pipelines.inputs import InputFacts

FORMAT = 1
PARITY = 1e-4
"""Largest difference of a probability between the Keras model and its ONNX form; rounding gives about 1e-6."""
MANIFEST, CONTRACT, GRAPH = "manifest.json", "contract.json", "model.onnx"


@dataclass(frozen=True)
class Scores:
    """How a model did on a set of samples: mean cross-entropy in nats, and the share of right answers."""

    test_loss: float
    test_accuracy: float

    def to_json(self) -> dict[str, float]:
        """Plain types."""
        return {"test_loss": self.test_loss, "test_accuracy": self.test_accuracy}


def score(probabilities: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores from probabilities float32 (n, classes) and labels int64 (n,). Keras clips at 1e-7 too."""
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), 1e-7, 1.0)
    right = probabilities.argmax(axis=1) == labels
    return Scores(float(-np.log(of_truth).mean()), float(right.mean()))


def load_checkpoint(path: Path) -> keras.Model:
    """A `.keras` file, in Keras's safe mode: a file that would run code is refused."""
    import keras  # heavy

    return keras.models.load_model(path, safe_mode=True)


def probabilities_of(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """What the Keras model says: float32 (n, classes)."""
    pieces = [np.asarray(model(x[start : start + 1024].astype(np.float32), training=False)) for start in _starts(x)]
    return np.concatenate(pieces)


def onnx_probabilities(path: Path, x: np.ndarray) -> np.ndarray:
    """What an ONNX file says: float32 (n, classes)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    pieces = [session.run(None, {name: x[start : start + 1024].astype(np.float32)})[0] for start in _starts(x)]
    return np.concatenate(pieces)


def build_package(
    model: keras.Model,
    folder: Path,
    *,
    name: str,
    facts: InputFacts,
    golden: Samples,
    scores: Scores,
    source: Mapping[str, Any],
    dataset: Mapping[str, str],
) -> Path:
    """Writes the package into `folder`, which must not exist yet, and proves that its two forms agree.

    Args:
        model: The champion to be, compiled.
        folder: Where the package goes.
        name: The registered model's name.
        facts: The form of a sample and the labels.
        golden: Real samples, kept with the outputs that they must give.
        scores: On the sealed test part.
        source: Study, trial, attempt, epoch, run and digest of the checkpoint.
        dataset: Name and digests of the data.

    Raises:
        TrackingError: The ONNX form gives other answers than the Keras model.
    """
    model_input, model_output = model.inputs[0].name, "probabilities"
    _save_as_mlflow_model(model, folder, facts)
    outputs = probabilities_of(model, golden.x)
    _export_onnx(model, folder / GRAPH, model_output)
    gap = float(np.abs(onnx_probabilities(folder / GRAPH, golden.x) - outputs).max())
    if not gap <= PARITY:
        raise TrackingError(
            f"The ONNX form of trial {source.get('trial')} differs from its Keras model by {gap:.2g} on the golden "
            f"samples; {PARITY:g} is allowed. The model is not registered."
        )
    np.savez(
        folder / "golden.npz",
        inputs=golden.x.astype(np.float32),
        outputs=outputs.astype(np.float32),
        labels=golden.y.astype(np.int64),
    )
    contract = {
        "format": FORMAT,
        "name": name,
        "task": "multiclass",
        "input": {
            "name": model_input,
            "dtype": "float32",
            "shape": [None, *facts.shape],
            "range": [facts.low, facts.high],
        },
        "output": {"name": model_output, "dtype": "float32", "shape": [None, len(facts.labels)]},
        "labels": list(facts.labels),
        "metrics": scores.to_json(),
        "source": dict(source),
        "dataset": dict(dataset),
    }
    (folder / CONTRACT).write_text(json.dumps(contract, indent=2) + "\n", encoding="utf-8")
    _write_manifest(folder)
    return folder


def read_contract(folder: Path) -> dict[str, Any]:
    """The contract in a package."""
    contract: dict[str, Any] = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    return contract


def damage(folder: Path) -> str | None:
    """What is wrong with a package's files by its manifest, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        digests = {str(name): str(expected["sha256"]) for name, expected in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    unnamed = [name for name in (CONTRACT, GRAPH) if name not in digests]
    if unnamed:
        return f"its manifest names no {' and no '.join(unnamed)}"
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of(path) != digest:
            return f"{name} is not the file that was registered (its digest differs)"
    return None


def _save_as_mlflow_model(model: keras.Model, folder: Path, facts: InputFacts) -> None:
    import os

    os.environ.setdefault("MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK", "true")
    from importlib.metadata import version

    from pipelines.tracking.models import save_keras_model

    save_keras_model(
        model,
        folder,
        input_shape=(-1, *facts.shape),
        output_shape=(-1, len(facts.labels)),
        requirements=[f"{library}=={version(library)}" for library in ("keras", "mlflow", "numpy")]
        + [f"tensorflow=={_tensorflow_version()}"],
    )


def _export_onnx(model: keras.Model, path: Path, output_name: str) -> None:
    """Keras's own export, with the output under a name that means something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tf2onnx tries names that NumPy has dropped
        model.export(str(path), format="onnx", verbose=False)
    import onnx

    graph = onnx.load(str(path))
    given = graph.graph.output[0].name
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            if name == given:
                node.output[index] = output_name
        for index, name in enumerate(node.input):
            if name == given:
                node.input[index] = output_name
    graph.graph.output[0].name = output_name
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def _write_manifest(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in paths
    }
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=2) + "\n", encoding="utf-8")


def _tensorflow_version() -> str:
    import tensorflow as tf

    return str(tf.__version__)


def _starts(x: np.ndarray) -> range:
    return range(0, len(x), 1024)
