"""The random streams of a process: Python's, NumPy's, TensorFlow's and Keras's own.

Layers carry theirs among their variables. What an operation such as `tf.random.normal` inside a compiled function draws
is TensorFlow's own secret and cannot be kept; Keras uses none of these.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, SeedGenerator
from tensorflow.python.eager import context
from tensorflow.python.ops import stateful_random_ops


class Streams(Protocol):
    """All random streams of a training."""

    def read(self) -> dict[str, Any]:
        """Where they stand, in a form that can be packed. Looking does not move them."""

    def write(self, kept: dict[str, Any]) -> None:
        """Puts them to where they stood."""


class ProcessStreams:
    """The streams of this process, for a training that has it for itself."""

    def read(self) -> dict[str, Any]:
        """See `Streams`."""
        return streams()

    def write(self, kept: dict[str, Any]) -> None:
        """See `Streams`."""
        restore_streams(kept)


def streams() -> dict[str, Any]:
    """Where all streams stand. Looking does not move them."""
    keras_own = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    of_operations = getattr(context.context(), "_rng", None)
    generator = stateful_random_ops.global_generator  # `get_global_generator` would make one
    return {
        "python": _frozen(random.getstate()),
        "numpy": np.random.get_state(legacy=False),
        "keras": None if keras_own is None else keras_own.state.numpy(),
        "seed": context.global_seed(),
        "operations": None if of_operations is None else _frozen(of_operations.getstate()),
        "generator": None if generator is None else [generator.algorithm, generator.state.numpy()],
    }


def restore_streams(kept: dict[str, Any]) -> None:
    """Puts all streams to where they stood."""
    random.setstate(_thawed(kept["python"]))
    np.random.set_state(kept["numpy"])
    if kept["keras"] is None:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)
    else:
        own = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
        if own is None:
            own = SeedGenerator(seed=0)  # a seed of its own would be drawn from Python's stream
            global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, own)
        own.state.assign(kept["keras"])
    if "seed" in kept:  # not in a state of an older version
        context.context()._seed = kept["seed"]  # what sets it properly would begin the next stream anew
    of_operations = getattr(context.context(), "_rng", None)
    if of_operations is not None and kept["operations"] is not None:
        of_operations.setstate(_thawed(kept["operations"]))
    if kept["generator"] is not None:
        algorithm, state = kept["generator"]
        generator = stateful_random_ops.global_generator
        if generator is not None and generator.algorithm == algorithm:
            generator.state.assign(state)
        else:
            stateful_random_ops.set_global_generator(stateful_random_ops.Generator.from_state(state, algorithm))


def begin_operations_anew() -> None:
    """Has operations that draw begin their own streams anew, as they do where a seed is set."""
    context.context().clear_kernel_cache()


def _frozen(state: tuple[Any, ...]) -> list[Any]:
    version, numbers, gauss = state
    return [version, np.asarray(numbers, np.uint32), gauss]


def _thawed(kept: list[Any]) -> tuple[Any, ...]:
    version, numbers, gauss = kept
    return version, tuple(numbers.tolist()), gauss
