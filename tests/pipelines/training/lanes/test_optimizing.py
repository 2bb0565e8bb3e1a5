from __future__ import annotations

from typing import Any

import numpy as np
import pytest

GRADIENTS = {"finite": [[1.0, -2.0], [0.5, 3.0]], "one is not": [[1.0, -2.0], [np.inf, 3.0]]}
STEPS = 5


def scaled(keras: Any) -> Any:
    """Doubles its scale after two finite steps, and halves it after one that is not."""
    inner = keras.optimizers.SGD(0.1, momentum=0.9)
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=2)


def by_keras(keras: Any, gradients: list[list[float]]) -> list[np.ndarray]:
    variable, optimizer = keras.Variable([1.0, 1.0]), scaled(keras)
    optimizer.build([variable])
    for step in range(STEPS):
        gradient = keras.ops.convert_to_tensor(gradients[step % 2])
        optimizer.apply([optimizer.scale_loss(gradient)], [variable])
    return [variable.numpy(), *(one.numpy() for one in optimizer.variables)]


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "not_compiled"])
def test_each_lane_scales_its_own_loss_as_keras_does(keras: Any, compiled: bool) -> None:
    import tensorflow as tf
    from keras.src.backend import StatelessScope

    from pipelines.training.lanes.mapping import over_lanes
    from pipelines.training.lanes.optimizing import on_tensors

    variable = keras.Variable([1.0, 1.0])
    optimizer = on_tensors(scaled(keras), [variable])

    def step(weights: Any, values: Any, gradient: Any) -> Any:
        with StatelessScope(state_mapping=list(zip(optimizer.variables, values, strict=True))):
            gradient = optimizer.scale_loss(gradient)
        (weights,), values = optimizer.stateless_apply(values, [gradient], [weights])
        return weights, [tf.cast(new, old.dtype) for new, old in zip(values, optimizer.variables, strict=True)]

    steps = tf.function(lambda *of_lanes: over_lanes(step, *of_lanes), jit_compile=compiled, autograph=False)
    weights = tf.ones((2, 2))
    values = [tf.stack([one.value] * 2) for one in optimizer.variables]
    for number in range(STEPS):
        weights, values = steps(weights, values, tf.constant([each[number % 2] for each in GRADIENTS.values()]))
    for lane, gradients in enumerate(GRADIENTS.values()):
        for found, expected in zip([weights, *values], by_keras(keras, gradients), strict=True):
            np.testing.assert_allclose(found[lane].numpy(), expected, rtol=1e-6)
    scales = values[[one.path.split("/")[-1] for one in optimizer.variables].index("dynamic_scale")].numpy()
    assert scales[0] != scales[1]
