"""Models and callbacks as users write them, which trainings name as `module:name`. Importing it imports Keras."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pipelines.callbacks.base import Surroundings
from pipelines.inputs import InputFacts
from pipelines.tasks import Head

Logs = Mapping[str, Any] | None


# models


def _ends(inputs: InputFacts, head: Head) -> tuple[Any, Any]:
    """The first and the last layer of a model."""
    return keras.Input(inputs.shape, dtype="float32"), layers.Dense(head.units, head.activation, name="out")


def branches(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.Flatten()(layers.Rescaling(1 / 256)(first))
    left, right = layers.Dense(6, "relu")(flow), layers.Dense(6, "tanh")(flow)
    flow = layers.Concatenate()([layers.Add()([left, right]), layers.Multiply()([left, right])])
    return keras.Model(first, last(layers.Dense(8, "gelu", kernel_regularizer="l2")(flow)))


def normalisations(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.Rescaling(1 / 256)(first)
    flow = layers.LayerNormalization()(layers.Dense(8, use_bias=False)(flow))
    flow = layers.GroupNormalization(2)(layers.PReLU()(flow))
    flow = layers.UnitNormalization()(layers.Dense(6, bias_constraint="non_neg")(layers.Flatten()(flow)))
    return keras.Model(first, last(layers.BatchNormalization(momentum=0.7)(flow)))


def noises(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.GaussianNoise(0.1)(layers.Rescaling(1 / 256)(first))
    flow = layers.GaussianDropout(0.2)(layers.Dense(6, "relu")(layers.SpatialDropout1D(0.25)(flow)))
    flow = layers.AlphaDropout(0.125)(layers.Dense(6, "selu")(layers.Flatten()(flow)))
    return keras.Model(first, last(layers.ActivityRegularization(l2=2**-8)(layers.Dropout(0.5, seed=7)(flow))))


def convolutions(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.Conv1D(6, 3, padding="causal", activation="relu")(layers.Rescaling(1 / 256)(first))
    flow = layers.MaxPooling1D(2)(layers.SeparableConv1D(5, 3, padding="same")(flow))
    return keras.Model(first, last(layers.GlobalAveragePooling1D()(flow)))


def recurrences(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.Bidirectional(layers.GRU(2, return_sequences=True))(layers.Rescaling(1 / 256)(first))
    return keras.Model(first, last(layers.LSTM(2)(flow)))


def attention(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.Rescaling(1 / 256)(first)
    flow = layers.LayerNormalization()(layers.Add()([flow, layers.MultiHeadAttention(2, 4, dropout=0.25)(flow, flow)]))
    return keras.Model(first, last(layers.Flatten()(flow)))


def stateful(inputs: InputFacts, head: Head) -> keras.Model:
    first = keras.Input(batch_shape=(16, *inputs.shape), dtype="float32")
    return keras.Model(first, _ends(inputs, head)[1](layers.SimpleRNN(4, stateful=True)(first)))


def words(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return keras.Model(first, last(layers.Flatten()(layers.Embedding(256, 2)(layers.Flatten()(first)))))


def numpy_weights(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = layers.Flatten()(layers.Rescaling(1 / 256)(first))
    drawn = keras.initializers.Constant(np.random.normal(size=(flow.shape[-1], 6)))
    return keras.Model(first, last(layers.Dense(6, "relu", kernel_initializer=drawn)(flow)))


@keras.saving.register_keras_serializable("own_parts")
class Counting(layers.Layer):  # type: ignore[misc]
    """Keeps count in a variable that Keras knows nothing of."""

    def build(self, shape: Any) -> None:
        self.count = tf.Variable(0.0, trainable=False)

    def call(self, x: Any) -> Any:
        return x + 0.01 * tf.cast(self.count.assign_add(1.0), x.dtype)


@keras.saving.register_keras_serializable("own_parts")
class Shaking(layers.Layer):  # type: ignore[misc]
    """Draws from TensorFlow's own stream."""

    def call(self, x: Any) -> Any:
        return x + 0.01 * tf.random.normal(tf.shape(x), dtype=x.dtype)


@keras.saving.register_keras_serializable("own_parts")
class OwnStep(keras.Model):  # type: ignore[misc]
    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


@keras.saving.register_keras_serializable("own_parts")
class Truncating(layers.Layer):  # type: ignore[misc]
    """Draws by a rule that rejects some of what it drew."""

    def build(self, shape: Any) -> None:
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x: Any) -> Any:
        return x + keras.random.truncated_normal(keras.ops.shape(x), 0.0, 0.01, dtype=x.dtype, seed=self.seeds)


