"""Whether a model with layers of the user's own is the same one when it is loaded from its file.

Keras makes such a layer again from what its `get_config` returns. What is missing there is missing in every checkpoint,
and shows when the best of them is to be judged: after all the training. So it is looked for before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipelines.computing import HALF
from pipelines.models import ModelSpec
from pipelines.models.strangers import config_in, is_keras
from pipelines.own.code import OwnCodeError, place_in_own_code
from pipelines.packaging.building import load_checkpoint
from pipelines.training.feeding import Feed
from pipelines.training.lanes.drawing import undisturbed
from pipelines.training.lanes.watching_builds import fresh_names

_SAMPLES = 8
_ROUNDING, _ROUNDING_IN_16 = 1e-4, 2e-2
_MOST_NAMED = 5
_proven: set[str] = set()
_seen: set[str] = set()


def prove_reloadable(model: keras.Model, spec: ModelSpec, fed: Feed, build: Callable[[], keras.Model]) -> None:
    """Saves a model of the user's own, loads it from that file as a promotion would, and compares what both say.

    Once in a process for the same parts, and again where a layer that is made of its own config has other values than
    the one that it was asked of: what is left out there may well have been the default before. The model itself, random
    streams and names of layers are left as they are.

    Args:
        model: Of a trial, before it is trained; compiled or not.
        spec: What made it.
        fed: The trial's data.
        build: Makes such a model again, in 32 bits, to be asked: some layers keep what nobody sees.

    Raises:
        OwnCodeError: It cannot be asked or loaded, or says something else then.
    """
    if not spec.own or (asked := spec.model_dump_json()) in _seen:
        return
    parts = spec.own_parts(keras.saving.serialize_keras_object(model))
    what = json.dumps([parts, spec.model_dump(mode="json", exclude={"arguments"})], sort_keys=True)
    with undisturbed(), fresh_names():
        if what not in _proven or not all(map(_comes_back, _own_layers(model))):
            _prove(build(), spec, fed, parts)
    _proven.add(what)
    _seen.add(asked)


def _prove(model: keras.Model, spec: ModelSpec, fed: Feed, parts: Mapping[str, str]) -> None:
    few = fed.train.take(np.arange(min(_SAMPLES, len(fed.train)), dtype=np.int64))
    x = np.asarray(few.x, np.float32)
    named = _named(parts)
    try:
        says, says_again = _said(model, x), _said(model, x)
    except Exception as error:  # whatever the user's layers raise
        raise OwnCodeError(f"The model{named} fails when it is called: {_told(error)}.") from error
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            model.optimizer.build(model.trainable_variables)  # as in a checkpoint, which Keras compiles as it loads it
            model.save(path)
            says_loaded = _said(load_checkpoint(path, spec.own_parts(config_in(path))), x)
    except OSError:
        raise  # of the disk, not of the model
    except Exception as error:
        raise OwnCodeError(
            f"The model{named} cannot be loaded from its own file: {_told(error)}. What get_config() of a layer "
            f"returns must be all that its constructor takes. It is kept as JSON: a tuple comes back as a list, and a "
            f"layer or a function in it is made again by from_config(), with keras.saving.deserialize_keras_object."
        ) from error
    in_16 = any(layer.compute_dtype in HALF for layer in model._flatten_layers())
    allowed = (_ROUNDING_IN_16 if in_16 else _ROUNDING) * max(1.0, float(np.abs(says).max()))
    steady = _gap(says, says_again) <= allowed  # what says nothing, or never the same twice, is nobody's business
    if steady and not _gap(says, says_loaded) <= allowed:
        raise OwnCodeError(
            f"The model{named} says something else when it is loaded from its own file, as its checkpoints would. What "
            f"get_config() of a layer returns must be all that its constructor takes, and what a layer keeps for later "
            f"must be weights."
        )


def _own_layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model._flatten_layers() if not is_keras(type(layer).__module__)]


def _comes_back(layer: keras.layers.Layer) -> bool:
    """Whether a layer that is made of another's config has its plain values; cheap, and no more than a hint."""
    try:
        again = vars(type(layer).from_config(layer.get_config()))
    except Exception:  # whatever the user's layers raise: the proof says it better
        return False
    everybodys = vars(keras.layers.Layer()).keys() | vars(keras.Model()).keys()
    return all(_same(mine, again[key]) for key, mine in vars(layer).items() if key in again and key not in everybodys)


def _same(mine: Any, other: Any) -> bool:
    """Whether two attributes are equal, as far as they are plain values or functions."""
    if isinstance(mine, list | tuple) and isinstance(other, list | tuple):
        return len(mine) == len(other) and all(map(_same, mine, other))
    if mine is None or isinstance(mine, bool | int | float | str | FunctionType):
        return bool(mine == other)
    return True


def _said(model: keras.Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(model(x, training=False), np.float32)


def _named(parts: Mapping[str, str]) -> str:
    """`, which has a:B and 3 more,` where it has any."""
    places = list(dict.fromkeys(parts.values()))
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return f", which has {', '.join(places[:_MOST_NAMED])}{more}," if places else ""


def _told(error: BaseException) -> str:
    """What an error began with, in a line: Keras tells of it in pages, and not at their beginning."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    text = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}{text and f': {text}'}{place_in_own_code(error)}"


def _gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())
