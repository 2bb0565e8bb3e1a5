"""The Keras callback behind `diagnostics`. Importing it imports TensorFlow.

The model runs once on a fixed batch, in inference mode and inside Keras's stateless scope, so that no weight, statistic
or random state moves. While that run is traced, every layer's `call` is listened to: this tells which tensors go from
layer to layer in any kind of model, nested and subclassed ones included.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pipelines.callbacks.verdict import WINDOW, Measurement, concerns, telling, verdict
from pipelines.pictures.layers import LAYERS, LayerState, Scales, layers_picture

MEASURED = (
    layers.Dense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
BETWEEN = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
)
"""What may stand between a layer and its activation."""
ACTIVATIONS = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU, layers.Softmax)
RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
}
DYING = ("relu", "relu6")
MOST_WEIGHTS = 4096
"""So many of a kernel, or up to twice as many, tell its size and how far it moved."""


@dataclass(frozen=True)
class _Call:
    """One layer at work: what went in, and what came out."""

    layer: Any
    inputs: list[Any]
    output: Any


class LayerProbe(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds `diagnostics/<layer>/<what>` to the logs of an epoch, draws the layers, and says at the end what is wrong.

    Attributes:
        notes: The verdict, when a training has ended.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        every: int,
        margin: float,
        draw: Callable[[int, str, bytes], None] | None = None,
    ) -> None:
        """Takes the batch (raw samples, and targets as the loss takes them), how often to measure, and who is shown."""
        super().__init__()
        self.notes: list[str] = []
        self._x, self._y = tf.constant(x), tf.constant(y)
        self._every = every
        self._margin = margin
        self._draw = draw
        self._forget()

    def _forget(self) -> None:
        self._names: list[str] = []
        self._kernels: dict[str, list[Any]] = {}
        self._compiled: Any = None
        self._scales = Scales()
        self._measured: list[Measurement] = []
        self._taken: deque[dict[str, np.ndarray]] = deque(maxlen=WINDOW)

    def get_state(self) -> dict[str, Any]:
        """What the next measurements and the verdict go by."""
        return {
            "scales": asdict(self._scales),
            "measured": [asdict(one) for one in self._measured],
            "taken": list(self._taken),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over the measurements of an earlier attempt."""
        self._scales = Scales(**state["scales"])
        self._measured = [
            Measurement(one["epoch"], tuple(LayerState(**layer) for layer in one["states"]), one["weights"])
            for one in state["measured"]
        ]
        self._taken.extend(state["taken"])

    def on_train_begin(self, logs: MutableMapping[str, Any] | None = None) -> None:
        """Forgets the model of an earlier training."""
        self._forget()

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, Any] | None = None) -> None:
        """Measures, and draws."""
        if epoch % self._every or logs is None:
            return
        if self._compiled is None:
            self._compiled = tf.function(self._run, autograph=False)
        values = self._compiled().numpy()  # the first time, this sets the names
        found = dict(zip(self._names, map(float, values), strict=True))
        self._note(epoch, found)
        if self._draw is not None:
            states = self._measured[-1].states
            self._scales = self._scales.grown(states)
            note = _validation(logs)
            png = layers_picture(states, self._scales, title=f"epoch {epoch}", note=note, warned=concerns(states))
            self._draw(epoch, LAYERS, png)
        logs.update({f"diagnostics/{name}": value for name, value in found.items()})

    def on_train_end(self, logs: MutableMapping[str, Any] | None = None) -> None:
        """Says the verdict."""
        if self._measured:
            self.notes.append(verdict(self._measured, self._moved()))

    def _note(self, epoch: int, found: Mapping[str, float]) -> None:
        by_layer: dict[str, dict[str, float]] = {}
        for name, value in found.items():
            layer, what = name.split("/")
            by_layer.setdefault(layer, {})[what] = value
        taken = {name: _some_of(kernels) for name, kernels in self._kernels.items()}
        sizes = {name: sum(int(np.prod(kernel.shape)) for kernel in self._kernels[name]) for name in taken}
        norms = {name: _norm(some) * (sizes[name] / some.size) ** 0.5 for name, some in taken.items() if some.size}
        self._taken.append(taken)
        states = tuple(LayerState(layer, **measures) for layer, measures in by_layer.items())
        self._measured = [*telling(self._measured), Measurement(epoch, states, norms)]

    def _moved(self) -> dict[str, float]:
        """By how much kernels changed from the first of the last measurements to the last, as a share of their norm."""
        first, last = self._taken[0], self._taken[-1]
        if first is last:
            return {}
        return {name: _norm(last[name] - some) / _norm(some) for name, some in first.items() if _norm(some) > 0}

    def _run(self) -> tf.Tensor:
        """All measures as one vector; tracing it sets the names and kernels that belong to them."""
        model = self.model
        weights = model.trainable_variables
        values = [tf.identity(weight.value) for weight in weights]
        with tf.GradientTape() as tape:
            tape.watch(values)
            scope = keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True)), collect_losses=True)
            with scope, _listening(model) as calls:
                predicted = model(self._x, training=False)
                loss = model.compute_loss(x=self._x, y=self._y, y_pred=predicted, training=False)
        slopes = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = {id(weight): slope for weight, slope in zip(weights, slopes, strict=True)}
        found: dict[str, Any] = {}
        graph = loss.graph
        # a tensor inside a loop, such as that of a recurrent cell, means nothing outside of it
        calls = [call for call in calls if getattr(call.output, "graph", graph) is graph]
        self._kernels = {}
        first: dict[int, _Call] = {}  # of a layer that is used more than once, its first use
        for call in calls:
            if isinstance(call.layer, MEASURED):
                first.setdefault(id(call.layer), call)
        for name, call in _named(list(first.values())):
            for what, value in _measures(call, calls, self._margin).items():
                found[f"{name}/{what}"] = value
            kernels = [weight for weight in call.layer.trainable_variables if "kernel" in weight.name]
            if kernels:
                self._kernels[name] = kernels
                found[f"{name}/gradient"] = tf.linalg.global_norm([gradients[id(kernel)] for kernel in kernels])
        self._names = list(found)
        return tf.stack([tf.cast(value, tf.float32) for value in found.values()]) if found else tf.zeros([0])


