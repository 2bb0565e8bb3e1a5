"""What stands between raw samples and a network: scaling, missing numbers, categories, and features of points.

All of it is made of Keras's own layers and operations from the facts alone, has nothing to train, and is saved,
exported and compiled with the model. It stays in float32, whatever precision the network behind it uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.inputs import Column, InputFacts, Kind
from pipelines.models.base import Feature, Scaling

if TYPE_CHECKING:
    import keras

INPUT_NAMES: Mapping[Kind, str] = {"image": "image", "table": "row", "points": "point"}
"""Name of the input layer, and so of the served input."""
COORDINATES: tuple[Feature, ...] = ("x1", "x2")
_AUTO: Mapping[Kind, Scaling] = {"image": "range", "table": "standard", "points": "none"}


def scaling_of(scaling: Scaling, kind: Kind) -> Scaling:
    """The scaling that `auto` stands for with such samples; any other as it is."""
    return _AUTO[kind] if scaling == "auto" else scaling


def scaling_misfit(scaling: Scaling, inputs: InputFacts) -> str | None:
    """Why such samples cannot be scaled so, as a sentence without its subject; None where they can."""
    chosen = scaling_of(scaling, inputs.kind)
    if chosen == "range" and (inputs.low is None or inputs.high is None or not inputs.low < inputs.high):
        known = "nobody can say" if inputs.low is None or inputs.high is None else f"is {inputs.low} to {inputs.high}"
        return f"'range' needs the range of the raw values, which {known} for this data; use standard, or none"
    if chosen == "standard" and not _has_spread(inputs):
        return f"'standard' needs means and deviations, and {len(inputs.mean)} were fitted; use range, or none"
    return None


def input_layer(inputs: InputFacts) -> Any:
    """The symbolic input: float32 (n, *shape) raw values."""
    import keras

    return keras.Input(inputs.shape, name=INPUT_NAMES[inputs.kind], dtype="float32")


def preparation(inputs: InputFacts, scaling: Scaling, features: Sequence[Feature]) -> list[keras.layers.Layer]:
    """The layers that raw samples go through first; none where they can stay as they are.

    An image keeps its shape. A table becomes (n, features): its number columns in order, then for each column of
    categories one place for an unknown word and one a known word. Points become (n, features).
    """
    scaling = scaling_of(scaling, inputs.kind)
    if inputs.kind == "table":
        return [_table(inputs, scaling)]
    if inputs.kind == "points" and tuple(features) != COORDINATES:
        return [_points(inputs, scaling, features)]
    return _scaling_layers(inputs, scaling)


def _has_spread(inputs: InputFacts) -> bool:
    return bool(inputs.mean) and len(inputs.mean) == len(inputs.deviation) in (1, inputs.shape[-1])


def _scaling_layers(
    inputs: InputFacts, scaling: Scaling, places: Sequence[int] | None = None
) -> list[keras.layers.Layer]:
    """Layers that scale along the last axis; `places` are those of the columns that are left there.

    Not keras.layers.Normalization: tf2onnx makes inputs of its constants. And in two steps, as x * a + b would lose the
    digits of a column whose values are far from zero and close to each other, such as years.
    """
    import keras

    if scaling == "range":
        low, high = inputs.low or 0.0, inputs.high or 0.0
        scale = 1.0 / (high - low)
        return [keras.layers.Rescaling(scale, offset=-low * scale, dtype="float32", name="scale")]
    if scaling == "standard":
        chosen = range(len(inputs.mean)) if places is None else places
        offset = [-inputs.mean[place] for place in chosen]
        factor = [1.0 / inputs.deviation[place] for place in chosen]
        if len(offset) == 1:
            return _centred(offset[0], factor[0])
        return _centred(offset, factor)
    return []


def _centred(offset: float | list[float], scale: float | list[float]) -> list[keras.layers.Layer]:
    import keras

    return [
        keras.layers.Rescaling(1.0, offset=offset, dtype="float32", name="center"),
        keras.layers.Rescaling(scale, dtype="float32", name="scale"),
    ]


def _table(inputs: InputFacts, scaling: Scaling) -> keras.Model:
    """Float32 (n, columns) with NaN and codes of words in, float32 (n, features) out."""
    import keras

    columns = inputs.columns
    row = input_layer(inputs)
    numbers = [place for place, column in enumerate(columns) if column.words is None]
    parts = []
    if numbers:
        parts.append(_numbers(row, numbers, inputs, scaling))
    if len(numbers) < len(columns):
        parts.append(_categories(row, columns))
    flow = keras.layers.Concatenate(name="features", dtype="float32")(parts) if len(parts) > 1 else parts[0]
    return keras.Model(row, flow, name="preparation")


def _numbers(row: Any, places: Sequence[int], inputs: InputFacts, scaling: Scaling) -> Any:
    """The number columns, each missing number the column's mean, scaled."""
    import keras
    import numpy as np

    flow = row if len(places) == inputs.shape[0] else keras.ops.take(row, list(places), axis=1)
    means = np.array([inputs.mean[place] for place in places], np.float32)
    flow = keras.ops.where(keras.ops.isnan(flow), means, flow)
    for layer in _scaling_layers(inputs, scaling, places):
        flow = layer(flow)
    return flow


def _categories(row: Any, columns: Sequence[Column]) -> Any:
    """One-hot: each column is taken once a place it needs, and compared with the code of that place."""
    import keras
    import numpy as np

    wanted = [
        (place, code)
        for place, column in enumerate(columns)
        if column.words is not None
        for code in range(len(column.words) + 1)
    ]
    repeated = keras.ops.take(row, [place for place, _ in wanted], axis=1)
    codes = np.array([code for _, code in wanted], np.float32)
    return keras.ops.cast(keras.ops.equal(repeated, codes), "float32")


def _points(inputs: InputFacts, scaling: Scaling, features: Sequence[Feature]) -> keras.Model:
    """Float32 (n, 2) in, float32 (n, features) out. The coordinates are scaled before features are made of them."""
    import keras

    point = flow = input_layer(inputs)
    for layer in _scaling_layers(inputs, scaling):
        flow = layer(flow)
    x1, x2 = flow[:, 0:1], flow[:, 1:2]
    made = {
        "x1": lambda: x1,
        "x2": lambda: x2,
        "x1_squared": lambda: keras.ops.square(x1),
        "x2_squared": lambda: keras.ops.square(x2),
        "x1_x2": lambda: x1 * x2,
        "sin_x1": lambda: keras.ops.sin(x1),
        "sin_x2": lambda: keras.ops.sin(x2),
    }
    parts = [made[feature]() for feature in features]
    flow = keras.layers.Concatenate(name="features", dtype="float32")(parts) if len(parts) > 1 else parts[0]
    return keras.Model(point, flow, name="preparation")
