from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from pipelines.inputs import Column, InputFacts
from pipelines.models.hidden import BiasInitializer, KernelInitializer
from pipelines.recipe.config import TrainingConfig

CLASSES = ("a", "b", "c")
GREY = InputFacts((8, 8), 0.0, 16.0, CLASSES, "image", mean=(5.0,), deviation=(4.0,))
COLOUR = InputFacts((9, 8, 3), 0.0, 255.0, CLASSES, "image", mean=(1.0, 2.0, 3.0), deviation=(4.0, 5.0, 6.0))
COLUMNS = (Column("age"), Column("colour", ("red", "blue")), Column("year"))
TABLE = InputFacts((3,), None, None, CLASSES, "table", COLUMNS, "kind", (40.0, 0.0, 1990.0), (10.0, 1.0, 8.0))
PRICES = InputFacts((3,), None, None, (), "table", COLUMNS, "price", (40.0, 0.0, 9.0), (10.0, 1.0, 8.0), 150.0, 7.0)
POINTS = InputFacts((2,), -6.0, 6.0, ("orange", "blue"), "points", mean=(0.5, -1.0), deviation=(3.0, 2.0))
MODELS: dict[str, tuple[InputFacts, dict[str, Any]]] = {
    "dense": (GREY, {"units": [20, 10]}),
    "functional": (GREY, {"units": [20, 10], "api": "functional"}),
    "batch norm and dropout": (GREY, {"units": [20, 10], "batch_norm": True, "dropout": 0.3}),
    "no hidden layer": (GREY, {"units": []}),
    "linear": (GREY, {"name": "linear"}),
    "cnn": (COLOUR, {"name": "cnn", "filters": [4, 5], "units": [6], "dropout": 0.1, "batch_norm": True}),
    "cnn of grey": (GREY, {"name": "cnn", "filters": [4], "kernel_initializer": "orthogonal", "then": "global_max"}),
    "standard scaling": (COLOUR, {"units": [5], "scaling": "standard"}),
    "table": (TABLE, {"units": [7], "dropout": 0.5}),
    "regression": (PRICES, {"units": [7], "batch_norm": True}),
    "playground": (POINTS, {"units": [4, 2], "features": ["x1", "x1_squared", "sin_x2"], "activation": "tanh"}),
    "penalties": (GREY, {"units": [7], "l1": 1e-3, "l2": 1e-3, "max_norm": 2.0}),
    **{
        f"kernels {kernel}": (GREY, {"units": [12, 30], "kernel_initializer": kernel})
        for kernel in get_args(KernelInitializer)
    },
    **{f"biases {bias}": (GREY, {"units": [12, 8], "bias_initializer": bias}) for bias in get_args(BiasInitializer)},
}
Build = Callable[[int], Any]


@pytest.fixture(autouse=True)
def cleared(keras: Any) -> None:
    """Each test begins in a session without names, as a worker does."""
    keras.backend.clear_session(free_memory=False)


def builder(facts: InputFacts, **settings: Any) -> Build:
    """What `fit` does for a seed."""
    from pipelines.training.fit import build_model

    if facts.kind == "points":
        settings["dataset"] = {"name": "spiral"}  # a recipe may speak of features only where there are points
    return lambda seed: build_model(TrainingConfig.model_validate({**settings, "seed": seed}), facts, 10)


def own(keras: Any, make: Callable[[], list[Any]]) -> Build:
    """The same with layers of the user's own."""

    def build(seed: int) -> Any:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((6,)), *make(), keras.layers.Dense(2, "softmax", name="out")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build


def state() -> dict[str, Any]:
    from pipelines.training.randomness import streams

    return streams()