def _some_of(kernels: list[Any]) -> np.ndarray:
    """Weights from all over the kernels, few enough to be kept for some epochs."""
    picked = []
    for kernel in kernels:
        flat = np.asarray(kernel.value, np.float32).reshape(-1)
        picked.append(flat[:: max(1, flat.size // MOST_WEIGHTS)].copy())
    return np.concatenate(picked)


def _norm(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))


def _validation(logs: Mapping[str, Any]) -> str:
    """The validation loss and the first other validation metric, or what there is of training."""
    names = [name for name in logs if name.startswith("val_")] or ["loss"]
    names = [*(name for name in names if name == "val_loss"), *(name for name in names if name != "val_loss")]
    return ", ".join(f"{name} {float(logs[name]):.3g}" for name in names[:2] if name in logs)


@contextmanager
def _listening(model: keras.Model) -> Iterator[list[_Call]]:
    """Notes every call of a layer, but for those that only call the layers inside them."""
    calls: list[_Call] = []
    leaves = [layer for layer in _layers_of(model) if isinstance(layer, MEASURED) or not _inside(layer)]

    def listened(layer: Any, call: Any) -> Any:
        def noting(*args: Any, **kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            if tf.is_tensor(output):
                inputs = [one for one in tf.nest.flatten((args, kwargs)) if tf.is_tensor(one)]
                calls.append(_Call(layer, inputs, output))
            return output

        return noting

    before = {id(layer): layer.__dict__.get("call") for layer in leaves}
    try:
        for layer in leaves:
            layer.call = listened(layer, layer.call)
        yield calls
    finally:
        for layer in leaves:
            del layer.call
            if before[id(layer)] is not None:
                layer.call = before[id(layer)]


def _inside(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(include_self=False, recursive=False))  # what `Model.layers` is made of


def _layers_of(model: keras.Model) -> list[Any]:
    return list({id(layer): layer for layer in model._flatten_layers(include_self=False)}.values())


def _named(calls: list[_Call]) -> Iterator[tuple[str, _Call]]:
    """Layers by name, and by their path in the model where nested models have two of one name."""
    names = [call.layer.name for call in calls]
    used: set[str] = set()
    for call, name in zip(calls, names, strict=True):
        # MLflow takes no other characters, and `/` ends the layer's part of the metric
        full = re.sub(r"[^\w.-]", "_", name if names.count(name) == 1 else call.layer.path, flags=re.ASCII)
        while full in used:
            full += "_"
        used.add(full)
        yield full, call


def _measures(call: _Call, calls: list[_Call], margin: float) -> dict[str, Any]:
    """What the activations of a layer are like."""
    values, activation = _activations(call, calls)
    values = tf.cast(values, tf.float32)
    found: dict[str, Any] = {}
    if activation in RANGES:
        low, high = RANGES[activation]
        near = margin * (high - low)
        found["saturated"] = tf.reduce_mean(tf.cast((values < low + near) | (values > high - near), tf.float32))
    if activation in DYING:
        units = 1 if getattr(call.layer, "data_format", None) == "channels_first" else len(values.shape) - 1
        others = [axis for axis in range(len(values.shape)) if axis != units]
        found["dead"] = tf.reduce_mean(tf.cast(tf.reduce_all(values <= 0, axis=others), tf.float32))
    return {**found, "mean": tf.reduce_mean(values), "deviation": tf.math.reduce_std(values)}


def _activations(call: _Call, calls: list[_Call]) -> tuple[Any, str]:
    """A layer's values after its activation, and that activation's name."""
    here, activation = call.output, _activation(call.layer)
    while activation == "linear":
        # dropout hands on the very tensor that it got, and so does not stand between
        takers = [one for one in calls if one.output is not here and any(tensor is here for tensor in one.inputs)]
        if len(takers) != 1:
            break
        if isinstance(takers[0].layer, ACTIVATIONS):
            return takers[0].output, _activation(takers[0].layer)
        if not isinstance(takers[0].layer, BETWEEN):
            break
        here = takers[0].output
    return call.output, activation


def _activation(layer: Any) -> str:
    """Keras's name of the function; a layer of its own kind, such as LeakyReLU, goes by the name of its class."""
    if isinstance(layer, layers.ReLU):
        return "leaky_relu" if layer.negative_slope else "relu"
    function = getattr(layer, "activation", layer)
    return _activation(function) if isinstance(function, layers.ReLU) else str(_name_of(function))


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