@keras.saving.register_keras_serializable("own_parts")
class Gate(layers.Layer):  # type: ignore[misc]
    """A dense layer whose units are weighed by what they say."""

    def __init__(self, units: int, slope: float = 1.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.units, self.slope = units, slope
        self.drop = layers.Dropout(0.25)

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")

    def call(self, x: Any, training: bool | None = None) -> Any:
        said = keras.ops.matmul(x, self.kernel)
        return self.drop(said * keras.ops.sigmoid(self.slope * said), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "slope": self.slope}


@keras.saving.register_keras_serializable("own_parts")  # type: ignore[untyped-decorator]
def bent(x: Any) -> Any:
    """An activation of one's own."""
    return 1.5 * keras.ops.tanh(x)


class Waves(layers.Layer):  # type: ignore[misc]
    """What ONNX has no operators for."""

    def call(self, x: Any) -> Any:
        return keras.ops.abs(keras.ops.fft((x, keras.ops.zeros_like(x)))[0])


def waves(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return keras.Model(first, last(Waves()(layers.Flatten()(layers.Rescaling(1 / 256)(first)))))


def gates(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    flow = Gate(8, slope=2.0)(layers.Flatten()(layers.Rescaling(1 / 256)(first)))
    return keras.Model(first, last(layers.Dense(6, bent)(flow)))


def adapted(inputs: InputFacts, head: Head) -> keras.Model:
    """Knows means and spreads that it keeps as tensors beside its weights."""
    first, last = _ends(inputs, head)
    known = layers.Normalization()
    known.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, *inputs.shape)))
    flow = layers.Dense(6, bent)(layers.Flatten()(Places()(known(first))))
    return keras.Model(first, last(flow))


