"""What Keras callbacks remember, and how another object of the same kind comes to remember it.

Keras's callbacks forget all of it when a training begins, so it is put back after that. A callback, or something that
it holds as an attribute, which has both `get_state()` and `set_state(state)` says itself what is to be kept; otherwise
it is every attribute that can be kept: plain values, arrays, variables, metrics, random generators.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.callbacks.base import Surroundings
from pipelines.training.packing import Unpackable, check

_KERASS_OWN = frozenset({"_model", "params"})  # which Keras sets anew


def memory_of(callback: Any) -> tuple[Any, list[str]]:
    """What a callback remembers, in a form that can be packed, and the names of attributes that could not be kept.

    The parts of it are the callback's own: pack them before it goes on.
    """
    if _says_itself(callback):
        state = callback.get_state()
        try:
            check(state)
        except Unpackable as error:
            return None, [f"get_state() ({error})"]
        return {"state": state}, []
    kept: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in vars(callback).items():
        if name in _KERASS_OWN or value is getattr(callback, "_model", None) or _made_anew(value):
            continue
        try:
            kept[name] = _kept(value)
        except Unpackable:
            lost.append(name)
    return {"attributes": kept}, lost


def remember(callback: Any, memory: Any, moved: Mapping[str, str]) -> list[str]:
    """Puts back what `memory_of` returned, and returns the names of attributes for which that was not possible.

    Args:
        callback: Made as the one before was, and told already that a training begins.
        memory: What the one before remembered.
        moved: Beginnings of paths that are others now, and what they are now.
    """
    if memory is None:
        return []
    if "state" in memory:
        callback.set_state(_relocated(memory["state"], moved))
        return []
    lost = []
    for name, kept in memory["attributes"].items():
        ((kind, content),) = kept.items()
        if not _put_back(callback, name, kind, _relocated(content, moved)):
            lost.append(name)
    return lost


def _says_itself(value: Any) -> bool:
    return callable(getattr(value, "get_state", None)) and callable(getattr(value, "set_state", None))


def _made_anew(value: Any) -> bool:
    """What is the same in every attempt, as far as it can be told."""
    if isinstance(value, Surroundings | ModuleType | type):
        return True
    if not callable(value) or _variables_of(value) is not None:
        return False
    return not _says_itself(_behind(value)) and _name_of_op(value) is None


def _variables_of(value: Any) -> list[Any] | None:
    """The variables that something is made of, where it is a thing of Keras's or TensorFlow's that has such."""
    if isinstance(value, tf.Variable | keras.Variable):
        return [value]
    if isinstance(value, tf.random.Generator | keras.random.SeedGenerator):
        return [value.state]
    if isinstance(value, keras.metrics.Metric | keras.layers.Layer | keras.optimizers.Optimizer):
        return list(value.variables)
    return None


def _behind(value: Any) -> Any:
    return value.func if isinstance(value, partial) else value


def _name_of_op(value: Any) -> str | None:
    """`less` for `keras.ops.less`, by which Keras's callbacks know their direction."""
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) and getattr(keras.ops, name, None) is value else None


def _kept(value: Any) -> dict[str, Any]:
    variables = _variables_of(value)
    if variables is not None:
        return {"variables": [variable.numpy() for variable in variables]}
    if isinstance(value, tf.Tensor):
        if not hasattr(value, "numpy"):
            raise Unpackable("a tensor of a graph has no value")
        return {"tensor": value.numpy()}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if isinstance(value, np.random.RandomState):
        return {"stream": value.get_state(legacy=False)}
    if isinstance(value, random.Random):
        return {"random": value.getstate()}
    op = _name_of_op(value)
    if op is not None:
        return {"op": op}
    if _says_itself(_behind(value)):
        value = _behind(value).get_state()
        check(value)
        return {"state": value}
    check(value)
    return {"value": value}


def _put_back(callback: Any, name: str, kind: str, content: Any) -> bool:
    """Whether the attribute is now what it was. Things that are more than a value are changed in place."""
    now = getattr(callback, name, None)
    match kind:
        case "variables":
            variables = _variables_of(now)
            if variables is None or [tuple(one.shape) for one in variables] != [one.shape for one in content]:
                return False
            for variable, value in zip(variables, content, strict=True):
                variable.assign(value)
        case "generator" if isinstance(now, np.random.Generator):
            now.bit_generator.state = content
        case "stream" if isinstance(now, np.random.RandomState):
            now.set_state(content)
        case "random" if isinstance(now, random.Random):
            now.setstate(content)
        case "state" if _says_itself(_behind(now)):
            _behind(now).set_state(content)
        case "tensor":
            setattr(callback, name, tf.constant(content))
        case "op":
            setattr(callback, name, getattr(keras.ops, content))
        case "value" if isinstance(now, dict) and type(now) is not dict:  # such as a Counter
            now.clear()
            now.update(content)
        case "value":
            setattr(callback, name, content)
        case _:
            return False
    return True


def _relocated(value: Any, moved: Mapping[str, str]) -> Any:
    """The value, with paths into the folder of an earlier attempt led into that of this one."""
    if isinstance(value, str):
        for before, now in moved.items():
            if value == before or value.startswith(f"{before}/"):
                return now + value[len(before) :]
        return value
    if isinstance(value, Path):
        return Path(_relocated(str(value), moved))
    if type(value) in (list, tuple):
        return type(value)(_relocated(one, moved) for one in value)
    if type(value) is dict:
        return {key: _relocated(one, moved) for key, one in value.items()}
    return value
