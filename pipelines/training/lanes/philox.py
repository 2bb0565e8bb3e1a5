"""The random numbers of a lane, which are those that TensorFlow draws in `fit`, bit for bit.

TensorFlow draws by Philox 4x32-10 (J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). XLA has
Philox too and makes other numbers with it, and `tf.vectorized_map` draws for one lane after the other, so dropout in a
lane would drop other units than in `fit`, slowly. Here the same numbers are made for all lanes at once, of operations
that mean the same everywhere. The rules are those of `tensorflow/core/kernels/stateless_random_ops.cc` and
`random_distributions.h`, and no version of TensorFlow may change them, as seeds have to keep their meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

_KEY_OF_SEEDS = (0x3EC8F720, 0x02461E29)
_MULTIPLIERS, _RAISES, _ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
_SMALLEST = 1e-7
"""What the logarithm is taken of is not below this."""

Words = list[tf.Tensor]
"""Four words of 32 bits of each counter, uint32."""


@cache
def draw_alike() -> None:
    """Has TensorFlow map over lanes what draws random numbers, in this process from now on."""
    pfor.RegisterPFor("StatelessRandomGetKeyCounter")(_convert_key)
    pfor.RegisterPFor("StatelessRandomUniformV2")(_converter(_uniform))
    pfor.RegisterPFor("StatelessRandomNormalV2")(_converter(_normal))


def _convert_key(given: Any) -> Any:
    """Seeds (lanes, 2) to keys uint64 (lanes, 1) and counters uint64 (lanes, 2)."""
    seeds = tf.cast(given.stacked_input(0), tf.uint64)  # a negative seed keeps its bits
    first, second = (_halves(seeds[:, place]) for place in (0, 1))
    mixed = _philox([*first, *second], [tf.constant(word, tf.uint32) for word in _KEY_OF_SEEDS])
    key, counter = _whole(mixed[0], mixed[1]), _whole(mixed[2], mixed[3])
    return (
        pfor.wrap(key[:, None], True),
        pfor.wrap(tf.stack([tf.zeros_like(counter), counter], axis=1), True),
    )


def _converter(draws: Callable[[Words, Any], tf.Tensor]) -> Callable[[Any], Any]:
    """What maps an operation that draws over lanes; what it does not know is drawn for one lane after the other."""

    def convert(given: Any) -> Any:
        shape, stacked, _ = given.input(0)
        keys, counters = given.input(1), given.input(2)
        dtype = given.outputs[0].dtype
        if stacked or not keys.is_stacked or not counters.is_stacked or dtype not in _VALUES_OF_FOUR:
            return pfor._fallback_converter(given)
        count = tf.reduce_prod(shape)
        of_four = _VALUES_OF_FOUR[dtype]
        groups = tf.cast(tf.range((count + of_four - 1) // of_four), tf.uint64)
        low = counters.t[:, 0:1] + groups[None, :]
        carry = tf.cast(low < counters.t[:, 0:1], tf.uint64)
        high = counters.t[:, 1:2] + carry
        words = _philox([*_halves(low), *_halves(high)], _halves(keys.t))
        drawn = draws(words, dtype)  # (lanes, groups, of four)
        lanes = tf.shape(keys.t)[:1]
        flat = tf.reshape(drawn, tf.concat([lanes, [-1]], axis=0))[:, :count]
        return pfor.wrap(tf.reshape(flat, tf.concat([lanes, tf.cast(shape, tf.int32)], axis=0)), True)

    return convert


_VALUES_OF_FOUR = {tf.float16: 4, tf.bfloat16: 4, tf.float32: 4, tf.float64: 2}
"""How many numbers four words make."""
_DIGITS_OF_16 = {tf.float16: (10, 15), tf.bfloat16: (7, 127)}
"""How many digits such a number has, and the exponent of 1."""


def _uniform(words: Words, dtype: Any) -> tf.Tensor:
    """Numbers in [0, 1)."""
    if dtype == tf.float64:
        return tf.stack([_double(*words[:2]), _double(*words[2:])], axis=-1)
    if dtype == tf.float32:
        return tf.stack([_single(word) for word in words], axis=-1)
    return tf.stack([_short(word, dtype) for word in words], axis=-1)


def _normal(words: Words, dtype: Any) -> tf.Tensor:
    """Numbers of a standard normal distribution, by Box and Muller."""
    if dtype == tf.float64:
        pairs = [(_double(*words[:2]), _double(*words[2:]))]
    else:
        pairs = [(_single(words[0]), _single(words[1])), (_single(words[2]), _single(words[3]))]
    found = []
    for one, other in pairs:
        far = tf.sqrt(-2.0 * tf.math.log(tf.maximum(one, tf.constant(_SMALLEST, one.dtype))))
        angle = tf.constant(2 * math.pi, one.dtype) * other
        found += [tf.sin(angle) * far, tf.cos(angle) * far]
    return tf.cast(tf.stack(found, axis=-1), dtype)


def _philox(counter: Words, key: Words) -> Words:
    one, two, three, four = counter
    for turn in range(_ROUNDS):
        raised = [word + tf.constant(turn * by % 2**32, tf.uint32) for word, by in zip(key, _RAISES, strict=True)]
        (low_1, high_1), (low_2, high_2) = (
            _halves(tf.cast(word, tf.uint64) * tf.constant(by, tf.uint64))
            for word, by in zip((one, three), _MULTIPLIERS, strict=True)
        )
        one, two, three, four = high_2 ^ two ^ raised[0], low_2, high_1 ^ four ^ raised[1], low_1
    return [one, two, three, four]


def _halves(whole: tf.Tensor) -> Words:
    """The low and the high word of 64 bits."""
    low = tf.bitwise.bitwise_and(whole, tf.constant(0xFFFFFFFF, tf.uint64))
    return [tf.cast(low, tf.uint32), tf.cast(tf.bitwise.right_shift(whole, tf.constant(32, tf.uint64)), tf.uint32)]


def _whole(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    shifted = tf.bitwise.left_shift(tf.cast(high, tf.uint64), tf.constant(32, tf.uint64))
    return tf.bitwise.bitwise_or(shifted, tf.cast(low, tf.uint64))


def _short(word: tf.Tensor, dtype: Any) -> tf.Tensor:
    """A few bits as the digits of a number in [1, 2), less 1."""
    count, exponent = _DIGITS_OF_16[dtype]
    digits = tf.bitwise.bitwise_and(word, tf.constant(2**count - 1, tf.uint32))
    number = tf.bitwise.bitwise_or(digits, tf.constant(exponent << count, tf.uint32))
    return tf.bitcast(tf.cast(number, tf.uint16), dtype) - tf.constant(1, dtype)


def _single(word: tf.Tensor) -> tf.Tensor:
    """23 bits, the same."""
    digits = tf.bitwise.bitwise_and(word, tf.constant(0x7FFFFF, tf.uint32))
    return tf.bitcast(tf.bitwise.bitwise_or(digits, tf.constant(127 << 23, tf.uint32)), tf.float32) - 1.0


def _double(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """52 bits, the same."""
    digits = _whole(second, tf.bitwise.bitwise_and(first, tf.constant(0xFFFFF, tf.uint32)))
    return tf.bitcast(tf.bitwise.bitwise_or(digits, tf.constant(1023 << 52, tf.uint64)), tf.float64) - 1.0