def placed(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return keras.Model(first, last(layers.Flatten()(Places()(layers.Rescaling(1 / 256)(first)))))


@keras.saving.register_keras_serializable("own_parts")
class Places(layers.Layer):  # type: ignore[misc]
    """Adds to each row where it stands, by a table that is no weight."""

    def build(self, shape: Any) -> None:
        self.table = tf.constant(np.linspace(0.0, 1.0, shape[1], dtype=np.float32)[:, np.newaxis])

    def call(self, x: Any) -> Any:
        return x + tf.cast(self.table, x.dtype)


def truncating(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return keras.Model(first, last(Truncating()(layers.Flatten()(layers.Rescaling(1 / 256)(first)))))


def counting(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return keras.Model(first, last(Counting()(layers.Flatten()(layers.Rescaling(1 / 256)(first)))))


def shaking(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return keras.Model(first, last(Shaking()(layers.Flatten()(layers.Rescaling(1 / 256)(first)))))


def own_step(inputs: InputFacts, head: Head) -> keras.Model:
    first, last = _ends(inputs, head)
    return OwnStep(first, last(layers.Flatten()(layers.Rescaling(1 / 256)(first))))


def broken(inputs: InputFacts, head: Head) -> keras.Model:
    raise OSError("this model is never made")


# callbacks


class Noting(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes every hook with what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def _note(self, hook: str, logs: Logs) -> None:
        told = " ".join(f"{name} {float(value):.6g}" for name, value in (logs or {}).items())
        self.notes.append(f"{hook}: {told}")

    def on_train_begin(self, logs: Logs = None) -> None:
        self._note(f"begin of {sorted(self.params)}", logs)

    def on_train_end(self, logs: Logs = None) -> None:
        self._note("end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._note(f"begin of epoch {epoch}", logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._note(f"end of epoch {epoch}", logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        self._note("begin of validation", logs)

    def on_test_end(self, logs: Logs = None) -> None:
        self._note("end of validation", logs)


class NotingBatches(Noting):
    """The same of batches."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._note(f"begin of batch {batch}", logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._note(f"end of batch {batch}", logs)


class Shrinking(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes weights smaller: all by `set_weights` at the end of epochs, the last kernel in a batch."""

    def on_train_begin(self, logs: Logs = None) -> None:
        self.model.set_weights([0.75 * weight for weight in self.model.get_weights()])

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.model.set_weights([0.875 * weight for weight in self.model.get_weights()])


class ShrinkingInBatches(keras.callbacks.Callback):  # type: ignore[misc]
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch == 1:
            self.model.layers[-1].bias.assign_add(np.full(self.model.layers[-1].bias.shape, 0.25))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if batch == 4:
            kernel = self.model.trainable_weights[-2]
            kernel.assign(0.5 * kernel)


class Pacing(keras.callbacks.Callback):  # type: ignore[misc]
    """Moves the rate with every batch."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.model.optimizer.learning_rate = 0.02 * (1 + batch)


class Drawing(keras.callbacks.Callback):  # type: ignore[misc]
    """Draws from every stream there is, at every hook of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def _draw(self) -> None:
        drawn = [random.random(), np.random.rand(), float(tf.random.uniform([])), float(keras.random.uniform([]))]
        self.notes.append(" ".join(f"{number:.6f}" for number in drawn))

    def on_train_begin(self, logs: Logs = None) -> None:
        self._draw()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._draw()
        self.model.optimizer.learning_rate = 0.05 * (1 + random.random())

    def on_test_begin(self, logs: Logs = None) -> None:
        self._draw()

    def on_train_end(self, logs: Logs = None) -> None:
        self._draw()


class Stopping(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the training within an epoch."""

    def __init__(self, epoch: int = 1, batch: int = 3, train_batch: bool = True) -> None:
        super().__init__()
        self.at, self.now = (epoch, batch), -1

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if (self.now, batch) == self.at:
            self.model.stop_training = True


class Raising(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises in one of its hooks, when it comes there for the second time."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook, self.count = hook, 0

    def _raise(self, hook: str) -> None:
        self.count += hook == self.hook
        if self.count == 2 or (hook == self.hook and hook in ("on_train_begin", "on_train_end")):
            raise ValueError(f"enough, says {hook}")

    def on_train_begin(self, logs: Logs = None) -> None:
        self._raise("on_train_begin")

    def on_train_end(self, logs: Logs = None) -> None:
        self._raise("on_train_end")

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._raise("on_epoch_begin")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._raise("on_epoch_end")

    def on_test_begin(self, logs: Logs = None) -> None:
        self._raise("on_test_begin")


class RaisingInBatches(Raising):
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._raise("on_train_batch_begin")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._raise("on_train_batch_end")


class Asking(keras.callbacks.Callback):  # type: ignore[misc]
    """Has the model evaluated, asked and saved while it trains, and adds to the logs."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.around = around

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        x, y = self.around.x, self.around.y
        said = self.model.evaluate(x, y, verbose=0, return_dict=True)
        asked = float(np.mean(self.model.predict(x, verbose=0)[:, 0]))
        called = float(np.mean(np.asarray(self.model(x))[:, 0]))
        self.notes.append(f"{said['loss']:.6g} {asked:.6g} {called:.6g} {self.model.count_params()}")
        logs["own"] = said["loss"]
        self.around.folder.mkdir(parents=True, exist_ok=True)
        self.model.save(self.around.folder / f"own-{epoch}.keras")
        self.model.save_weights(self.around.folder / f"own-{epoch}.weights.h5")


def spread(y_true: Any, y_pred: Any, gamma: float = 1.0) -> Any:
    """A loss of one's own: cross-entropy that cares less for what is easy."""
    right = keras.ops.clip(keras.ops.sum(y_true * y_pred, axis=-1), 1e-7, 1.0)
    return -((1.0 - right) ** gamma) * keras.ops.log(right)


class Missing(keras.losses.Loss):  # type: ignore[misc]
    """A loss of one's own that costs a miss above the truth more than one below."""

    def __init__(self, above: float = 2.0) -> None:
        super().__init__()
        self.above = above

    def call(self, y_true: Any, y_pred: Any) -> Any:
        missed = y_pred - y_true
        return keras.ops.mean(keras.ops.where(missed > 0, self.above * missed, -missed), axis=-1)


class Scoring(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds the share of validation samples of which the model is right."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__()
        self.around = around

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        said = self.model.predict(self.around.x_val, verbose=0).argmax(axis=1)
        logs["val_right"] = float(np.mean(said == self.around.y_val))


class Ranking(keras.callbacks.Callback):  # type: ignore[misc]
    """Has every epoch be better than those before."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["rank"] = float(epoch)


class TestBatches(keras.callbacks.Callback):  # type: ignore[misc]
    __test__ = False

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        pass


def rate_of_epoch(epoch: int, rate: float, factor: float = 0.5) -> float:
    """A schedule of one's own."""
    return rate * factor if epoch % 2 else rate
