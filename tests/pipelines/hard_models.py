"""Models of Keras's own parts that ONNX cannot hold, each for a reason of its own. Recipes name them as functions."""

from __future__ import annotations

from typing import Any


def spectrum(inputs: Any, head: Any, width: int = 16) -> Any:
    """Of pictures, by the frequencies of their rows: tf2onnx knows no RFFT."""
    import keras

    shown = keras.Input(inputs.shape, name="image")
    real, imaginary = keras.ops.rfft(shown)
    x = keras.layers.Flatten()(keras.layers.Concatenate()([real, imaginary]))
    x = keras.layers.Dense(width, "relu")(keras.layers.Rescaling(1 / 64)(x))
    return keras.Model(shown, keras.layers.Dense(head.units, head.activation, name=head.name)(x))


def turned(inputs: Any, head: Any) -> Any:
    """Of pictures that are turned a little while it trains: the random numbers stay in the graph."""
    import keras

    shown = keras.Input(inputs.shape, name="image")
    x = keras.layers.RandomRotation(0.05, seed=1)(keras.layers.Reshape((*inputs.shape, 1))(shown))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(x))
    return keras.Model(shown, keras.layers.Dense(head.units, head.activation, name=head.name)(x))


def shrunk(inputs: Any, head: Any) -> Any:
    """Of pictures made smaller by areas: its graph is good ONNX, and computes something else."""
    import keras

    shown = keras.Input(inputs.shape, name="image")
    x = keras.layers.Resizing(5, 5, interpolation="area")(keras.layers.Reshape((*inputs.shape, 1))(shown))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 4)(x))
    return keras.Model(shown, keras.layers.Dense(head.units, head.activation, name=head.name)(x))


def logarithms(inputs: Any, head: Any) -> Any:
    """Of tables, by the logarithms of their cells: tf2onnx knows no Log1p."""
    import keras

    shown = keras.Input(inputs.shape, name="row")
    x = keras.ops.log1p(keras.ops.nan_to_num(keras.ops.absolute(shown), nan=3.0))
    return keras.Model(shown, keras.layers.Dense(head.units, head.activation, name=head.name)(x))
