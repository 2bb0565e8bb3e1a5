"""Looks over Keras's shoulder while a model is built: which seeds were drawn, and what made each variable."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.initializers.random_initializers import RandomInitializer
from keras.src.random import seed_generator

_NAMES = "object_name_uids"


@dataclass(frozen=True)
class Maker:
    """What made the first value of a variable.

    Attributes:
        variable: The variable; it is kept, so that its identity stays its own.
        initializer: Takes a shape and `dtype`.
    """

    variable: Any
    initializer: Callable[..., Any]

    def __call__(self) -> Any:
        """The first value once more, a tensor."""
        variable = self.variable
        return self.initializer(variable._shape, dtype=variable._dtype)  # `dtype` would follow an autocast scope


@dataclass
class Sight:
    """What was seen of a build.

    Attributes:
        seeds: Those that Keras drew from Python's stream, in order.
        initializers: The random initializers that were made.
        makers: By the identity of the variable; a variable that was given its value outright has none.
    """

    seeds: list[int] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    makers: dict[int, Maker] = field(default_factory=dict)


@contextmanager
def watched() -> Iterator[Sight]:
    """Watches what is built inside, and leaves nothing behind in Keras, whatever is raised."""
    seen = Sight()
    kind = keras.src.backend.Variable
    python_random, makes, begins = (
        seed_generator.python_random,
        kind._initialize_with_initializer,
        RandomInitializer.__init__,
    )

    def randint(low: int, high: int) -> int:
        seen.seeds.append(random.randint(low, high))
        return seen.seeds[-1]

    def initialize_with_initializer(variable: Any, initializer: Callable[..., Any]) -> None:
        makes(variable, initializer)
        seen.makers[id(variable)] = Maker(variable, initializer)

    def begin(initializer: Any, *args: Any, **kwargs: Any) -> None:
        begins(initializer, *args, **kwargs)
        seen.initializers.append(initializer)

    own = "_initialize_with_initializer" in vars(kind)
    try:
        seed_generator.python_random = SimpleNamespace(randint=randint)
        kind._initialize_with_initializer = initialize_with_initializer
        RandomInitializer.__init__ = begin
        yield seen
    finally:
        seed_generator.python_random = python_random
        RandomInitializer.__init__ = begins
        if own:
            kind._initialize_with_initializer = makes
        else:
            del kind._initialize_with_initializer


@contextmanager
def fresh_names() -> Iterator[None]:
    """Has Keras number the names of layers and optimizers from the beginning, as in a new session."""
    before = global_state.get_global_attribute(_NAMES)
    global_state.set_global_attribute(_NAMES, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(_NAMES, before)
