"""A model of which one kind can be trained in lanes and the other cannot. Workers import this module by its name."""

from __future__ import annotations

from typing import Any

import keras


def digits(inputs: Any, head: Any, embeds: bool) -> keras.Model:
    """For digits, by the numbers of their pixels or by a vector for each of the 17 numbers that a pixel can be."""
    shown = keras.Input(inputs.shape)
    x = shown
    if embeds:
        x = keras.layers.Embedding(17, 2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, "relu")(x)
    return keras.Model(shown, keras.layers.Dense(head.units, head.activation)(x))
