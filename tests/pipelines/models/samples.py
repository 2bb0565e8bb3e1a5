"""Facts, heads and raw samples of every kind, for the tests of models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.inputs import Column, InputFacts
from pipelines.tasks import Head, Task

CLASSES = ("a", "b", "c")
GREY = InputFacts((8, 8), 0.0, 16.0, CLASSES, "image", mean=(5.0,), deviation=(4.0,))
COLOUR = InputFacts((9, 8, 3), 0.0, 255.0, CLASSES, "image", mean=(100.0, 120.0, 140.0), deviation=(50.0, 60.0, 70.0))
TABLE = InputFacts(
    (5,),
    None,
    None,
    CLASSES,
    "table",
    (
        Column("age"),
        Column("colour", ("red", "blå", "x\ny")),
        Column("year"),
        Column("size (cm)"),
        Column("town", ("Ulm", " Ulm")),
    ),
    "kind",
    (40.0, 0.0, 1990.0, 2.0, 0.0),
    (10.0, 1.0, 8.0, 0.5, 1.0),
)
NUMBERS = InputFacts(
    (3,), None, None, CLASSES, "table", tuple(map(Column, "abc")), "", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
)
POINTS = InputFacts((2,), -6.0, 6.0, ("orange", "blue"), "points", mean=(0.5, -1.0), deviation=(3.0, 2.0))
KINDS = {"grey": GREY, "colour": COLOUR, "table": TABLE, "numbers": NUMBERS, "points": POINTS}
HEADS = {
    "multiclass": Head(Task.MULTICLASS, 3, "softmax"),
    "binary": Head(Task.BINARY, 1, "sigmoid"),
    "regression": Head(Task.REGRESSION, 1, "linear", scale=7.0, offset=150.0),
    "plain regression": Head(Task.REGRESSION, 1, "linear"),
}
MULTICLASS = HEADS["multiclass"]
ALL_FEATURES = ("x1", "x2", "x1_squared", "x2_squared", "x1_x2", "sin_x1", "sin_x2")
APIS = ("sequential", "functional")


def raw(facts: InputFacts, count: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """Raw samples float32 (count, *shape): a table's with missing numbers and unknown words."""
    random = np.random.default_rng(seed)
    if facts.kind != "table":
        assert facts.low is not None
        assert facts.high is not None
        return random.uniform(facts.low, facts.high, (count, *facts.shape)).astype(np.float32)
    x = random.normal(facts.mean, facts.deviation, (count, *facts.shape)).astype(np.float32)
    for place, column in enumerate(facts.columns):
        if column.words is None:
            x[place % count, place] = np.nan
        else:
            x[:, place] = random.integers(0, len(column.words) + 1, count)
            x[0, place] = 0
    return x


def targets(head: Head, count: int = 6, seed: int = 0) -> NDArray[Any]:
    """Truth in the form that `LOSSES` take."""
    random = np.random.default_rng(seed)
    if head.task is Task.MULTICLASS:
        return random.integers(0, head.units, count)
    if head.task is Task.BINARY:
        return random.integers(0, 2, (count, 1)).astype(np.float32)
    return random.normal(150, 7, (count, 1)).astype(np.float32)


LOSSES = {
    Task.MULTICLASS: "sparse_categorical_crossentropy",
    Task.BINARY: "binary_crossentropy",
    Task.REGRESSION: "mean_squared_error",
}


def build(
    keras: Any, spec: type[Any], facts: InputFacts = GREY, head: Head = MULTICLASS, seed: int = 1, **settings: Any
) -> Any:
    """The model of a kind with some settings, as a recipe has them."""
    keras.utils.set_random_seed(seed)
    return spec.model_validate(settings).build(facts, head)


def outputs(keras: Any, model: Any, x: NDArray[Any]) -> Any:
    """What a model says, as an array."""
    return keras.ops.convert_to_numpy(model(x, training=False))


def same_weights(one: Any, other: Any) -> bool:
    """Whether two models have equal weights, in the same order."""
    ours, theirs = one.get_weights(), other.get_weights()
    return len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
