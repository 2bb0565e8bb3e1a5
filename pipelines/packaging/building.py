"""Makes the package that crosses from training to serving; see `pipelines.packaging.package`. Imports TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.checkpoints import sha256_of
from pipelines.computing import in_full_precision
from pipelines.datasets.base import chunks
from pipelines.errors import PromotionRefused
from pipelines.models.strangers import objects
from pipelines.packaging.forms import (
    GRAPH,
    IN_ONNX,
    KERAS_FILE,
    PARITY,
    Form,
    NotInOnnxError,
    export_onnx,
    hold_to,
    keras_outputs,
    onnx_gap,
    raw_rows,
    scale_of,
)
from pipelines.packaging.package import CONTRACT, FORMAT, MANIFEST, PROFILE
from pipelines.packaging.scoring import Scores
from pipelines.tasks import OUTPUT_NAMES, Task

if TYPE_CHECKING:
    import keras

    from pipelines.datasets import Samples
    from pipelines.datasets.base import Rows
    from pipelines.inputs import Column, InputFacts


def load_checkpoint(path: Path, own: Mapping[str, str] | None = None) -> keras.Model:
    """A `.keras` file, in Keras's safe mode: a file that would run code is refused. It computes in 32 bits.

    A model that was trained in 16 is judged as it is served; see `pipelines.computing.in_full_precision`.

    Args:
        path: The file.
        own: Where what it names of the user's own is; see `pipelines.models.strangers.places`.

    Raises:
        OwnCodeError: They are not there.
    """
    import keras  # heavy

    with keras.saving.custom_object_scope(objects(own or {})):
        return in_full_precision(keras.models.load_model(path, safe_mode=True), path)


def outputs_of(model: keras.Model, x: Rows) -> np.ndarray:
    """What the Keras model says of coded samples: float32 (n, units)."""
    pieces = [np.asarray(model(chunk.astype(np.float32), training=False)) for chunk in chunks(x)]
    return np.concatenate(pieces)


def build_package(
    model: keras.Model,
    folder: Path,
    *,
    name: str,
    task: Task,
    facts: InputFacts,
    golden: Samples,
    scores: Scores,
    source: Mapping[str, Any],
    dataset: Mapping[str, str],
    parity: float = PARITY,
    profile: Mapping[str, Any] | None = None,
    own: Mapping[str, str] | None = None,
) -> Path:
    """Writes the package into `folder`, which must not exist yet, and proves that what is served is what was judged.

    Where ONNX cannot hold the model, there is no graph in the package: its Keras file is what is served, and the
    contract says so; see `pipelines.packaging.forms`.

    Args:
        model: The champion to be, compiled.
        folder: Where the package goes.
        name: The registered model's name.
        task: What the model has learned.
        facts: The form of a sample and what is predicted.
        golden: Real samples, kept with the outputs that they must give.
        scores: On the sealed test part.
        source: Study, trial, attempt, epoch, run and digest of the checkpoint.
        dataset: Name and digests of the data.
        parity: How far the served form's outputs may be from each other; see `PARITY`.
        profile: What the training data looked like, if anybody knows; see `pipelines.packaging.profile`.
        own: Where what the model has of the user's own is, whose code goes along; see `load_checkpoint`.

    Raises:
        PromotionRefused: The served form gives other answers than the Keras model, or nobody could serve it.
    """
    outputs = outputs_of(model, golden.x)
    form = _write_forms(model, folder, task, facts, golden.x, outputs, parity, own or {})
    truth = {"labels": golden.y.astype(np.int64)} if facts.labels else {"targets": golden.y.astype(np.float32)}
    inputs = raw_rows(np.asarray(golden.x[:]), facts)
    np.savez(folder / "golden.npz", inputs=inputs, outputs=outputs.astype(np.float32), **truth)
    limits = {} if facts.low is None or facts.high is None else {"range": [facts.low, facts.high]}
    contract = {
        "format": FORMAT,
        "name": name,
        "task": str(task),
        "input": {
            "name": model.inputs[0].name,
            "dtype": "string" if facts.has_words else "float32",
            "shape": [None, *facts.shape],
            **limits,
        },
        "output": {"name": OUTPUT_NAMES[task], "dtype": "float32", "shape": [None, outputs.shape[1]]},
        "labels": list(facts.labels),
        "target": facts.target,
        "columns": [_column(column) for column in facts.columns],
        "metrics": scores.to_json(),
        "source": dict(source),
        "dataset": dict(dataset),
        "engine": form.engine,
        **({"engine_reason": form.reason} if form.reason else {}),
    }
    (folder / CONTRACT).write_text(json.dumps(contract, indent=2) + "\n", encoding="utf-8")
    if profile is not None:
        (folder / PROFILE).write_text(json.dumps(profile) + "\n", encoding="utf-8")
    _write_manifest(folder)
    return folder


def _write_forms(
    model: keras.Model,
    folder: Path,
    task: Task,
    facts: InputFacts,
    x: Rows,
    outputs: np.ndarray,
    parity: float,
    own: Mapping[str, str],
) -> Form:
    """Writes the MLflow model, and the graph beside it where ONNX can hold the model; says which of them is served."""
    exported = folder.with_name(f"{folder.name}.onnx")  # MLflow wants to make the folder itself
    form, gap = IN_ONNX, 0.0
    try:
        # before there is a model of words: its tables would make TensorFlow warn of what the export leaves out
        export_onnx(model, exported, OUTPUT_NAMES[task], facts)
        gap = onnx_gap(exported, x, facts, outputs)
        if not gap <= max(PARITY, parity) * scale_of(outputs):  # far more than rounding: it computes something else
            raise NotInOnnxError(f"its export to ONNX gives other answers, by {gap:.2g} on the golden samples")
    except NotInOnnxError as problem:
        if own:
            raise PromotionRefused(_served_by_nobody(own, problem)) from None
        form = Form("keras", str(problem))
        exported.unlink(missing_ok=True)
    _save_as_mlflow_model(model, folder, facts, own)
    if form.engine == "onnx":
        exported.replace(folder / GRAPH)
    else:
        gap = float(np.abs(keras_outputs(folder / KERAS_FILE, x, facts) - outputs).max())
    hold_to("ONNX form" if form.engine == "onnx" else "saved form", gap, parity, outputs)
    return form


def _served_by_nobody(own: Mapping[str, str], problem: NotInOnnxError) -> str:
    return (
        f"ONNX cannot hold the model: {problem}. A model server that could serve its Keras file instead runs nobody's "
        f"code, and the model has {', '.join(own.values())}. It is not registered, and --force does not change that. "
        f"What ONNX has no operator for is often easily said in other keras.ops."
    )


def _column(column: Column) -> dict[str, Any]:
    if column.words is None:
        return {"name": column.name, "type": "number"}
    return {"name": column.name, "type": "category", "words": list(column.words)}


def _save_as_mlflow_model(model: keras.Model, folder: Path, facts: InputFacts, own: Mapping[str, str]) -> None:
    import os

    os.environ.setdefault("MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK", "true")
    from importlib.metadata import version

    from pipelines.models.words import words_model
    from pipelines.tracking.models import save_keras_model

    save_keras_model(
        words_model(model, facts.columns) if facts.has_words else model,
        folder,
        input_shape=(-1, *facts.shape),
        output_shape=(-1, model.output_shape[-1]),
        columns={column.name: column.words is not None for column in facts.columns} if facts.has_words else None,
        requirements=[f"{library}=={version(library)}" for library in ("keras", "mlflow", "numpy")]
        + [f"tensorflow=={_tensorflow_version()}"],
        own=own,
    )


def _write_manifest(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in paths
    }
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=2) + "\n", encoding="utf-8")


def _tensorflow_version() -> str:
    import tensorflow as tf

    return str(tf.__version__)
