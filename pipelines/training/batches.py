"""Feeds a training: every epoch in an order that follows from the seed and the epoch alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from pipelines.datasets import Samples


def steps_in_epoch(samples: int, batch_size: int) -> int:
    """Batches in one epoch; the last may be smaller."""
    return -(-samples // batch_size)


def shuffled_batches(samples: Samples, batch_size: int, *, seed: int, first_epoch: int = 0) -> tf.data.Dataset:
    """Endless batches (x: float32 (b, *shape), y: int64 (b,)), epoch after epoch from `first_epoch` on.

    Epoch e is the permutation `stateless_shuffle(seed=(seed, e))`, cut into batches, the last one smaller where the
    numbers ask for it. So a training that goes on at epoch e sees what it would have seen without the pause, and any
    other trainer can make the same order.
    """
    x, y = tf.constant(samples.x), tf.constant(samples.y)
    count = len(samples)

    def indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    def gather(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.gather(x, chosen), tf.float32), tf.gather(y, chosen)

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 1  # workers share the cores; the step itself needs them more
    options.threading.max_intra_op_parallelism = 1
    batches = tf.data.Dataset.counter(start=first_epoch).flat_map(indices).map(gather)
    return batches.with_options(options).prefetch(2)
