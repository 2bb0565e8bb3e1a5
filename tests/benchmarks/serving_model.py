"""The model version that all servers of `bench_serving` answer with, and the requests that they get.

`python -m tests.benchmarks.serving_model FOLDER` makes it in a process of its own, since TensorFlow is large: the dense
classifier 784-100-30-10 for pictures of 28x28, packed as promotion packs, registered in an MLflow registry in SQLite.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "pictures"
SHAPE = (28, 28)
LABELS = tuple("0123456789")
V2_HEADER = "inference-header-content-length"


@dataclass(frozen=True)
class Body:
    """The body of one request, and the headers that go with it."""

    content: bytes
    headers: tuple[tuple[str, str], ...]


def pictures(rows: int) -> NDArray[np.float32]:
    """Pixels float32 (rows, 28, 28), 0 to 255."""
    return np.random.default_rng(7).integers(0, 256, (rows, *SHAPE)).astype(np.float32)


def json_body(rows: int) -> Body:
    """`{"instances": …}`: MLflow, TF Serving and plain servers all read it. The pixels are written as floats."""
    content = json.dumps({"instances": pictures(rows).tolist()}).encode()
    return Body(content, (("content-type", "application/json"),))


def binary_body(rows: int) -> Body:
    """An Open Inference request with its tensor as bytes, answered in bytes, as `tritonclient` sends it."""
    x = pictures(rows)
    tensor = {
        "name": "image",
        "shape": list(x.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = (("content-type", "application/octet-stream"), (V2_HEADER, str(len(head))))
    return Body(head + x.tobytes(), headers)


def registry_uri(folder: Path) -> str:
    """Where `make` has put the registry."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def make(folder: Path) -> None:
    """Builds, packs and registers the model; its alias is champion. Imports TensorFlow."""
    os.environ.setdefault("MLFLOW_TRACKING_URI", registry_uri(folder))
    import keras

    from pipelines.datasets import Samples
    from pipelines.inputs import InputFacts
    from pipelines.packaging.building import build_package
    from pipelines.packaging.scoring import score
    from pipelines.tasks import Task
    from tests.services.model_server.processes import Registry

    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE, name="image"),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(100, activation="relu"),
            layers.Dense(30, activation="relu"),
            layers.Dense(len(LABELS), activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy")
    x = pictures(16)
    y = np.arange(16, dtype=np.int64) % len(LABELS)
    outputs: Any = np.asarray(model(x, training=False))
    package = build_package(
        model,
        folder / "package",
        name=NAME,
        task=Task.MULTICLASS,
        facts=InputFacts(shape=SHAPE, low=0.0, high=255.0, labels=LABELS),
        golden=Samples(x, y),
        scores=score(Task.MULTICLASS, outputs, y),
        source={"study": NAME, "trial": 0, "attempt": 1, "epoch": 0, "run_id": "benchmark"},
        dataset={"name": "made up", "sha256": "0" * 64},
    )
    registry = Registry(folder)
    registry.point(NAME, registry.add(NAME, package))


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
