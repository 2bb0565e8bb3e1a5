"""The two forms in which a model can be served: an ONNX graph, or its Keras file where ONNX cannot hold it.

A model is served as ONNX wherever that says what Keras says. Where Keras's export has no ONNX for something in the
model, or makes a graph that computes something else, the file itself is served, by Keras in a process of its own: the
same answers, and a call that takes about a hundred times as long.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines.datasets.base import chunks
from pipelines.errors import PromotionRefused
from pipelines.packaging.constants import bring_along, held_tensors

if TYPE_CHECKING:
    import keras
    import onnx

    from pipelines.datasets.base import Rows
    from pipelines.inputs import InputFacts

PARITY = 1e-4
"""Largest difference of an output between the Keras model and its served form, or share of the largest one where
outputs are large; rounding gives about 1e-6."""
GRAPH, KERAS_FILE = "model.onnx", "data/model.keras"
_MOST_OPERATORS = 3


class NotInOnnxError(Exception):
    """ONNX cannot hold a model; the message says why, as a part of a sentence."""


@dataclass(frozen=True)
class Form:
    """In which form a model is served.

    Attributes:
        engine: Who computes it: ONNX Runtime, or Keras in a process of its own.
        reason: Why it is not ONNX, as a part of a sentence; empty where it is.
    """

    engine: Literal["onnx", "keras"]
    reason: str = ""

    def tags(self) -> dict[str, str]:
        """For MLflow: `regatta.engine`, and `regatta.engine_reason` where it is not ONNX Runtime."""
        return {"regatta.engine": self.engine, **({"regatta.engine_reason": self.reason} if self.reason else {})}

    def sentence(self) -> str:
        """For a person: who computes it, and why."""
        if self.engine == "onnx":
            return "served by ONNX Runtime"
        return f"served by the Keras engine, as {self.reason}"


IN_ONNX = Form("onnx")


def raw_rows(rows: np.ndarray, facts: InputFacts) -> np.ndarray:
    """Coded samples as a client sends them: float32, or texts (n, columns) for a table with words."""
    if not facts.has_words:
        return rows.astype(np.float32)
    columns = [
        [repr(float(value)) for value in rows[:, place].astype(np.float32)]
        if column.words is None
        else np.array(["", *column.words])[rows[:, place].astype(np.int64)].tolist()
        for place, column in enumerate(facts.columns)
    ]
    return np.array(columns).T


def onnx_outputs(path: Path, x: Rows, facts: InputFacts) -> np.ndarray:
    """What an ONNX file says of samples, given as a client would send them: float32 (n, units)."""
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: raw_rows(chunk, facts)})[0] for chunk in chunks(x)])


def keras_outputs(path: Path, x: Rows, facts: InputFacts) -> np.ndarray:
    """What a served Keras file says of the same samples, loaded and asked as a model server does it."""
    model = _load_served(path)
    pieces = [np.asarray(model(_as_keras_takes_it(chunk, facts), training=False)) for chunk in chunks(x)]
    return np.concatenate(pieces).astype(np.float32)


def served_outputs(package: Path, x: Rows, facts: InputFacts) -> np.ndarray:
    """What a package says of samples, in the form in which it is served: float32 (n, units)."""
    graph = package / GRAPH
    return onnx_outputs(graph, x, facts) if graph.is_file() else keras_outputs(package / KERAS_FILE, x, facts)


def caller(package: Path, rows: Rows, facts: InputFacts) -> Callable[[], object]:
    """A call that computes what a package says of rows, on one core and without loading anything, to be timed."""
    if not (package / GRAPH).is_file():
        import tensorflow as tf

        model, given = _load_served(package / KERAS_FILE), _as_keras_takes_it(np.asarray(rows[:]), facts)
        compiled = tf.function(lambda batch: model(batch, training=False), autograph=False).get_concrete_function(given)
        return lambda: compiled(given).numpy()
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(package / GRAPH), options, providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: raw_rows(np.asarray(rows[:]), facts)}
    return lambda: session.run(None, fed)


def _load_served(path: Path) -> keras.Model:
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names of columns that no tensor can have
        return keras.models.load_model(path, compile=False, safe_mode=True)


def _as_keras_takes_it(rows: np.ndarray, facts: InputFacts) -> Any:
    import tensorflow as tf

    if not facts.has_words:
        return tf.constant(rows, tf.float32)
    texts = raw_rows(rows, facts)
    return {
        column.name: tf.constant(cells.astype(np.float32).reshape(-1, 1))
        if column.words is None
        else tf.constant(cells.tolist(), tf.string, shape=(len(rows), 1))
        for column, cells in zip(facts.columns, texts.T, strict=True)
    }


def export_onnx(model: keras.Model, path: Path, output_name: str, facts: InputFacts) -> None:
    """Keras's own export, with the output under a name that means something, and words in front where there are any.

    Raises:
        NotInOnnxError: ONNX cannot hold the model.
    """
    from pipelines.models.onnx_operators import teach_tf2onnx

    teach_tf2onnx()
    try:
        with warnings.catch_warnings(), _quiet("tf2onnx.tfonnx"), held_tensors() as held:
            warnings.simplefilter("ignore")  # tf2onnx tries names that NumPy has dropped
            model.export(str(path), format="onnx", verbose=False)
    except (OSError, ImportError, MemoryError):
        raise  # a full disk or a package that is missing says nothing of the model
    except Exception as error:  # whatever Keras and tf2onnx make of a model
        raise NotInOnnxError(f"its export to ONNX fails ({type(error).__name__}: {_first_line(error)})") from error
    import onnx

    graph = onnx.load(str(path))
    bring_along(graph.graph, held)
    unknown = sorted(set(_operators_without_onnx(graph.graph)))
    if unknown:  # tf2onnx leaves TensorFlow's own operators where it knows no others
        more = f" and {len(unknown) - _MOST_OPERATORS} more" if len(unknown) > _MOST_OPERATORS else ""
        raise NotInOnnxError(f"ONNX has nothing for {', '.join(unknown[:_MOST_OPERATORS])}{more}")
    given = graph.graph.output[0].name
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            if name == given:
                node.output[index] = output_name
        for index, name in enumerate(node.input):
            if name == given:
                node.input[index] = output_name
    graph.graph.output[0].name = output_name
    try:
        if facts.has_words:
            from pipelines.models.words import words_onnx

            graph = words_onnx(graph, facts.columns, input_name=model.inputs[0].name)
        onnx.checker.check_model(graph)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NotInOnnxError(f"its export is no valid ONNX ({_first_line(error)})") from error
    onnx.save(graph, str(path))


def onnx_gap(path: Path, x: Rows, facts: InputFacts, expected: np.ndarray) -> float:
    """The largest difference between what an ONNX file says of samples and what is expected.

    Raises:
        NotInOnnxError: ONNX Runtime cannot run the file.
    """
    try:
        found = onnx_outputs(path, x, facts)
    except (OSError, ImportError, MemoryError):
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
        raise NotInOnnxError(f"ONNX Runtime cannot run its export ({_first_line(error)})") from error
    return float(np.abs(found - expected).max())


def hold_to(what: str, gap: float, parity: float, expected: np.ndarray) -> None:
    """Refuses a served form that says something else than the model that was judged.

    Raises:
        PromotionRefused: says by how much.
    """
    allowed = parity * scale_of(expected)
    if not gap <= allowed:
        raise PromotionRefused(
            f"The {what} differs from its Keras model by {gap:.2g} on the golden samples; promotion.parity allows "
            f"{allowed:.2g}: too much by {gap - allowed:.2g}. The model is not registered, and --force does not change "
            f"that: what is served would not be what was judged."
        )


def scale_of(outputs: np.ndarray) -> float:
    """What differences of outputs are measured by: 1, or the largest of them where they are large."""
    return max(1.0, float(np.abs(outputs).max()))


def _operators_without_onnx(graph: onnx.GraphProto) -> Iterator[str]:
    import onnx

    for node in graph.node:
        if not onnx.defs.has(node.op_type, node.domain):
            yield node.op_type
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):
                yield from _operators_without_onnx(inside)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps a logger silent for a while: what it would say is said better by an error."""
    logger = logging.getLogger(name)
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def onnx_runtime() -> Any:
    """ONNX Runtime; it would tell its maker of every start, and looks at its import whether it may."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