def equal(one: Any, other: Any) -> bool:
    """Whether streams stand at the same place."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(np.array_equal(one, other))


def bits(values: Any) -> list[tuple[Any, ...]]:
    return [(value.dtype, value.shape, value.tobytes()) for value in values]


def check_replay(build: Build, seeds: tuple[int, ...] = (3, 0, 77, 2**31 - 1)) -> None:
    """Records with the first seed, and compares with what really building gives."""
    from pipelines.training.lanes.initial import record

    model, replay = record(build, seeds[0])
    assert replay is not None
    left = state()
    for seed in seeds:
        values, streams = replay.values(seed), replay.streams(seed)
        assert equal(state(), left)
        built = build(seed)
        assert bits(values) == bits(variable.numpy() for variable in built.variables)
        assert equal(streams, state())
        left = state()
    # what was recorded is the model of its seed, and has not been touched
    assert bits(variable.numpy() for variable in model.variables) == bits(replay.values(seeds[0]))


@pytest.mark.parametrize("kind", MODELS)
def test_a_replay_gives_what_building_anew_gives_bit_for_bit(keras: Any, kind: str) -> None:
    facts, settings = MODELS[kind]
    check_replay(builder(facts, model=settings), (3, 2**31 - 1))


def test_a_replay_serves_any_seed_and_outlives_a_cleared_session(keras: Any) -> None:
    from pipelines.training.lanes.initial import record

    facts, settings = MODELS["batch norm and dropout"]
    build = builder(facts, model=settings)
    _, replay = record(build, 5)
    assert replay is not None
    for seed in range(12):
        keras.backend.clear_session(free_memory=False)
        assert bits(replay.values(seed)) == bits(variable.numpy() for variable in build(seed).variables)


def test_a_replay_holds_for_other_precisions(keras: Any) -> None:
    before = keras.config.dtype_policy()
    try:
        for policy in ("mixed_float16", "bfloat16", "float64"):
            keras.config.set_dtype_policy(policy)
            check_replay(builder(GREY, model={"units": [9], "dropout": 0.2, "batch_norm": True}), (1, 2))
    finally:
        keras.config.set_dtype_policy(before)


def test_layers_of_the_users_own_choice_are_replayed(keras: Any) -> None:
    shared = keras.initializers.Constant(0.5)

    def recurrent() -> list[Any]:
        return [keras.layers.Reshape((3, 2)), keras.layers.LSTM(4, dropout=0.1)]

    def mixed() -> list[Any]:
        one_for_two = keras.initializers.HeNormal()  # both kernels of equal shape are equal
        scaled = keras.layers.Normalization(mean=np.ones(6), variance=np.full(6, 2.0))
        given = keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotNormal(seed=11))
        hidden = [keras.layers.Dense(6, kernel_initializer=one_for_two, bias_initializer=shared) for _ in range(2)]
        noisy = [keras.layers.GaussianNoise(0.1), keras.layers.AlphaDropout(0.1), keras.layers.Dropout(0.2, seed=4)]
        return [scaled, given, *hidden, *noisy, keras.layers.PReLU(alpha_initializer="random_uniform")]

    def bias_of_a_closure() -> list[Any]:
        inner = keras.initializers.RandomNormal()
        return [keras.layers.Dense(4, bias_initializer=lambda shape, dtype: 1 + inner(shape, dtype=dtype))]

    for make in (recurrent, mixed, bias_of_a_closure):
        check_replay(own(keras, make), (3, 4, 90))


def test_an_initializer_that_no_graph_can_hold_is_called_for_each_seed(keras: Any) -> None:
    class Signs(keras.initializers.RandomNormal):  # type: ignore[misc]
        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            drawn = np.random.default_rng(self.seed).integers(0, 2, tuple(shape))
            return keras.ops.convert_to_tensor(2.0 * drawn - 1.0, dtype=dtype)

    check_replay(own(keras, lambda: [keras.layers.Dense(1, kernel_initializer=Signs())]), tuple(range(3, 12)))


def test_weights_that_were_set_after_they_were_made_stay_as_they_are(keras: Any) -> None:
    def pretrained() -> list[Any]:
        layer = keras.layers.Dense(4)
        layer.build((None, 6))
        layer.set_weights([np.full((6, 4), 0.25, np.float32), np.zeros(4, np.float32)])
        return [layer]

    check_replay(own(keras, pretrained))


def wild_builds(keras: Any) -> dict[str, Callable[[], list[Any]]]:
    """Layers that depend on more than the seeds that Keras draws."""
    stream, calls = np.random.default_rng(0), iter(range(100))
    dense = keras.layers.Dense

    def kernel(value: Any) -> list[Any]:
        return [dense(4, kernel_initializer=keras.initializers.Constant(value))]

    def python() -> list[Any]:
        random.random()
        return [dense(4)]

    def reseeded() -> list[Any]:
        random.seed(1)
        return [dense(4)]

    def drawn_at_call() -> list[Any]:
        return [dense(4, kernel_initializer=lambda shape, dtype: keras.initializers.HeNormal()(shape, dtype))]

    def remembering() -> list[Any]:
        seeds = keras.random.SeedGenerator(keras.random.randint((), 1, 9, seed=1).numpy().item())
        return [dense(4, kernel_initializer=keras.initializers.HeNormal(seed=seeds))]

    def fragile() -> list[Any]:
        if next(calls) > 0:
            raise RuntimeError("only once")
        return [dense(4)]

    return {
        "NumPy's stream": lambda: kernel(np.random.normal(size=(6, 4))),
        "a stream of its own": lambda: kernel(stream.normal(size=(6, 4))),
        "Keras's global stream": lambda: kernel(keras.random.normal((6, 4))),
        "Python's stream": python,
        "a seed of its own": reseeded,
        "an initializer that is made when it is needed": drawn_at_call,
        "an initializer that remembers": remembering,
        "how often it was called, in a value": lambda: kernel(float(next(calls))),
        "how often it was called, in a setting": lambda: [keras.layers.Dropout(0.1 + next(calls) / 100)],
        "how often it was called, in the layers": lambda: [dense(4) for _ in range(1 + next(calls))],
        "being called once": fragile,
    }


@pytest.mark.parametrize("kind", [
    "NumPy's stream", "a stream of its own", "Keras's global stream", "Python's stream", "a seed of its own",
    "an initializer that is made when it is needed", "an initializer that remembers",
    "how often it was called, in a value", "how often it was called, in a setting",
    "how often it was called, in the layers", "being called once",
])  # fmt: skip
def test_a_build_that_depends_on_more_than_drawn_seeds_has_no_replay(keras: Any, kind: str) -> None:
    from pipelines.training.lanes.initial import record

    make = wild_builds(keras)
    assert kind in make
    model, replay = record(own(keras, make[kind]), 3)
    assert replay is None
    found = bits(variable.numpy() for variable in model.variables)
    assert found == bits(variable.numpy() for variable in own(keras, wild_builds(keras)[kind])(3).variables)


def test_streams_stand_where_the_build_left_them_whether_or_not_there_is_a_replay(keras: Any) -> None:
    from pipelines.training.lanes.initial import record

    for make in (lambda: [keras.layers.Dense(3)], wild_builds(keras)["NumPy's stream"]):
        build = own(keras, make)
        build(3)
        wanted = state()
        random.seed(99)
        record(build, 3)
        assert equal(state(), wanted)
        assert keras.src.utils.rng_utils.get_random_seed() == 3


def test_watching_leaves_no_trace_in_keras_also_where_a_build_fails(keras: Any) -> None:
    from keras.src.initializers.random_initializers import RandomInitializer
    from keras.src.random import seed_generator

    from pipelines.training.lanes.initial import record

    kind = keras.src.backend.Variable

    def touched() -> list[Any]:
        return [
            dict(vars(kind)),
            dict(vars(kind.__mro__[1])),
            dict(vars(RandomInitializer)),
            dict(vars(seed_generator)),
        ]

    def failing() -> list[Any]:
        raise RuntimeError("no such layer")

    before = touched()
    record(own(keras, lambda: [keras.layers.Dense(3)]), 3)
    assert touched() == before
    with pytest.raises(RuntimeError, match="no such layer"):
        record(own(keras, failing), 3)
    assert touched() == before
    assert seed_generator.python_random is random


def test_layers_are_named_as_in_a_new_session_and_the_session_goes_on_counting(keras: Any) -> None:
    from pipelines.training.lanes.initial import record

    keras.layers.Dense(1)
    keras.optimizers.Adam()
    model, replay = record(own(keras, lambda: [keras.layers.Dense(3), keras.layers.Dense(3)]), 3)
    assert replay is not None
    assert [layer.name for layer in model.layers] == ["dense", "dense_1", "out"]
    assert model.optimizer.name == "adam"
    assert keras.layers.Dense(1).name == "dense_1"


def test_shared_values_cannot_be_changed_by_mistake(keras: Any) -> None:
    from pipelines.training.lanes.initial import record

    _, replay = record(own(keras, lambda: [keras.layers.BatchNormalization()]), 3)
    assert replay is not None
    with pytest.raises(ValueError, match="read-only"):
        replay.values(3)[0][0] = 1.0


def test_a_training_begins_the_same_with_replayed_values(keras: Any) -> None:
    from pipelines.training.lanes.initial import record

    build = builder(GREY, model={"units": [9], "dropout": 0.4})
    x = np.random.default_rng(0).uniform(0, 16, (64, 8, 8)).astype(np.float32)
    y = np.arange(64) % 3
    wanted = build(8).fit(x, y, epochs=2, verbose=0, shuffle=False).history
    model, replay = record(build, 1)
    assert replay is not None
    for variable, value in zip(model.variables, replay.values(8), strict=True):
        variable.assign(value)
    assert model.fit(x, y, epochs=2, verbose=0, shuffle=False).history == wanted


def test_a_replay_is_many_times_faster_than_building(keras: Any) -> None:
    from pipelines.training.lanes.initial import record

    build = builder(GREY, model={"units": [100, 30], "dropout": 0.1})
    _, replay = record(build, 1)
    assert replay is not None

    def fastest(call: Callable[[int], Any]) -> float:
        times = []
        for seed in range(5):
            begun = time.perf_counter()
            call(seed)
            times.append(time.perf_counter() - begun)
        return min(times)

    assert fastest(replay.values) * 4 < fastest(build)
