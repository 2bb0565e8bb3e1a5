"""What in a user's model Keras cannot write into a file, or would write as something else, with the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import FunctionType
from typing import TYPE_CHECKING

from pipelines.models.strangers import is_keras

if TYPE_CHECKING:
    import keras

_ARGUMENTS = re.compile(r"Object (\w+) was created by passing\s+(non-serializable|positional only)")
_VALUE = re.compile(r"Cannot serialize object (.+) of type <(?:class|enum) '([\w.]+)'>", re.DOTALL)
_MOST_TEXT = 80
_ROUNDING = 1e-5


def why_unsaved(error: Exception) -> str:
    """Why Keras cannot say how a model is made, as a sentence without its subject; Keras itself says it in pages."""
    text = str(error).strip()
    if by_arguments := _ARGUMENTS.search(text):
        return (
            f"cannot be saved: {by_arguments[1]} needs a get_config() that returns all that its constructor takes, as "
            f"in {{**super().get_config(), 'width': self.width}}. Keras makes one by itself only for layers, not for "
            f"a keras.Model, and only where all that they take are numbers and texts"
        )
    if by_value := _VALUE.search(text):
        value, kind = " ".join(by_value[1].split()), by_value[2].rpartition(".")[2]
        value = value if len(value) <= _MOST_TEXT else f"{value[:_MOST_TEXT]}…"
        return (
            f"cannot be saved, as it holds {value}, one of {kind}: what a layer is made with must be numbers, texts, "
            f"lists, or have a get_config(). Make an activation a function at the top level of a module, or a layer; "
            f"of anything else get_config() has to say in such values what from_config() makes it of again"
        )
    return f"cannot be saved ({type(error).__name__}: {text})"


def namesakes(model: keras.Model) -> Iterator[str]:
    """Names of functions of the user's for which the model's file would have Keras's own, which say something else.

    Keras writes an activation that is named like one of its own down by that name alone.
    """
    import keras

    for layer in model._flatten_layers():
        for value in vars(layer).values() if is_keras(type(layer).__module__) else ():
            if isinstance(value, FunctionType) and not is_keras(value.__module__):
                named = keras.activations.serialize(value)
                if isinstance(named, str) and not _same(value, named):
                    yield named


def _same(function: FunctionType, named: str) -> bool:
    import keras
    import numpy as np

    x = np.linspace(-32.0, 32.0, 256, dtype=np.float32).reshape(16, 16)
    try:
        mine, theirs = (np.asarray(one(x)) for one in (function, keras.activations.get(named)))
    except Exception:  # whatever a function of the user's raises, or it is named like a function that is none of these
        return False
    return mine.shape == theirs.shape and bool(np.allclose(mine, theirs, rtol=_ROUNDING, atol=_ROUNDING))
