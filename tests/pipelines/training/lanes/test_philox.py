from __future__ import annotations

from typing import Any

import numpy as np
import pytest

SEEDS = [[12345, 0], [777, 3], [-5, 7], [2**31 - 2, 9]]
SHAPES = [(6,), (5, 7), (33, 3), (0,), ()]


def drawn(how: str, dtype: str, shape: tuple[int, ...], compiled: bool) -> tuple[Any, Any]:
    """What TensorFlow draws for each seed, and what is drawn for all of them as lanes."""
    import tensorflow as tf

    from pipelines.training.lanes.philox import draw_alike

    draw_alike()

    def draw(seed: Any) -> Any:
        return getattr(tf.random, f"stateless_{how}")(shape, seed=seed, dtype=dtype)

    seeds = tf.constant(SEEDS)
    alone = np.stack([draw(seed).numpy() for seed in seeds])
    lanes = tf.function(lambda seeds: tf.vectorized_map(draw, seeds), jit_compile=compiled, autograph=False)
    return alone, lanes(seeds).numpy()


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "not_compiled"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_lanes_draw_what_tensorflow_draws_to_the_last_bit(keras: Any, dtype: str, compiled: bool) -> None:
    for shape in SHAPES:
        alone, lanes = drawn("uniform", dtype, shape, compiled)
        assert (lanes.dtype, lanes.shape) == (alone.dtype, alone.shape)
        assert np.array_equal(lanes, alone), shape
    assert len(np.unique(lanes)) == len(SEEDS)  # none of it is the same number again and again


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "not_compiled"])
@pytest.mark.parametrize(
    ("dtype", "off"), [("float16", 2e-3), ("bfloat16", 1e-2), ("float32", 2e-6), ("float64", 1e-14)]
)
def test_normal_numbers_are_those_of_tensorflow_but_for_the_rounding_of_its_functions(
    keras: Any, dtype: str, off: float, compiled: bool
) -> None:
    for shape in SHAPES:
        alone, lanes = drawn("normal", dtype, shape, compiled)
        assert (lanes.dtype, lanes.shape) == (alone.dtype, alone.shape)
        assert np.allclose(lanes.astype(float), alone.astype(float), rtol=off, atol=off), shape


def test_a_counter_goes_on_past_its_first_half(keras: Any) -> None:
    """The counter of TensorFlow's operations may begin anywhere; where its low half overflows, the high one counts."""
    import tensorflow as tf

    from pipelines.training.lanes.philox import draw_alike

    draw_alike()
    counters = tf.constant([[2**64 - 3, 5], [2**64 - 1, 2**64 - 1], [7, 0]], tf.uint64)
    keys = tf.constant([[1], [2**63 + 9], [3]], tf.uint64)

    def draw(key: Any, counter: Any) -> Any:
        return tf.raw_ops.StatelessRandomUniformV2(shape=[40], key=key, counter=counter, alg=1, dtype=tf.float32)

    alone = np.stack([draw(key, counter).numpy() for key, counter in zip(keys, counters, strict=True)])
    lanes = tf.function(lambda *pairs: tf.vectorized_map(lambda pair: draw(*pair), pairs), autograph=False)
    assert np.array_equal(lanes(keys, counters).numpy(), alone)
