"""The initial values of a model for any seed, without building the model again.

Trials of a cohort differ in nothing but numbers, and building a Keras model costs more than training one of them. For a
seed, `fit` sets all random streams by it and builds the model; each random initializer and each seed generator then
draws a seed of its own from Python's stream, in the order in which they are made, and a first value depends on nothing
but its initializer, that seed, shape and type. So one build is watched, and what drew and what was made by whom is
replayed with other seeds.

A build may do more than that: a user's own function may draw from NumPy, read a file, or count its calls. A replay is
therefore proven before it is used: for the seed that was watched and for a second one it must give what building gives,
bit for bit, and leave the streams where building leaves them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.training.lanes.drawing import same, seeds_of, streams_of, undisturbed
from pipelines.training.lanes.watching_builds import Maker, Sight, fresh_names, watched
from pipelines.training.randomness import restore_streams, streams

Build = Callable[[int], keras.Model]
"""Sets all random streams by a seed, as `keras.utils.set_random_seed` does, and makes the compiled model for it."""
_log = logging.getLogger(__name__)
_CONSTANT = (
    keras.initializers.Constant,
    keras.initializers.Zeros,
    keras.initializers.Ones,
    keras.initializers.Identity,
)


def record(build: Build, seed: int) -> tuple[keras.Model, Replay | None]:
    """Builds the model for a seed, and finds out how to have the initial values for others without building.

    The process's random streams are then where building the model leaves them. Layers and optimizer are named as in a
    new Keras session.

    Args:
        build: Makes the model; it is called once more with another seed, for the proof.
        seed: A whole number, 0 or greater.

    Returns:
        The model, and its replay; None instead of that where each model has to be built, as its build does more than
        draw seeds.
    """
    generator = streams()["generator"]  # the one stream that a seed does not set
    with fresh_names(), watched() as seen:
        model = build(seed)
    left = streams()
    try:
        replay = _proven(build, seed, model, seen, left, generator)
    except _Unlike as reason:
        _log.info("The models of this cohort are built one by one: %s", reason)
        replay = None
    finally:
        keras.utils.set_random_seed(seed)
        restore_streams(left)
    return model, replay


class Replay:
    """Gives what building a model would give, for any seed. Neither call moves a random stream."""

    def __init__(self, drawn: int, makes: _Makes, places: Sequence[int], first: Sequence[_First]) -> None:
        """Takes what `record` found out.

        Args:
            drawn: How many seeds a build draws.
            makes: Gives the values that are made anew for each seed.
            places: Where in `first` each of those belongs.
            first: What is known of each variable, in order.
        """
        self._drawn = drawn
        self._makes = makes
        self._places = places
        self._first = first

    def values(self, seed: int) -> list[np.ndarray]:
        """The first values of `model.variables`, in order; those that no seed changes are shared and read-only."""
        return self._values(seeds_of(seed, self._drawn))

    def streams(self, seed: int) -> dict[str, Any]:
        """What `pipelines.training.randomness.streams` says right after the model was built for the seed."""
        return streams_of(seed, self._drawn, streams()["generator"])

    def _values(self, seeds: Sequence[int]) -> list[np.ndarray]:
        values = [one.value(seeds) for one in self._first]
        for place, value in zip(self._places, self._makes(seeds), strict=True):
            values[place] = value
        return values


_Makes = Callable[[Sequence[int]], list[np.ndarray]]


@dataclass(frozen=True)
class _First:
    """The first value of one variable.

    Attributes:
        seen: What it was for the seed that was watched.
        draw: For the state of a seed generator, which of the seeds that were drawn it begins with.
    """

    seen: np.ndarray
    draw: int | None = None

    def value(self, seeds: Sequence[int]) -> np.ndarray:
        if self.draw is None:
            return self.seen
        value = self.seen.copy()
        value[0] = seeds[self.draw]
        return value


class _Unlike(Exception):
    """The initial values cannot be replayed; the message says why."""


class _GivenSeed(keras.random.SeedGenerator):  # type: ignore[misc]
    """Lends an initializer a seed that may be symbolic, where it takes whole numbers only."""

    def __init__(self, seed: Any) -> None:
        # not the base's, which would make a variable
        self._seed = seed

    def next(self, ordered: bool = True) -> Any:
        return tf.stack([self._seed, tf.zeros_like(self._seed)])


def _proven(
    build: Build, seed: int, model: keras.Model, seen: Sight, left: Mapping[str, Any], generator: Any
) -> Replay:
    """The replay of a build.

    Raises:
        _Unlike: There is none that gives the same as building.
    """
    count = len(seen.seeds)
    _compare(streams_of(seed, count, generator), left)
    if seeds_of(seed, count) != seen.seeds or len(set(seen.seeds)) < count:
        raise _Unlike("what it draws is not what Keras draws for a seed")
    if any(not isinstance(one.seed, int) for one in seen.initializers):
        raise _Unlike("an initializer draws from a seed generator, which remembers how often it was asked")
    built = [_frozen(variable.numpy()) for variable in model.variables]
    with undisturbed():
        first, makers = _understood(model, built, seen)
    other = seed + 1
    try:
        with fresh_names(), watched() as again:
            second = build(other)
    except Exception as problem:  # a user's function may not like to be called twice
        raise _Unlike(f"it could not be built for a second seed: {problem}") from problem
    _compare(streams_of(other, count, generator), streams())
    if again.seeds != seeds_of(other, count):
        raise _Unlike("what it draws for a second seed is not what Keras draws for it")
    if _config(model) != _config(second):
        raise _Unlike("it makes another model for a second seed")
    wanted = [(seed, built), (other, [variable.numpy() for variable in second.variables])]
    holders = [
        (one, seen.seeds.index(one.seed)) for one in seen.initializers if one.seed in seen.seeds and not _given(one)
    ]
    for make in (_compiled, _one_by_one):
        replay = Replay(count, make(list(makers.values()), holders, count), list(makers), first)
        if _agrees(replay, wanted):
            return replay
    raise _Unlike("the values of a second seed are not what its initializers make of it")


def _understood(model: keras.Model, built: Sequence[np.ndarray], seen: Sight) -> tuple[list[_First], dict[int, Maker]]:
    """What is known of each variable, and the makers of those that are made anew, by place."""
    first, makers = [], {}
    for place, (variable, value) in enumerate(zip(model.variables, built, strict=True)):
        draw = None
        if value.shape == (2,) and value.dtype.kind in "iu" and int(value[0]) in seen.seeds:
            draw = seen.seeds.index(int(value[0]))
        first.append(_First(value, draw))
        maker = seen.makers.get(id(variable))
        if draw is None and maker is not None and _makes_again(maker, value):
            makers[place] = maker
    return first, makers


def _makes_again(maker: Maker, value: np.ndarray) -> bool:
    """Whether a value has to be made for each seed. What was set after the variable was made stays as it is."""
    if isinstance(maker.initializer, _CONSTANT) or _given(maker.initializer):
        return False
    try:
        return same(np.asarray(maker()), value)
    except Exception as problem:  # a user's own initializer may not like to be called twice
        _log.debug("The initializer of %s cannot be called again: %s", maker.variable.path, problem)
        return False


def _compiled(makers: Sequence[Maker], holders: Sequence[tuple[Any, int]], count: int) -> _Makes:
    """Makes all values in one call of a TensorFlow function."""

    @tf.function(input_signature=[tf.TensorSpec([count], tf.int64)], autograph=False)  # type: ignore[untyped-decorator]
    def make(seeds: Any) -> list[Any]:
        with _lent(holders, [_GivenSeed(seeds[draw]) for _, draw in holders]):
            return [maker() for maker in makers]

    def makes(seeds: Sequence[int]) -> list[np.ndarray]:
        return [tensor.numpy() for tensor in make(tf.constant(seeds, tf.int64, [count]))] if makers else []

    return makes


def _one_by_one(makers: Sequence[Maker], holders: Sequence[tuple[Any, int]], _: int) -> _Makes:
    """Has each initializer make its value, as Keras does; for those that a TensorFlow function cannot hold."""

    def makes(seeds: Sequence[int]) -> list[np.ndarray]:
        with _lent(holders, [seeds[draw] for _, draw in holders]):
            return [np.asarray(maker()) for maker in makers]

    return makes


@contextmanager
def _lent(holders: Sequence[tuple[Any, int]], seeds: Sequence[Any]) -> Iterator[None]:
    """Gives initializers other seeds for a while."""
    own = [initializer.seed for initializer, _ in holders]
    try:
        for (initializer, _), seed in zip(holders, seeds, strict=True):
            initializer.seed = seed
        yield
    finally:
        for (initializer, _), seed in zip(holders, own, strict=True):
            initializer.seed = seed


def _given(initializer: Any) -> bool:
    """Whether the seed is the user's own, and not drawn."""
    return getattr(initializer, "_init_seed", None) is not None


def _agrees(replay: Replay, wanted: Sequence[tuple[int, Sequence[np.ndarray]]]) -> bool:
    """Whether a replay gives what was built, and moves no stream by it."""
    with undisturbed() as before:
        try:
            right = all(same(replay.values(seed), values) for seed, values in wanted)
        except Exception as problem:  # an initializer of the user's own may do anything
            _log.debug("Initial values cannot be made in this way: %s", problem)
            return False
        return right and same(streams(), before)


def _compare(wanted: Mapping[str, Any], left: Mapping[str, Any]) -> None:
    moved = [name for name in wanted if not same(wanted[name], left[name])]
    if moved:
        raise _Unlike(f"it moves random streams in a way of its own: {', '.join(moved)}")


def _config(model: keras.Model) -> str:
    """The settings of all layers, and how the model was compiled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what could not be loaded again
        try:
            found: str = model.to_json()
        except Exception as problem:
            raise _Unlike(f"its settings cannot be told: {problem}") from problem
    return found


def _frozen(value: Any) -> np.ndarray:
    found = np.asarray(value)
    found.flags.writeable = False
    return found
