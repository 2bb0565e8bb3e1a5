from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from pipelines.models.dense import DenseModel
from pipelines.models.hidden import ActivationName
from pipelines.models.onnx_operators import teach_tf2onnx
from tests.pipelines.models.samples import NUMBERS, build, outputs, raw


@pytest.mark.parametrize("activation", get_args(ActivationName))
def test_every_activation_can_be_exported(keras: Any, export: Any, run_onnx: Any, activation: str) -> None:
    model = build(keras, DenseModel, NUMBERS, units=[8, 8], activation=activation, bias_initializer="random_normal")
    x = raw(NUMBERS, 50)
    np.testing.assert_allclose(run_onnx(export(model), x), outputs(keras, model, x), atol=1e-5)


@pytest.mark.parametrize(("activation", "lacking", "instead"), [("gelu", "Erfc", "Erf"), ("celu", "Expm1", "Exp")])
def test_operators_that_tf2onnx_lacks_are_exact_near_zero_and_far_out(
    keras: Any, export: Any, run_onnx: Any, activation: str, lacking: str, instead: str
) -> None:
    """Once TensorFlow or tf2onnx does without them, `teach_tf2onnx` has become needless, and this fails."""
    import tensorflow as tf

    given = keras.Input((1,), name="x")
    model = keras.Model(given, keras.layers.Activation(activation)(given))
    traced = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((None, 1)))
    assert lacking in [operation.type for operation in traced.graph.get_operations()]
    x = np.array([[-9], [-1], [-1e-4], [0], [1e-4], [0.5], [3], [9]], np.float32)
    graph = export(model)
    assert instead in [node.op_type for node in graph.graph.node]
    np.testing.assert_allclose(run_onnx(graph, x), outputs(keras, model, x), rtol=1e-6, atol=3e-7)


def test_teaching_twice_changes_nothing() -> None:
    from tf2onnx.handler import tf_op

    teach_tf2onnx()
    handlers = [of_version.get("Erfc") for of_version in tf_op.get_opsets()[""]]
    teach_tf2onnx()
    assert [of_version.get("Erfc") for of_version in tf_op.get_opsets()[""]] == handlers
    assert sum(handler is not None for handler in handlers) == 1
