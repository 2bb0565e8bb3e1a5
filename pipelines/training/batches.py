"""Feeds a training, from memory or from disk: each epoch in an order that follows from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from pipelines.tasks import Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.datasets import Samples

Gather = Callable[[tf.Tensor], tf.Tensor]


def steps_in_epoch(samples: int, batch_size: int) -> int:
    """Batches in one epoch; the last may be smaller."""
    return -(-samples // batch_size)


def shuffled_batches(
    samples: Samples,
    batch_size: int,
    *,
    seed: int,
    first_epoch: int = 0,
    targets: Targets = "index",
    classes: int = 0,
    weights: NDArray[Any] | None = None,
    streamed: bool = False,
) -> tf.data.Dataset:
    """Endless batches of (x: float32 (b, *shape), y) or (x, y, sample weight), epoch after epoch from `first_epoch` on.

    Epoch e is the permutation `stateless_shuffle(seed=(seed, e))`, cut into batches, the last one smaller where the
    numbers ask for it. So a training that goes on at epoch e sees what it would have seen without the pause, and any
    other trainer can make the same order. It is the same order and the same values from memory and from disk.

    Args:
        samples: What is learned from.
        batch_size: Samples in a batch.
        seed: Of the order.
        first_epoch: Where to begin.
        targets: The form in which the loss takes the truth; see `pipelines.tasks.Targets`.
        classes: How many there are, for one-hot targets.
        weights: What a sample of each class counts, float32 (classes,); None for no weights.
        streamed: Read rows when their batch comes, instead of holding all of them in memory.
    """
    count = len(samples)
    rows_of = _from_disk(samples.x) if streamed else _from_memory(samples.x)
    y = tf.constant(np.asarray(samples.y))
    by_class = None if weights is None else tf.constant(weights, tf.float32)

    def indices(epoch: tf.Tensor) -> tf.data.Dataset:
        order = sample_order(count, tf.cast(seed, tf.int64), epoch)
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    def gather(chosen: tf.Tensor) -> tuple[tf.Tensor, ...]:
        truth = tf.gather(y, chosen)
        batch = (rows_of(chosen), encoded(truth, targets, classes))
        return batch if by_class is None else (*batch, tf.gather(by_class, truth))

    return _frugal(tf.data.Dataset.counter(start=first_epoch).flat_map(indices).map(gather)).prefetch(2)


def sample_order(count: int, seed: tf.Tensor, epoch: tf.Tensor) -> tf.Tensor:
    """The order of `count` samples in an epoch, int32 (count,), by seed and epoch, int64 both."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=tf.stack([seed, epoch]))


def ordered_batches(samples: Samples, batch_size: int, targets: Targets, classes: int) -> tf.data.Dataset:
    """All samples once, in their own order, read from disk batch by batch: (x, y) as `shuffled_batches` gives them."""
    rows_of = _from_disk(samples.x)
    y = tf.constant(np.asarray(samples.y))
    chosen = tf.data.Dataset.range(len(samples)).batch(batch_size)
    return _frugal(chosen.map(lambda at: (rows_of(at), encoded(tf.gather(y, at), targets, classes)))).prefetch(2)


def encoded(y: Any, targets: Targets, classes: int) -> tf.Tensor:
    """Targets as the loss takes them: class numbers (n,), one-hot float32 (n, classes), or a float32 column (n, 1)."""
    if targets == "one_hot":
        return tf.one_hot(y, classes)
    return tf.cast(y, tf.float32)[:, None] if targets == "column" else tf.convert_to_tensor(y)


def _from_memory(rows: Any) -> Gather:
    held = tf.constant(np.asarray(rows))
    return lambda chosen: tf.cast(tf.gather(held, chosen), tf.float32)


def _from_disk(rows: Any) -> Gather:
    def read(chosen: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(rows[chosen], np.float32)

    def gather(chosen: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(read, [chosen], tf.float32)
        batch.set_shape((None, *rows.shape[1:]))
        return batch

    return gather


def _frugal(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 1  # workers share the cores; the step itself needs them more
    options.threading.max_intra_op_parallelism = 1
    return batches.with_options(options)
