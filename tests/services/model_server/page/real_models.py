"""Real models without TensorFlow: scikit-learn fits them, and their layers become a graph of ONNX."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from tests.services.model_server.parts import write_package

DIGITS = tuple(str(digit) for digit in range(10))
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}


def fitted(x: NDArray[Any], y: NDArray[Any], units: tuple[int, ...], **settings: Any) -> MLPClassifier:
    """A perceptron, trained until its budget of epochs is used up."""
    model = MLPClassifier(units, random_state=0, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def graph_of(model: MLPClassifier, shape: tuple[int, ...], scale: float, output: str, last: str) -> onnx.ModelProto:
    """The same computation as ONNX, with the division of its inputs by `scale` in front."""
    constants = {"scale": np.array(scale, dtype=np.float32)}
    nodes = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("Div", ["flat", "scale"], ["h0"])]
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    for place, (weights, bias) in enumerate(layers):
        constants |= {f"w{place}": weights.astype(np.float32), f"b{place}": bias.astype(np.float32)}
        nodes.append(helper.make_node("Gemm", [f"h{place}", f"w{place}", f"b{place}"], [f"s{place}"]))
        if place < len(layers) - 1:
            nodes.append(helper.make_node(ACTIVATIONS[model.activation], [f"s{place}"], [f"h{place + 1}"]))
    nodes.append(helper.make_node(last, [f"s{len(layers) - 1}"], [output]))
    outputs = layers[-1][0].shape[1]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    graph_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(graph_model)
    return graph_model


def digits(folder: Path, units: tuple[int, ...] = (100, 30), epochs: int = 60) -> Path:
    """Handwritten digits of 8 by 8, 0 to 16: about 97 of 100 right."""
    data = load_digits()
    x, y = data.images.astype(np.float32), data.target
    model = fitted(x[200:].reshape(-1, 64) / 16, y[200:], units, max_iter=epochs)
    places = [int(np.flatnonzero(y[:200] == place % 10)[place // 10]) for place in range(16)]
    return write_package(
        folder,
        name="digits",
        graph=graph_of(model, (8, 8), 16.0, "probabilities", "Softmax"),
        shape=(8, 8),
        labels=DIGITS,
        golden={"inputs": x[places], "labels": y[places].astype(np.int64)},
        contract={"target": "digit"},
    )


def spiral(folder: Path) -> Path:
    """Two classes in the plane from -6 to 6, one a ring around the other."""
    random = np.random.default_rng(3)
    angle = random.uniform(0, 2 * np.pi, 400)
    inside = np.arange(400) % 2 == 0
    radius = np.where(inside, random.uniform(0, 2, 400), random.uniform(3.5, 5, 400))
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    model = fitted(x, inside.astype(np.int64), (8, 8), activation="tanh", solver="lbfgs", max_iter=300)
    return write_package(
        folder,
        name="playground",
        graph=graph_of(model, (2,), 1.0, "probability", "Sigmoid"),
        golden={"inputs": x[:60], "labels": inside[:60].astype(np.int64)},
        contract={
            "task": "binary",
            "labels": ["outside", "inside"],
            "target": "colour",
            "input": {"name": "image", "dtype": "float32", "shape": [None, 2], "range": [-6.0, 6.0]},
            "output": {"name": "probability", "dtype": "float32", "shape": [None, 1]},
            "columns": [{"name": "x1", "type": "number"}, {"name": "x2", "type": "number"}],
        },
    )
