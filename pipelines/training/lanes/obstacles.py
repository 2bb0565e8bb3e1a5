"""What cannot be trained in lanes, found out before it trains. Each is a reason in a few words, for the run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from pipelines.callbacks.own import OwnCallback
from pipelines.laneable import obstacle
from pipelines.own.code import load
from pipelines.recipe.config import TrainingConfig
from pipelines.training.feeding import Feed

_TEST_BATCHES = ("on_test_batch_begin", "on_test_batch_end")
_OWN_STEPS = ("train_step", "test_step", "make_train_function", "make_test_function", "fit", "evaluate")
_SPARSE = (keras.layers.Embedding,)
_DRAWS = ("StatelessRandom", "StatelessTruncated", "StatelessMultinomial", "StatelessParameterized")
_HARMLESS = {"While", "If", "PartitionedCall", "StatefulPartitionedCall", "NoOp", "Assert"}
"""Operations that TensorFlow calls stateful for the sake of what is inside them, which is looked at by itself."""


def of_training(config: TrainingConfig, fed: Feed) -> str | None:
    """What stands against it in the data and the callbacks."""
    why = obstacle(fed.train, fed.validation, fed.data_bytes)
    if why is not None:
        return why
    for label, callback in config.callbacks.items():
        if isinstance(callback, OwnCallback):
            made = load(callback.path)
            if not inspect.isclass(made):
                return f"it cannot be told what the callback '{label}' does before it is made"
            if any(_has(made, hook) for hook in _TEST_BATCHES):
                return f"the callback '{label}' acts in the batches of the validation"
    return None


def of_model(model: keras.Model) -> str | None:
    """What stands against it in the model."""
    for name in _OWN_STEPS:
        if getattr(type(model), name) is not getattr(keras.Model, name):
            return f"the model has a {name} of its own"
    if model.run_eagerly:
        return "the model runs eagerly"
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "stateful", False):
            return f"the layer '{layer.name}' keeps a state from batch to batch"
        if isinstance(layer, _SPARSE):
            return f"the gradients of the layer '{layer.name}' are sparse"
    if any(variable.dtype == "string" for variable in model.variables):
        return "the model holds texts"
    return None


def of_graphs(graphs: Iterable[tf.Graph], *, compiled: bool = False) -> str | None:
    """What stands against it in what was traced: state outside of Keras's variables, and what is drawn there.

    Args:
        graphs: They train and validate.
        compiled: Whether XLA compiles them. It draws other numbers for a seed than TensorFlow does; what lanes draw by
            `pipelines.training.lanes.philox` is none of its operations any more.
    """
    for graph in graphs:
        for operation in _needed(graph) if compiled else ():
            if operation.type.startswith(_DRAWS):
                return f"the model uses {operation.type}, which draws other numbers where XLA compiles it"
        for operation in _operations(graph):
            if operation.op_def is not None and operation.op_def.is_stateful and operation.type not in _HARMLESS:
                return f"the model uses {operation.type}, whose state all lanes would share"
    return None


def _has(kind: type, hook: str) -> bool:
    return getattr(kind, hook, None) is not getattr(keras.callbacks.Callback, hook)


def _operations(graph: Any) -> Iterator[tf.Operation]:
    yield from graph.get_operations()
    for name in graph._functions:
        inner = graph._get_function(name)
        inner_graph = getattr(inner, "graph", None)
        if inner_graph is not None:
            yield from inner_graph.get_operations()


def _needed(graph: Any) -> Iterator[tf.Operation]:
    """Those that what comes out depends on, also in functions: what was mapped over lanes lies around unused."""
    found: set[tf.Operation] = set()
    waiting = [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation in found:
            continue
        found.add(operation)
        yield operation
        waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
        for name, value in operation.node_def.attr.items():
            if value.HasField("func") and name != "cond":
                inner = getattr(graph._get_function(value.func.name), "graph", None)
                if inner is not None:
                    yield from _needed(inner)
