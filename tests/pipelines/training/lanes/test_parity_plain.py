"""A third opinion: lanes against a plain `Model.fit` that is written out here and knows nothing of Regatta's training.

Initial weights follow from `keras.utils.set_random_seed(seed)` before the model is made, the order of samples in epoch
`e` from `stateless_shuffle(range(n), seed=(seed, e))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.records import EpochEnded
from tests.pipelines.training.lanes.parity import DOUBLE, Config, Parity, assert_close, assert_close_arrays, precision
from tests.pipelines.training.lanes.parity_cases import OWN

Made = tuple[list[Any], Any]
Make = Callable[[Any], Made]


def adam(keras: Any) -> Made:
    layers = keras.layers
    hidden = [layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(6, "tanh")]
    return hidden, keras.optimizers.Adam(0.01, beta_1=0.9, beta_2=0.99)


def nesterov(keras: Any) -> Made:
    penalty = keras.regularizers.L1L2(l1=0.0, l2=0.01)
    hidden = [keras.layers.Flatten(), keras.layers.Dense(8, "silu", kernel_regularizer=penalty)]
    return hidden, keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5)


def normalised(keras: Any) -> Made:
    layers = keras.layers
    hidden = [
        layers.Flatten(),
        layers.Dense(8, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.Dropout(0.3),
    ]
    return hidden, keras.optimizers.RMSprop(0.003, rho=0.8, momentum=0.5)


def convolving(keras: Any) -> Made:
    layers = keras.layers
    hidden = [
        layers.Reshape((6, 6, 1)),
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.5),
        layers.Flatten(),
    ]
    return hidden, keras.optimizers.AdamW(0.01, beta_1=0.9, beta_2=0.99, weight_decay=0.03)


CASES: dict[str, tuple[Config, Make]] = {
    "adam": (
        {
            "model": {"units": [8, 6], "activation": ["relu", "tanh"]},
            "optimizer": {"name": "adam", "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99},
        },
        adam,
    ),
    "nesterov": (
        {
            "model": {"units": [8], "activation": "silu", "l2": [0.01]},
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "clipnorm": 0.5},
        },
        nesterov,
    ),
    "normalised": (
        {
            "model": {"units": [8], "batch_norm": True, "use_bias": False, "dropout": 0.3},
            "optimizer": {"name": "rmsprop", "learning_rate": 0.003, "rho": 0.8, "momentum": 0.5},
        },
        normalised,
    ),
    "convolving": (
        {
            "model": {"name": "cnn", "filters": [4], "dropout": 0.5},
            "optimizer": {
                "name": "adamw", "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.03,
            },
        },
        convolving,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def parity(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parity]:
    with precision("float64"):
        yield Parity(tmp_path_factory.mktemp("parity"))


def plain_fit(keras: Any, make: Make, folder: Path, seed: int, epochs: int, batch: int) -> tuple[Any, list[Any]]:
    """The model, and its logs."""
    import tensorflow as tf

    (x, y), held_out = (
        (np.load(folder / f"{part}-x.npy"), np.load(folder / f"{part}-y.npy")) for part in ("train", "validation")
    )
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    hidden, optimizer = make(keras)
    scale = keras.layers.Rescaling(1 / 255, dtype="float32")
    classes = int(y.max()) + 1
    model = keras.Sequential(
        [keras.Input(x.shape[1:], dtype="float32"), scale, *hidden, keras.layers.Dense(classes, "softmax")]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    logs = []
    for epoch in range(epochs):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(x)), seed=tf.constant([seed, epoch], tf.int64)
        ).numpy()
        history = model.fit(
            x[order].astype(np.float32),
            y[order],
            batch_size=batch,
            shuffle=False,
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=(held_out[0].astype(np.float32), held_out[1]),
            validation_batch_size=1024,
            verbose=0,
        )
        logs.append({name: values[0] for name, values in history.history.items()})
    return model, logs


def test_lanes_agree_with_fit_as_anybody_would_write_it(parity: Parity, keras: Any) -> None:
    # the last epoch is the best, so that the file has the weights that the plain model has then
    ranking = {"name": "class", "path": f"{OWN}:Ranking"}
    last = {"objective": "rank", "direction": "maximize", "callbacks": {"ranking": ranking}}
    configs = {name: {**config, **last, "seed": seed} for seed, (name, (config, _)) in enumerate(CASES.items())}
    lanes = parity.lanes(configs)
    for seed, (name, (_, make)) in enumerate(CASES.items()):
        lane = lanes[name]
        assert lane.in_a_lane, lane.trainer
        model, logs = plain_fit(keras, make, Path(lane.spec.data), seed, epochs=3, batch=32)
        for event, wanted in zip(lane.of(EpochEnded), logs, strict=True):
            told = {key: event.metrics[key] for key in wanted}
            assert_close(told, wanted, DOUBLE, f"{name}, epoch {event.epoch}")
        loaded = keras.saving.load_model(lane.best)
        for mine, theirs in zip(loaded.weights, model.weights, strict=True):
            assert_close_arrays(mine.numpy(), theirs.numpy(), DOUBLE, f"{name}: {theirs.path}")
        for mine, theirs in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
            assert_close_arrays(mine.numpy(), theirs.numpy(), DOUBLE, f"{name}: {theirs.path}")
