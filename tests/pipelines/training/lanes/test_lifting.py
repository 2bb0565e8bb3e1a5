"""A lane's own settings are rounded as Keras rounds a number of the recipe, whatever compiles the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("keras")
NAMES = ("optimizer.momentum", "optimizer.beta_2")
ROWS = ((0.9, 0.5), (0.999, 0.95))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_setting_that_keras_casts_is_what_it_is_in_fit(compiled: bool) -> None:
    import keras
    import tensorflow as tf

    from pipelines.training.lanes.lifting import both, each_lifted

    def first_lane(*settings: Any) -> list[Any]:
        own = each_lifted(NAMES, [row[0] for row in settings])
        return [keras.ops.cast(own[name], "float64") for name in NAMES]

    found = tf.function(first_lane, jit_compile=compiled, autograph=False)(*both(ROWS))
    assert [value.numpy().item() for value in found] == [
        keras.ops.cast(number, "float64").numpy().item() for number, _ in ROWS
    ]


def test_nothing_in_the_program_rounds_a_setting_that_is_used_as_it_is_given() -> None:
    """XLA leaves out a way from float64 to float32 and back on a GPU: the value must come to it rounded."""
    import keras
    import tensorflow as tf

    from pipelines.training.lanes.lifting import both, each_lifted

    def first_lane(*settings: Any) -> Any:
        return keras.ops.cast(each_lifted(NAMES, [row[0] for row in settings])[NAMES[0]], "float64")

    graph = tf.function(first_lane, autograph=False).get_concrete_function(*both(ROWS)).graph
    casts = [(op.inputs[0].dtype, op.outputs[0].dtype) for op in graph.get_operations() if op.type == "Cast"]
    assert casts == [(tf.float32, tf.float64)]


def test_what_is_computed_with_it_is_computed_in_double_precision() -> None:
    import tensorflow as tf

    from pipelines.training.lanes.lifting import both, each_lifted

    own = each_lifted(NAMES, [row[1] for row in both(ROWS)])
    assert tf.cast((1 - own["optimizer.beta_2"]).value, tf.float64).numpy() == 1 - 0.95
    assert (own["optimizer.momentum"] * tf.constant(3.0, tf.float64)).numpy() == 1.5
    assert (own["optimizer.beta_2"] * tf.constant(1.0, tf.float32)).numpy() == np.float32(0.95)
