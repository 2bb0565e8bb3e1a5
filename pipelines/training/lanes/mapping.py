"""Maps what is written for one lane over all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import control_flow_ops, pfor

from pipelines.training.lanes.philox import draw_alike


def over_lanes(act: Callable[..., Any], *stacks: Any) -> Any:
    """What `act` makes of the tensors of each lane, stacked again: one operation for all lanes where it had one.

    It is `tf.vectorized_map`, but for two things: a lane draws the random numbers of `fit`, also where it is alone.
    What has one lane only, `tf.vectorized_map` takes for what all lanes share, and does not map at all.

    Args:
        act: Takes as many arguments as there are stacks.
        stacks: Tensors in any structure, the lane being their first axis.
    """
    draw_alike()
    _squeeze_alike()
    lanes = int(tf.nest.flatten(stacks)[0].shape[0])

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator,unused-ignore]
    def one(lane: tf.Tensor) -> Any:  # which below XLA would be rewritten with all that it calls: half of the tracing
        return act(*tf.nest.map_structure(lambda stack: tf.gather(stack, lane), stacks))

    def mapped() -> Any:
        return control_flow_ops._pfor_impl(one, lanes, fallback_to_while_loop=True)

    # `pfor` itself has this function rewritten: for its source, Python looks through all modules that there are, and
    # loads those that were to be loaded later. A function it must be, so that XLA does not see what the loop was.
    return tf.function(mapped, autograph=False)()


@cache
def _squeeze_alike() -> None:
    """Has TensorFlow not take the axis of a lane that is alone for one that is to be squeezed out."""
    pfor._pfor_converter_registry["Squeeze"] = _convert_squeeze


def _convert_squeeze(given: Any) -> Any:
    stack = given.stacked_input(0)
    axes = given.get_attr("squeeze_dims") or [at for at, side in enumerate(given.op.inputs[0].shape) if side == 1]
    if axes:
        stack = tf.squeeze(stack, [at + 1 if at >= 0 else at for at in axes])
    return pfor.wrap(stack, True)
