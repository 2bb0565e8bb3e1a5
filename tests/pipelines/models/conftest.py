"""What the tests of models share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.models.onnx_operators import teach_tf2onnx

Export = Callable[[Any], Any]


@pytest.fixture
def export(keras: Any, tmp_path: Path) -> Export:
    """Exports a model as Keras does it; returns the ONNX graph."""

    def exports(model: Any) -> Any:
        import onnx

        path = tmp_path / "model.onnx"
        model(keras.ops.zeros((1, *model.inputs[0].shape[1:])))  # Keras exports no model that was never called
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf2onnx tries names that NumPy has dropped
            teach_tf2onnx()
            model.export(str(path), format="onnx", verbose=False)
        graph = onnx.load(str(path))
        onnx.checker.check_model(graph)
        return graph

    return exports


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[Any, Any], Any]:
    """Runs an ONNX graph with one input on an array."""
    import onnxruntime

    def runs(graph: Any, x: Any) -> Any:
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return session.run(None, {given.name: x})[0]

    return runs
