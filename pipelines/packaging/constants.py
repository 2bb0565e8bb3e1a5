"""Tensors that a model holds beside its weights, put into its ONNX graph: tf2onnx leaves them for others to bring.

A layer that keeps a table of positions, or a `Normalization` that was adapted, holds such a tensor. TensorFlow hands it
to the traced function as one more input, and so it comes out as one more input of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx


@contextmanager
def held_tensors() -> Iterator[dict[str, np.ndarray]]:
    """Has tf2onnx watched while Keras exports a model by it; what the function held is there when that is done."""
    import tf2onnx

    held: dict[str, np.ndarray] = {}
    convert = tf2onnx.convert.from_function

    def watched(function: Any, signature: Any, **settings: Any) -> Any:
        traced = function.get_concrete_function(*signature)  # tf2onnx gets this one, not another
        for tensor, name in zip(traced.captured_inputs, traced.graph.internal_captures, strict=True):
            if tensor.dtype.is_numpy_compatible and hasattr(tensor, "numpy"):  # variables and tables come as resources
                held[name.name] = tensor.numpy()
        return convert(function, signature, **settings)

    tf2onnx.convert.from_function = watched
    try:
        yield held
    finally:
        tf2onnx.convert.from_function = convert


def bring_along(graph: onnx.GraphProto, held: Mapping[str, np.ndarray]) -> None:
    """Makes constants of those inputs of a graph that are tensors which the model held."""
    import onnx

    for given in [each for each in graph.input if each.name in held]:
        graph.initializer.append(onnx.numpy_helper.from_array(held[given.name], given.name))
        graph.input.remove(given)
